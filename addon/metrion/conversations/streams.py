"""The events of a stream → the one document that the same answer would have been without streaming.

In: decoded events, in order. Out: a document in the shape of its wire format; pieces of texts and of arguments are
joined. A stream that was cut off gives as much as there is. Which format it is, its events say. Never: an exception
because of what an event holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from metrion.dialects.dialect import mapping

type _Document = dict[str, Any]


def joined(events: Sequence[Any]) -> _Document | None:
    """Return the document; ``None``: these are the events of no known format."""
    objects = [event for event in events if isinstance(event, dict)]
    for belongs, join in _FORMATS:
        if any(map(belongs, objects)):
            return join(objects)
    return next((event for event in objects if event.get("error") is not None), None)


# --- Anthropic's messages ---


def _anthropic(events: Iterable[_Document]) -> _Document:
    message: _Document = {}
    blocks: dict[tuple[int, int], _Document] = {}
    messages = 0
    for event in events:
        block = blocks.setdefault((messages, _index(event)), {}) if "index" in event else {}
        match event.get("type"):
            case "message_start":
                messages += 1  # some servers send several, one after another
                message = {**mapping(event.get("message")), "content": []}
            case "content_block_start":
                block.update(mapping(event.get("content_block")))
            case "content_block_delta":
                _anthropic_delta(block, mapping(event.get("delta")))
            case "message_delta":
                message |= {name: value for name, value in mapping(event.get("delta")).items() if value is not None}
                message["usage"] = {**mapping(message.get("usage")), **mapping(event.get("usage"))}
            case "error":
                message["error"] = event.get("error")
            case _ if "completion" in event:
                _append(message, "completion", event["completion"])
                message |= {name: event[name] for name in ("model", "stop_reason") if event.get(name) is not None}
    if blocks:
        message["content"] = [blocks[index] for index in sorted(blocks)]
    return message


def _anthropic_delta(block: _Document, delta: Mapping[str, Any]) -> None:
    for name in ("text", "thinking", "signature"):
        if name in delta:
            block.setdefault("type", "thinking" if name == "signature" else name)
            _append(block, name, delta[name])
    if "partial_json" in delta:
        if not isinstance(block.get("input"), str):
            block["input"] = ""
        _append(block, "input", delta["partial_json"])


# --- OpenAI's chat and completions ---


def _chat(events: Iterable[_Document]) -> _Document:
    document: _Document = {}
    choices: dict[int, _Document] = {}
    for event in events:
        document |= {name: value for name, value in event.items() if name != "choices" and value is not None}
        listed = event.get("choices")
        for each in listed if isinstance(listed, list) else ():
            piece = mapping(each)
            choice = choices.setdefault(_index(piece), {"message": {}})
            if "text" in piece:
                _append(choice, "text", piece["text"])
            if piece.get("finish_reason") is not None:
                choice["finish_reason"] = piece["finish_reason"]
            _chat_delta(choice["message"], mapping(piece.get("delta")) or mapping(piece.get("message")))
    document["choices"] = [choices[index] for index in sorted(choices)]
    return document


def _chat_delta(message: _Document, delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls" and isinstance(value, list):
            for position, call in enumerate(value):
                _chat_call(message.setdefault("tool_calls", []), mapping(call), position)
        elif name == "function_call":
            _pieces(message.setdefault("function_call", {}), mapping(value))
        elif name == "audio" and isinstance(value, dict):
            _pieces(message.setdefault("audio", {}), value)
        elif name in ("content", "reasoning_content", "reasoning", "refusal"):
            _append(message, name, value)
        elif value is not None:
            message[name] = value


def _chat_call(calls: list[_Document], piece: Mapping[str, Any], position: int) -> None:
    index = _index(piece, position)
    if 0 <= index < len(calls):
        call = calls[index]
    else:
        call = {"function": {}}
        calls.append(call)
    if piece.get("id"):
        call["id"] = piece["id"]
    _pieces(call["function"], mapping(piece.get("function")) or mapping(piece.get("custom")))


# --- OpenAI's Responses ---


def _responses(events: Iterable[_Document]) -> _Document:
    response: _Document = {}
    items: dict[int, _Document] = {}
    for event in events:
        kind = str(event.get("type"))
        if isinstance(event.get("response"), dict):
            response = event["response"]
        elif kind == "error":
            response = {**response, "error": mapping(event.get("error")) or event}
        elif kind in ("response.output_item.added", "response.output_item.done"):
            items[_index(event, name="output_index")] = dict(mapping(event.get("item")))
        elif kind.endswith(".delta"):
            item = items.setdefault(_index(event, name="output_index"), {})
            _responses_delta(item, kind, event)
    if items and not response.get("output"):
        response = {**response, "output": [items[index] for index in sorted(items)]}
    return response


def _responses_delta(item: _Document, kind: str, event: Mapping[str, Any]) -> None:
    match kind:
        case "response.output_text.delta" | "response.refusal.delta":
            item.setdefault("type", "message")
            content = item.get("content")
            if not isinstance(content, str):
                item["content"] = ""
            _append(item, "content", event.get("delta"))
        case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
            item.setdefault("type", "reasoning")
            _append(item, "reasoning", event.get("delta"))
        case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
            item.setdefault("type", "function_call")
            _append(item, "input" if "custom" in kind else "arguments", event.get("delta"))


# --- Google ---


def _google(events: Iterable[_Document]) -> _Document:
    document: _Document = {}
    candidates: dict[int, _Document] = {}
    for event in events:
        document |= {name: value for name, value in event.items() if name != "candidates" and value is not None}
        listed = event.get("candidates")
        for each in listed if isinstance(listed, list) else ():
            piece = mapping(each)
            candidate = candidates.setdefault(_index(piece), {"content": {"role": "model", "parts": []}})
            candidate |= {name: value for name, value in piece.items() if name != "content" and value is not None}
            new = mapping(piece.get("content")).get("parts")
            for part in new if isinstance(new, list) else ():
                _google_part(candidate["content"]["parts"], mapping(part))
    if candidates:
        document["candidates"] = [candidates[index] for index in sorted(candidates)]
    return document


def _google_part(parts: list[_Document], part: Mapping[str, Any]) -> None:
    last = parts[-1] if parts else {}
    if "text" in part and "text" in last and bool(part.get("thought")) == bool(last.get("thought")):
        _append(last, "text", part["text"])
    else:
        parts.append(dict(part))


def _interactions(events: Iterable[_Document]) -> _Document:
    document: _Document = {}
    steps: dict[int, _Document] = {}
    for event in events:
        document |= {name: value for name, value in mapping(event.get("interaction")).items() if value is not None}
        if event.get("error") is not None:
            document["error"] = event["error"]
        kind, content = str(event.get("event_type")), event.get("step", event.get("content"))
        if kind in ("step.start", "content.start"):
            steps[_index(event)] = {**mapping(content), "content": ""}
        elif kind in ("step.delta", "content.delta"):
            step, delta = steps.setdefault(_index(event), {"type": "model_output", "content": ""}), event.get("delta")
            words = mapping(delta).get("text", mapping(mapping(delta).get("content")).get("text"))
            _append(step, "content", words)
            step |= {name: mapping(delta)[name] for name in ("name", "arguments", "id") if name in mapping(delta)}
    if steps:
        document["steps"] = [steps[index] for index in sorted(steps)]
    return document


# --- Mistral's conversations ---


def _mistral(events: Iterable[_Document]) -> _Document:
    document: _Document = {}
    outputs: dict[int, _Document] = {}
    for event in events:
        document |= {name: event[name] for name in ("conversation_id", "usage") if event.get(name) is not None}
        match event.get("type"):
            case "message.output.delta":
                output = outputs.setdefault(_index(event, name="output_index"), {"type": "message.output"})
                output |= {name: event[name] for name in ("role", "model") if name in event}
                content = event.get("content")
                if isinstance(content, str) and isinstance(output.get("content", ""), str):
                    _append(output, "content", content)
                else:
                    before = output.get("content", [])
                    output["content"] = [*(before if isinstance(before, list) else [before]), content]
            case "function.call.delta":
                output = outputs.setdefault(_index(event, name="output_index"), {"type": "function.call"})
                output |= {name: event[name] for name in ("name", "tool_call_id") if name in event}
                _append(output, "arguments", event.get("arguments"))
            case "tool.execution.started" | "tool.execution.done":
                output = outputs.setdefault(_index(event, name="output_index"), {})
                output |= event | {"type": "tool.execution"}
            case "conversation.response.error":
                document["error"] = event
    document["outputs"] = [outputs[index] for index in sorted(outputs)]
    return document


# --- what all share ---


def _index(piece: Mapping[str, Any], default: int = 0, *, name: str = "index") -> int:
    value = piece.get(name)
    return value if type(value) is int else default


def _append(target: _Document, name: str, piece: object) -> None:
    """Add a piece to a text. Python joins in place, as long as nobody else holds the text."""
    if not isinstance(piece, str):
        if piece is not None and name == "content":  # some servers stream a list of parts
            parts = target[name] = _listed(target.get(name))
            for each in _listed(piece):
                parts[-1:] = _beside(parts[-1:], each)
        return
    before = target.get(name)
    if isinstance(before, list):
        before[-1:] = _beside(before[-1:], piece)
    else:
        target[name] = (before if isinstance(before, str) else "") + piece


def _beside(last: list[Any], piece: object) -> list[Any]:
    """Return the last part of a list with the next piece: in it where both are of one kind, else beside it."""
    before = last[0] if last else None
    if isinstance(before, str) and isinstance(piece, str):
        return [before + piece]
    if isinstance(before, dict) and isinstance(piece, dict) and before.get("type") == piece.get("type") == "thinking":
        return [{**before, "thinking": [*_listed(before.get("thinking")), *_listed(piece.get("thinking"))]}]
    return [*last, piece]


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _pieces(target: _Document, pieces: Mapping[str, Any]) -> None:
    """Add to a call: its name and id come whole, its arguments in pieces."""
    for name, value in pieces.items():
        if name in ("arguments", "input", "data", "transcript"):
            _append(target, name, value)
        elif value is not None:
            target[name] = value


def _type_begins(*prefixes: str) -> Callable[[_Document], bool]:
    return lambda event: str(event.get("type")).startswith(prefixes)


_FORMATS: Sequence[tuple[Callable[[_Document], bool], Callable[[Iterable[_Document]], _Document]]] = (
    (_type_begins("message_start", "content_block_"), _anthropic),
    (lambda event: isinstance(event.get("completion"), str), _anthropic),
    (_type_begins("response."), _responses),
    (_type_begins("conversation.response", "message.output"), _mistral),
    (lambda event: "event_type" in event, _interactions),
    (lambda event: "candidates" in event or "usageMetadata" in event, _google),
    (lambda event: "choices" in event, _chat),
)
