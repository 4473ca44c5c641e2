"""A document of any wire format → a :class:`~metrion.conversations.conversation.Conversation`.

Which format it is, its members say: a body can be read that is known by nothing but itself, such as one from a file.
``None`` is returned for what is no exchange with a model. Never: an exception because of what a document holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from metrion.conversations.bodies import Documents
from metrion.conversations.conversation import Conversation, Message, Other, Part, Reasoning, Result, Text, Tool
from metrion.conversations.parts import arguments, calls, parts, short
from metrion.conversations.streams import joined
from metrion.dialects.dialect import label, mapping

type _Document = Mapping[str, Any]
type _Reader = Callable[[_Document], Conversation]

_SYSTEM = frozenset({"system", "developer"})
_MOST_SETTINGS = 30
_MOST_IN_BATCH = 50


def conversations(documents: Documents) -> list[tuple[str | None, Conversation]]:
    """Return the conversations in a body, each with its name where it is one of a batch."""
    if documents.is_stream and (document := joined(documents.values)) is not None:
        found = conversation(document)
        return [] if found is None else [(None, found)]
    entries = [entry for document in documents.values for entry in _entries(mapping(document))]
    if documents.cut:  # the rest is cut off in the middle of a document
        entries = entries[:-1] or entries
    found_entries = [(name, each) for name, body in entries if (each := conversation(body)) is not None]
    if len(found_entries) > _MOST_IN_BATCH:
        last, each = found_entries[_MOST_IN_BATCH - 1]
        note = f"{len(found_entries) - _MOST_IN_BATCH} more of this batch are not shown here."
        found_entries[_MOST_IN_BATCH - 1 :] = [(last, replace(each, notes=(*each.notes, note)))]
    return found_entries


def conversation(document: _Document) -> Conversation | None:
    """Return what one document says."""
    for members, read in _READERS:
        if any(document.get(member) is not None for member in members):
            return read(document)
    return None


def _entries(document: _Document) -> Iterator[tuple[str | None, _Document]]:
    """Yield the requests or answers of a batch; of any other document itself."""
    name = label(document.get("custom_id"), document.get("key"), document.get("batch_request_id"))
    listed = document.get("requests", document.get("results", document.get("batch_requests")))
    inlined = mapping(mapping(document.get("response")).get("inlinedResponses")).get("inlinedResponses", listed)
    if isinstance(inlined, list) and inlined and all(isinstance(each, dict) for each in inlined):
        for each in inlined:
            yield from _entries(each)
        return
    for path in _IN_ENTRY:
        inner: _Document = document
        for member in path:
            inner = mapping(inner.get(member))
        if inner:
            yield name, inner
            return
    yield name, document


_IN_ENTRY = (
    ("params",), ("result", "message"), ("result", "error"), ("response", "body"), ("body",), ("request",),
    ("batch_result", "response", "chat_get_completion"), ("batch_result", "error"),
    ("batch_request", "chat_get_completion"), ("generateContentRequest",), ("response",),
)  # fmt: skip


# --- requests ---


def _request(document: _Document) -> Conversation:
    """Read a request of Anthropic's, OpenAI's, Mistral's or xAI's."""
    said = [message for name in ("messages", "input", "inputs") for message in _messages(document.get(name))]
    system = [part for name in ("system", "instructions", "system_instruction") for part in parts(document.get(name))]
    system += [part for message in said if message.role in _SYSTEM for part in message.parts]
    return Conversation(
        model=label(document.get("model"), document.get("agent_id")),
        settings=_settings(document),
        system=tuple(system),
        tools=tuple(_tools(document)),
        messages=tuple(message for message in said if message.role not in _SYSTEM),
    )


def _messages(value: object) -> Iterator[Message]:
    if isinstance(value, str | dict):
        value = [value]
    if not isinstance(value, list):
        return
    # Items without a role, such as calls and their results, follow each other in one message.
    for role, group in groupby(value, key=_role):
        if role is None:
            for speaker, each in groupby((part for item in group for part in parts(item)), key=_speaker):
                yield Message(speaker, tuple(each))
        else:
            yield from (Message(role, tuple(_said(mapping(item)))) for item in group)


def _role(item: object) -> str | None:
    if isinstance(item, dict):
        return label(item.get("role")) or {"message.input": "user", "message.output": "assistant"}.get(
            str(item.get("type"))
        )
    return None


def _speaker(part: Part) -> str:
    return "tool" if isinstance(part, Result) else "user" if isinstance(part, Text) else "assistant"


def _said(message: _Document) -> Iterator[Part]:
    """Yield what is in a message with a role."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(thought := message.get(name), str) and thought:
            yield Reasoning(thought)
            break
    content = parts(message.get("content", message.get("parts")))
    if message.get("role") in ("tool", "function"):
        yield Result(content, label(message.get("tool_call_id")), label(message.get("name")))
        return
    yield from content
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        yield Text(f"[refused] {refusal}")
    if isinstance(audio := message.get("audio"), dict):
        yield from parts({"type": "audio", "audio": audio})
        yield from parts(audio.get("transcript"))
    images = message.get("images")
    yield from parts(images)
    yield from calls(message)


