"""What the texts of several wire formats have in common: messages in parts, arrays of objects, schemas to follow.

Parsed JSON goes in; its text goes into an :class:`~metrion.dialects.reading.texts.Asked`. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from metrion.dialects.dialect import label, mapping
from metrion.dialects.reading.texts import Asked

SYSTEM = frozenset({"system", "developer"})
"""Roles of the messages that instruct the model."""

_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "summary_text"})


def say_parts(content: object, text: Asked) -> None:
    """Record the content of a message: a text, or parts."""
    if not isinstance(content, list):
        text.say(content)
        return
    for _, part in objects(content):
        match label(part.get("type", "text")):
            case kind if kind in _TEXT_PARTS:
                text.say(part.get("text", part.get("refusal")))
            case "tool_use":
                text.call(part.get("name"), part.get("input"))
            case "tool_result":
                say_parts(part.get("content"), text)
            case "thinking":
                pass  # what was thought in earlier turns is not read again
            case _:
                text.unknown = True


def schema_of(form: object) -> object:
    """Return the JSON schema that an answer is to follow."""
    form = mapping(form)
    return form.get("schema") or mapping(form.get("json_schema")).get("schema")


def place_of(value: object) -> int | None:
    """Return the number of a place; ``None`` where it is not one."""
    return value if isinstance(value, int) else None


def objects(value: object) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the objects in an array with their positions."""
    if isinstance(value, list):
        for at, item in enumerate(value):
            if isinstance(item, Mapping):
                yield at, item
