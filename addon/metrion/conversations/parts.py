"""The content of a message, in any wire format → its parts. A kind of part is a row of a table.

Formats share most names: ``text`` is text in all of them. Google's parts have no ``type``, but one member that says
what they are. What is not known is shown by its name and its members in short. Never: an exception because of a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from metrion.conversations.bodies import base64_size
from metrion.conversations.conversation import Call, Media, Other, Part, Reasoning, Result, Text
from metrion.dialects.dialect import label, mapping

_SHORT = 400


def parts(content: object) -> tuple[Part, ...]:
    """Return the parts of a content: a text, one part, or a list of either."""
    return tuple(_parts(content))


def _parts(content: object) -> Iterator[Part]:
    if isinstance(content, str):
        if content:
            yield Text(content)
    elif isinstance(content, list):
        for part in content:
            yield from _parts(part)
    elif isinstance(content, dict):
        yield from _part(content)
    elif content is not None:
        yield Text(short(content))


def _part(part: Mapping[str, Any]) -> Iterable[Part]:
    kind = part.get("type")
    if isinstance(kind, str):
        reader = _BY_TYPE.get(kind)
        if reader is None:
            reader = _by_ending(kind)
        return reader(part)
    for member, read in _BY_MEMBER.items():
        if part.get(member) is not None:
            return read(part)
    return (Other("part", short(part)),)


def short(value: object, most: int = _SHORT) -> str:
    """Return a value as JSON, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else f"{text[:most]}… [{len(text) - most:,} more characters]"


def arguments(value: object) -> str:
    """Return the arguments of a call as text."""
    if value is None or value == "":
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def size(count: int) -> str:
    """Write a number of bytes for people."""
    return f"{count:,} bytes" if count < 10_000 else f"{count / 1000:,.0f} kB" if count < 10**7 else f"{count >> 20} MB"


def calls(message: Mapping[str, Any]) -> Iterator[Call]:
    """Yield the calls that a message of OpenAI's shape has beside its content."""
    listed = message.get("tool_calls")
    for each in listed if isinstance(listed, list) else ():
        call = mapping(each)
        function = mapping(call.get("function")) or mapping(call.get("custom")) or call
        yield Call(
            label(function.get("name")) or "?", arguments(function.get("arguments", function.get("input"))), _id(call)
        )
    if legacy := mapping(message.get("function_call")):
        yield Call(label(legacy.get("name")) or "?", arguments(legacy.get("arguments")))


# --- kinds of parts ---


def _id(part: Mapping[str, Any]) -> str | None:
    return label(part.get("call_id"), part.get("tool_use_id"), part.get("tool_call_id"), part.get("id"))


def _text(part: Mapping[str, Any]) -> Iterator[Part]:
    yield from _parts(part.get("text"))


def _refusal(part: Mapping[str, Any]) -> Iterator[Part]:
    yield Text(f"[refused] {arguments(part.get('refusal'))}")


def _reasoning(part: Mapping[str, Any]) -> Iterator[Part]:
    words = ["".join(_words(part.get("thinking")))]  # a list there is of pieces, elsewhere of paragraphs
    words += [text for name in ("summary", "content", "reasoning", "text") for text in _words(part.get(name))]
    words = [text for text in words if text]
    if words:
        yield Reasoning("\n\n".join(words))
    elif hidden := arguments(part.get("data") or part.get("encrypted_content") or part.get("signature")):
        yield Reasoning(f"[encrypted, {size(base64_size(hidden))}]")


def _words(value: object) -> Iterator[str]:
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _words(each)
    elif isinstance(value, dict):
        yield from _words(value.get("text"))


def _call(part: Mapping[str, Any]) -> Iterator[Part]:
    known = {"type", "id", "call_id", "name", "status", "input", "arguments", "caller", "object", "created_at"}
    given = part.get("input", part.get("arguments"))
    if given is None:
        given = {name: value for name, value in part.items() if name not in known and value is not None} or None
    kind = str(part.get("type"))
    name = label(part.get("name")) or kind.removesuffix("_call").removesuffix("_use")
    yield Call(name, arguments(given), _id(part))


def _result(part: Mapping[str, Any]) -> Iterator[Part]:
    content = next((part[name] for name in ("content", "output", "result", "text") if part.get(name) is not None), None)
    yield Result(parts(content), _id(part), label(part.get("name")), bool(part.get("is_error")))


def _message(part: Mapping[str, Any]) -> Iterator[Part]:
    yield from _parts(part.get("content"))


def _media(part: Mapping[str, Any]) -> Iterator[Part]:
    kind = str(part.get("type") or "file").removeprefix("input_").removesuffix("_url")
    source = next((part[name] for name in _SOURCES if part.get(name) is not None), part)
    yield Media(kind, _where(source))