def _google_request(document: _Document) -> Conversation:
    contents = document.get("contents", document.get("content"))
    config = mapping(document.get("generationConfig", document.get("generation_config")))
    instruction = document.get("systemInstruction", document.get("system_instruction"))
    rest = {name: value for name, value in document.items() if name not in _GOOGLE_CONTENT}
    said = contents if isinstance(contents, list) else [contents]
    return Conversation(
        model=label(document.get("model")),
        settings=_settings({**rest, **config}),
        system=parts(instruction),
        tools=tuple(_tools(document)),
        messages=tuple(
            Message(label(mapping(each).get("role")) or "user", parts(mapping(each).get("parts", each)))
            for each in said
        ),
    )


_GOOGLE_CONTENT = frozenset(
    {"contents", "content", "generationConfig", "generation_config", "systemInstruction", "system_instruction"}
)


def _prompt(document: _Document) -> Conversation:
    """Read a request of the older completions, for a picture or for speech."""
    prompt = document.get("prompt")
    several = prompt if isinstance(prompt, list) else [prompt]
    said = [f"[{len(each)} tokens]" if isinstance(each, list) else each for each in several if type(each) is not int]
    if len(said) < len(several):
        said = [f"[{len(several)} tokens]"]
    return Conversation(
        model=label(document.get("model")),
        settings=_settings(document),
        messages=tuple(Message("user", parts(each)) for each in said),
    )


def _settings(document: _Document) -> tuple[tuple[str, str], ...]:
    chosen = [
        (name, short(value, 120)) for name, value in document.items() if name not in _CONTENT and value is not None
    ]
    return tuple(chosen[:_MOST_SETTINGS])


_CONTENT = frozenset(
    {
        "messages", "input", "inputs", "system", "instructions", "system_instruction", "tools", "functions", "model",
        "prompt", "agent_id",
    }
)  # fmt: skip


def _tools(document: _Document) -> Iterator[Tool]:
    for name in ("tools", "functions"):
        listed = document.get(name)
        for each in listed if isinstance(listed, list) else ():
            tool = mapping(each)
            declared = tool.get("functionDeclarations", tool.get("function_declarations"))
            if isinstance(declared, list):
                yield from (_tool(mapping(function)) for function in declared)
            elif function := mapping(tool.get("function")):
                yield _tool(function)
            else:
                yield _tool(tool)


def _tool(tool: _Document) -> Tool:
    name = label(tool.get("name"), tool.get("type"), *tool.keys()) or "?"
    schema = next((mapping(tool[key]) for key in _SCHEMAS if isinstance(tool.get(key), dict)), {})
    description = tool.get("description")
    return Tool(name, _schema(schema), short(description, 200) if isinstance(description, str) else "")


_SCHEMAS = ("input_schema", "parameters", "parametersJsonSchema", "parameters_json_schema")


def _schema(schema: _Document) -> str:
    """Return the parameters of a tool in short."""
    required = schema.get("required")
    needed = set(map(str, required)) if isinstance(required, list) else set()
    shown = [
        f"{name}{'' if name in needed else '?'}: {_type(mapping(each))}"
        for name, each in mapping(schema.get("properties")).items()
    ]
    return short(", ".join(shown), 300)


def _type(schema: _Document) -> str:
    kind = schema.get("type")
    if isinstance(choices := schema.get("enum"), list):
        return "|".join(short(each, 20) for each in choices[:6])
    if kind == "array":
        return f"{_type(mapping(schema.get('items')))}[]"
    return "|".join(map(str, kind)) if isinstance(kind, list) else str(kind or "any").lower()


# --- answers ---


def _anthropic(document: _Document) -> Conversation:
    content = document.get("content", document.get("completion"))
    return _answer(document, [Message(label(document.get("role")) or "assistant", parts(content))], ("stop_reason",))


