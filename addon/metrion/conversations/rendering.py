"""A conversation → text that a person reads, with the look of YAML.

In: values. Out: lines, each indented below the role that says it. Never: more than :data:`_MOST` characters, or a
credential: what looks like one is masked, line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from metrion.admission.masking import without_tokens
from metrion.conversations.conversation import (
    Call,
    Conversation,
    Media,
    Message,
    Other,
    Part,
    Reasoning,
    Result,
    Text,
    Tool,
)
from metrion.conversations.parts import short

_MOST = 300_000
_MOST_TEXT = 20_000
_MOST_MESSAGES = 300
_FIRST = 20
"""Of a longer conversation, so many messages at its beginning are shown, and the rest of them at its end."""
_INDENT = "  "
_KEY = re.compile(r"\b(?:sk-|xai-|gsk_|pplx-|hf_|AIza)[A-Za-z0-9_-]{16,}|(?<=Bearer )[A-Za-z0-9._~+/-]{16,}")
"""What the keys of providers look like."""


def rendered(
    found: Iterable[tuple[str | None, Conversation]],
    foot: Iterable[tuple[str, str]] = (),
    *,
    remark: str | None = None,
) -> str:
    """Return the text. ``foot``: names and values that stand below. ``remark``: a sentence above it."""
    lines: list[str] = []
    left = _MOST
    for line in _lines(found, remark):
        left -= len(line) + 1
        if left < 0:
            lines += ("", "# This is too long to be shown whole. The views Raw and JSON have all of it.")
            break
        lines.append(line)
    below = [f"{name}: {value}" for name, value in foot]
    if below:
        lines += ("", "# metered", *below)
    return "\n".join(map(masked, "\n".join(lines).strip("\n").split("\n"))) + "\n"


def masked(line: str) -> str:
    """Return a line without what looks like a credential."""
    without = without_tokens(line.encode("utf-8", "replace")).decode("utf-8", "replace")
    return _KEY.sub(_masked, without)


def _masked(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith("sk-metrion-") else "***"  # that one is masked as it is


def _lines(found: Iterable[tuple[str | None, Conversation]], remark: str | None) -> Iterator[str]:
    if remark:
        yield f"# {remark}"
    for name, conversation in found:
        if name is not None:
            yield ""
            yield f"--- # {name}"
        yield from _conversation(conversation)


def _conversation(conversation: Conversation) -> Iterator[str]:
    if conversation.model:
        yield f"model: {conversation.model}"
    for name, value in conversation.settings:
        yield f"{name}: {_one_line(value)}"
    if conversation.tools:
        yield ""
        yield "tools:"
        yield from (f"{_INDENT}{_tool(tool)}" for tool in conversation.tools)
    names = _names(conversation.messages)
    if conversation.system:
        yield from _message(Message("system", conversation.system), names)
    for message in _shown(conversation.messages):
        if isinstance(message, int):
            yield ""
            yield f"# {message} messages are not shown here."
        else:
            yield from _message(message, names)
    if conversation.error or conversation.finish or conversation.usage or conversation.notes:
        yield ""
    if conversation.error:
        yield f"error: {_one_line(conversation.error)}"
    if conversation.finish:
        yield f"finish: {', '.join(conversation.finish)}"
    if conversation.usage is not None:
        yield f"usage: {short(conversation.usage, 2000)}"
    yield from (f"# {note}" for note in conversation.notes)


def _shown(messages: tuple[Message, ...]) -> Iterator[Message | int]:
    hidden = len(messages) - _MOST_MESSAGES
    if hidden <= 0:
        yield from messages
        return
    yield from messages[:_FIRST]
    yield hidden
    yield from messages[_FIRST + hidden :]


def _names(messages: Iterable[Message]) -> dict[str, str]:
    """Return the names of the tools that were called, by the id of the call."""
    parts = (part for message in messages for part in message.parts)
    return {part.id: part.name for part in parts if isinstance(part, Call) and part.id}


def _message(message: Message, names: dict[str, str]) -> Iterator[str]:
    yield ""
    yield f"{_one_line(message.role)}:"
    for part in message.parts:
        yield from (_INDENT + line for line in _part(part, names))


def _part(part: Part, names: dict[str, str]) -> Iterator[str]:
    match part:
        case Text(text):
            yield from _text(text)
        case Reasoning(text):
            yield "reasoning:"
            yield from (_INDENT + line for line in _text(text))
        case Call(name, arguments, identity):
            yield f"call: {_one_line(name)}{f'  # {identity}' if identity else ''}"
            yield from (_INDENT + line for line in _text(arguments))
        case Result(parts, identity, name, is_error):
            of = name or names.get(identity or "") or ""
            yield f"{'failure' if is_error else 'result'}: {of}{f'  # {identity}' if identity else ''}"
            yield from (_INDENT + line for each in parts for line in _part(each, names))
        case Media(kind, detail):
            yield f"[{kind}: {_one_line(detail)}]"
        case Other(kind, text):
            yield f"[{_one_line(kind)}] {_one_line(text)}"


def _text(text: str) -> Iterator[str]:
    if len(text) > _MOST_TEXT:
        text = f"{text[:_MOST_TEXT]}… [{len(text) - _MOST_TEXT:,} more characters]"
    yield from text.splitlines()


def _tool(tool: Tool) -> str:
    signature = f"{tool.name}({tool.parameters})"
    return f"{signature}  # {_one_line(tool.description)}" if tool.description else signature


def _one_line(text: str) -> str:
    return " ".join(text.split())
