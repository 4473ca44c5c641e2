"""Where the words are in OpenAI's Responses."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from metrion.dialects.dialect import label, mapping
from metrion.dialects.reading.text_parts import SYSTEM, objects, place_of, say_parts, schema_of
from metrion.dialects.reading.texts import Answered, Asked, Texts

_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.function_call_arguments.delta": "call",
    "response.custom_tool_call_input.delta": "call",
    "response.reasoning_text.delta": "thought",
    "response.reasoning_summary_text.delta": "thought",
}

_ITEMS = frozenset({"message", "function_call", "custom_tool_call", "reasoning"})
"""What a model gives out itself; the others are of the provider's tools, and compactions of the conversation."""


def answered(document: Mapping[str, Any], text: Answered) -> None:
    """Record what a document of an answer says."""
    kind, delta = label(document.get("type")), document.get("delta")
    place = place_of(document.get("output_index"))
    match _DELTAS.get(kind or ""):
        case "text":
            text.say((place, place_of(document.get("content_index"))), delta)
        case "call":
            text.call((place, "call"), None, delta)
        case "thought":
            text.think((place, "thought"), delta)
        case _ if kind == "response.output_item.added":
            item = mapping(document.get("item"))
            text.reasoned |= item.get("type") == "reasoning"
            text.unknown |= label(item.get("type")) not in _ITEMS
            text.call((place, "call"), item.get("name"), None)
        case _ if "output" in document:
            for at, item in objects(document.get("output")):
                _item(at, item, text)
        case _:
            pass


def _item(place: Hashable, item: Mapping[str, Any], text: Answered) -> None:
    match item.get("type"):
        case "message":
            for at, part in objects(item.get("content")):
                text.say((place, at), part.get("text", part.get("refusal")))
        case "function_call":
            text.call((place, "call"), item.get("name"), item.get("arguments"))
        case "custom_tool_call":
            text.call((place, "call"), item.get("name"), item.get("input"))
        case "reasoning":
            text.reasoned = True
            for name in ("summary", "content"):
                for _, part in objects(item.get(name)):
                    text.think((place, "thought"), part.get("text"))
        case _:
            text.unknown = True


_ELSEWHERE = ("previous_response_id", "conversation", "prompt", "search_parameters")
"""With one of these, there is input that is not in the request."""


def asked(document: Mapping[str, Any], text: Asked) -> None:
    """Record what a request says."""
    text.unknown = any(document.get(name) for name in _ELSEWHERE)
    if instructions := document.get("instructions"):
        text.messages += 1
        text.system = True
        text.say(instructions)
    given = document.get("input")
    if isinstance(given, str):
        text.messages += 1
        text.say(given)
    for _, item in objects(given):
        text.messages += 1
        match item.get("type", "message"):
            case "message":
                text.system |= label(item.get("role")) in SYSTEM
                say_parts(item.get("content"), text)
            case "function_call" | "custom_tool_call":
                text.call(item.get("name"), item.get("arguments", item.get("input")))
            case "function_call_output" | "custom_tool_call_output":
                say_parts(item.get("output"), text)
            case _:
                text.unknown = True
    for _, tool in objects(document.get("tools")):
        if tool.get("type") == "function":
            text.tools.append(tool)
        else:
            text.unknown = True
    choice = document.get("tool_choice")
    text.forced = isinstance(choice, Mapping) or (choice == "required" and len(text.tools) == 1)
    text.follow(schema_of(mapping(document.get("text")).get("format")))
    effort = mapping(document.get("reasoning")).get("effort")
    text.reasons = None if effort is None else effort != "none"


TEXTS = Texts(asked=asked, answered=answered, in_items=True)