def _chat(document: _Document) -> Conversation:
    listed = document["choices"]
    said, finish = [], []
    for each in listed if isinstance(listed, list) else ():
        choice = mapping(each)
        message = mapping(choice.get("message"))
        role = label(message.get("role")) or "assistant"
        content = parts(choice["text"]) if isinstance(choice.get("text"), str) else tuple(_said(message))
        said.append(Message(role, content))
        finish.append(choice.get("finish_reason"))
    return replace(_answer(document, said), finish=_finish(finish))


def _responses(document: _Document) -> Conversation:
    output = document.get("output", document.get("outputs", document.get("steps")))
    said = [part for item in (output if isinstance(output, list) else [output]) for part in parts(item)]
    model = label(*(mapping(each).get("model") for each in output)) if isinstance(output, list) else None
    answer = _answer(document, [Message("assistant", tuple(said))] if said else [], ("status",))
    incomplete = mapping(document.get("incomplete_details")).get("reason")
    return replace(answer, model=answer.model or model, finish=(*answer.finish, *_finish([incomplete])))


def _google(document: _Document) -> Conversation:
    listed = document.get("candidates")
    candidates = [mapping(each) for each in (listed if isinstance(listed, list) else ())]
    said = [
        Message(
            label(mapping(each.get("content")).get("role")) or "model", parts(mapping(each.get("content")).get("parts"))
        )
        for each in candidates
    ]
    blocked = mapping(document.get("promptFeedback")).get("blockReason")
    finish = _finish([*(each.get("finishReason") for each in candidates), blocked])
    return replace(_answer(document, said), finish=finish)


def _embeddings(document: _Document) -> Conversation:
    found = [
        each
        for name in ("data", "embeddings", "predictions", "embedding")
        for each in (document[name] if isinstance(document.get(name), list) else [document.get(name)])
        if each is not None
    ]
    kinds = [_vector(mapping(each)) for each in found]
    if not any(kinds):
        return _answer(document, [Message("assistant", tuple(part for each in found[:10] for part in _made(each)))])
    counted = [f"{len(list(group))} {kind}" for kind, group in groupby(kinds)]
    return _answer(document, [Message("assistant", (Other("embeddings", ", ".join(counted)),))])


def _vector(entry: _Document) -> str | None:
    vector = entry.get("embedding", entry.get("embeddings", entry.get("values")))
    if isinstance(vector, dict):
        vector = vector.get("values")
    if isinstance(vector, str):
        return "in base64"
    return f"of {len(vector)} numbers" if isinstance(vector, list) else None


def _made(entry: object) -> Iterator[Part]:
    """Yield a picture that was made."""
    data = mapping(entry)
    if data.get("b64_json") or data.get("url"):
        yield from parts(
            {"type": "image", "file": {name: data[name] for name in ("b64_json", "url") if data.get(name)}}
        )
        yield from parts(data.get("revised_prompt"))
    else:
        yield Other("data", short(entry))


def _failed(document: _Document) -> Conversation:
    return _answer(document, [])


def _answer(document: _Document, said: Sequence[Message], finish: Sequence[str] = ()) -> Conversation:
    usage = next((document[name] for name in _USAGES if isinstance(document.get(name), dict)), None)
    return Conversation(
        model=label(document.get("model"), document.get("modelVersion")),
        messages=tuple(message for message in said if message.parts),
        finish=_finish([document.get(name) for name in finish]),
        usage=usage,
        error=_error(document.get("error")),
    )


_USAGES = ("usage", "usageMetadata", "usage_info")


def _finish(reasons: Sequence[object]) -> tuple[str, ...]:
    return tuple(reason for each in reasons if (reason := label(each)) is not None)


def _error(error: object) -> str | None:
    """Return what a provider says of a failure."""
    if not error:
        return None
    inner = mapping(error)
    if isinstance(inner.get("error"), dict):
        inner = inner["error"]
    kind = label(inner.get("type"), inner.get("status"), inner.get("code"))
    message = inner.get("message")
    return f"{kind or 'error'}: {short(message, 2000)}" if message else short(arguments(error), 2000)


_READERS: Sequence[tuple[tuple[str, ...], _Reader]] = (
    (("choices",), _chat),
    (("candidates", "usageMetadata", "promptFeedback"), _google),
    (("output", "outputs", "steps"), _responses),
    (("stop_reason", "completion"), _anthropic),
    (("messages", "input", "inputs"), _request),
    (("contents",), _google_request),
    (("prompt",), _prompt),
    (("data", "embedding", "embeddings", "predictions"), _embeddings),
    (("error",), _failed),
    (("content",), lambda document: (_anthropic if document.get("role") else _google_request)(document)),
)
"""Members, of which one says what a document is, and who reads it; the first that fits."""