_SOURCES = (
    "source", "image_url", "input_audio", "audio_url", "video_url", "document_url", "file", "audio", "inlineData",
    "inline_data", "fileData", "file_data", "data", "file_id",
)  # fmt: skip


def _where(source: object) -> str:
    """Say what a medium is: its type and size, or where it is."""
    if isinstance(source, dict):
        kind = label(*(source.get(name) for name in ("media_type", "mimeType", "mime_type", "format", "type")))
        for name in ("data", "file_data", "b64_json", "bytes"):
            if isinstance(data := source.get(name), str):
                if data.startswith("data:"):
                    return _where(data)
                is_text = source.get("type") == "text"
                return f"{kind or 'file'}, {size(len(data) if is_text else base64_size(data))}"
        for name in ("url", "fileUri", "file_uri", "uri", "file_id", "filename", "id"):
            if isinstance(where := source.get(name), str):
                return _where(where)
        return kind or short(source)
    if isinstance(source, str) and source.startswith("data:"):
        head, _, data = source.partition(",")
        kind = head.removeprefix("data:").partition(";")[0]
        return f"{kind}, {size(base64_size(data))}"
    if isinstance(source, str) and len(source) > _SHORT:
        return size(base64_size(source))
    return short(source)


def _google_text(part: Mapping[str, Any]) -> Iterator[Part]:
    text = part.get("text")
    if isinstance(text, str) and text:
        yield Reasoning(text) if part.get("thought") else Text(text)


def _google_call(part: Mapping[str, Any]) -> Iterator[Part]:
    call = mapping(part.get("functionCall") or part.get("function_call"))
    yield Call(label(call.get("name")) or "?", arguments(call.get("args")), label(call.get("id")))


def _google_result(part: Mapping[str, Any]) -> Iterator[Part]:
    result = mapping(part.get("functionResponse") or part.get("function_response"))
    yield Result(parts(short(result.get("response"), 10_000)), label(result.get("id")), label(result.get("name")))


def _google_media(part: Mapping[str, Any]) -> Iterator[Part]:
    source = next(part[name] for name in _SOURCES if part.get(name) is not None)
    kind = label(mapping(source).get("mimeType"), mapping(source).get("mime_type")) or "file"
    yield Media(kind.partition("/")[0], _where(source))


def _code(part: Mapping[str, Any]) -> Iterator[Part]:
    code = mapping(part.get("executableCode") or part.get("executable_code"))
    yield Call("code_execution", arguments(code.get("code")))


def _code_result(part: Mapping[str, Any]) -> Iterator[Part]:
    result = mapping(part.get("codeExecutionResult") or part.get("code_execution_result"))
    yield Result(parts(result.get("output")), name="code_execution")


def _other(part: Mapping[str, Any]) -> Iterator[Part]:
    members = {name: value for name, value in part.items() if name not in ("type", "id")}
    yield Other(str(part.get("type")), short(members))


def _nothing(_part: Mapping[str, Any]) -> Iterator[Part]:
    return iter(())


type _Read = Callable[[Mapping[str, Any]], Iterable[Part]]

_BY_TYPE: Mapping[str, _Read] = {
    **dict.fromkeys(("text", "input_text", "output_text", "summary_text", "reasoning_text"), _text),
    "refusal": _refusal,
    **dict.fromkeys(("thinking", "redacted_thinking", "reasoning", "thought"), _reasoning),
    **dict.fromkeys(("tool_use", "server_tool_use", "mcp_tool_use", "tool.execution", "function.call"), _call),
    **dict.fromkeys(("tool_result", "function.result"), _result),
    **dict.fromkeys(("message", "message.input", "message.output", "model_output", "user_input"), _message),
    **dict.fromkeys(
        (
            "image", "image_url", "input_image", "document", "document_url", "input_audio", "audio", "input_file",
            "file", "video", "video_url", "input_video", "audio_url", "container_upload",
        ),
        _media,
    ),
    "step-start": _nothing,
}  # fmt: skip
_BY_MEMBER: Mapping[str, _Read] = {
    "functionCall": _google_call,
    "function_call": _google_call,
    "functionResponse": _google_result,
    "function_response": _google_result,
    "inlineData": _google_media,
    "inline_data": _google_media,
    "fileData": _google_media,
    "file_data": _google_media,
    "executableCode": _code,
    "executable_code": _code,
    "codeExecutionResult": _code_result,
    "code_execution_result": _code_result,
    "text": _google_text,
    "content": _message,
    "parts": lambda part: _parts(part.get("parts")),
}
_BY_ENDING: Mapping[str, _Read] = {"_call": _call, "_output": _result, "_result": _result, "_tool_use": _call}


def _by_ending(kind: str) -> _Read:
    return next((read for ending, read in _BY_ENDING.items() if kind.endswith(ending)), _other)
