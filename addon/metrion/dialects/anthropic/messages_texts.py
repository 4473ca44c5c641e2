"""Where the words are in Anthropic's messages."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from metrion.dialects.dialect import mapping
from metrion.dialects.reading.text_parts import objects, place_of, say_parts
from metrion.dialects.reading.texts import Answered, Asked, Texts


def answered(document: Mapping[str, Any], text: Answered) -> None:
    """Record what a document of an answer says."""
    place = place_of(document.get("index"))
    _block(place, mapping(document.get("content_block")), text)
    delta = mapping(document.get("delta"))
    text.say((place, "text"), delta.get("text"))
    text.think((place, "thought"), delta.get("thinking"))
    text.reasoned |= "signature" in delta
    text.say((place, "call"), delta.get("partial_json"))
    for at, block in objects(document.get("content")):
        _block(at, block, text)


def _block(place: Hashable, block: Mapping[str, Any], text: Answered) -> None:
    match block.get("type"):
        case None:
            pass
        case "text":
            text.say((place, "text"), block.get("text"))
        case "tool_use":
            text.call((place, "call"), block.get("name"), block.get("input"))
        case "thinking" | "redacted_thinking":
            text.reasoned = True
            text.think((place, "thought"), block.get("thinking"))
        case _:  # a tool of the provider's: much of what is billed for one does not show
            text.unknown = True


def asked(document: Mapping[str, Any], text: Asked) -> None:
    """Record what a request says."""
    say_parts(document.get("system"), text)
    for _, message in objects(document.get("messages")):
        text.messages += 1
        say_parts(message.get("content"), text)
    for _, tool in objects(document.get("tools")):
        if tool.get("type", "custom") == "custom":
            text.tools.append({**tool, "parameters": tool.get("input_schema")})
        else:
            text.unknown = True
    text.forced = mapping(document.get("tool_choice")).get("type") == "tool"
    text.unknown |= any(document.get(name) for name in ("mcp_servers", "container"))
    thinking = mapping(document.get("thinking")).get("type")
    text.reasons = thinking in ("enabled", "adaptive")


TEXTS = Texts(asked=asked, answered=answered)
