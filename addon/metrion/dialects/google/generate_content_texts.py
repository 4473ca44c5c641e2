"""Where the words are in Gemini's ``generateContent``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import mapping
from metrion.dialects.reading.text_parts import objects, place_of
from metrion.dialects.reading.texts import Answered, Asked, Texts

_THOUGHT_SIGNS = ("thoughtSignature", "thought_signature")


def answered(document: Mapping[str, Any], text: Answered) -> None:
    """Record what a document of an answer says."""
    for at, candidate in objects(document.get("candidates")):
        index = place_of(candidate.get("index", at))
        for _, part in objects(mapping(candidate.get("content")).get("parts")):
            text.reasoned |= any(part.get(name) for name in _THOUGHT_SIGNS)
            if part.get("thought"):
                text.think((index, "thought"), part.get("text"))
            elif "text" in part:
                text.say((index, "text"), part["text"])
            elif call := mapping(part.get("functionCall")):
                text.call((index, "call", len(text.names)), call.get("name"), call.get("args"))
            elif code := mapping(part.get("executableCode")):
                text.call((index, "code", len(text.names)), "code", code.get("code"))
            elif not any(name in part for name in _THOUGHT_SIGNS):
                text.unknown = True


def asked(document: Mapping[str, Any], text: Asked) -> None:
    """Record what a request says."""
    system = document.get("systemInstruction") or document.get("system_instruction")
    contents = document.get("contents")
    for content in (mapping(system), *(content for _, content in objects(contents)), mapping(contents)):
        for _, part in objects(content.get("parts")):
            if call := mapping(part.get("functionCall")) or mapping(part.get("functionResponse")):
                text.call(call.get("name"), call.get("args", call.get("response")))
            elif "text" in part:
                text.say(part["text"])
            else:
                text.unknown = True
        text.messages += bool(content)
    for _, tool in objects(document.get("tools")):
        functions = tool.get("functionDeclarations") or tool.get("function_declarations")
        text.tools += [function for _, function in objects(functions)]
        text.unknown |= not functions
    config = mapping(document.get("generationConfig") or document.get("generation_config"))
    text.follow(config.get("responseSchema") or config.get("responseJsonSchema"))
    thinking = mapping(config.get("thinkingConfig") or config.get("thinking_config"))
    budget = thinking.get("thinkingBudget", thinking.get("thinking_budget"))
    text.reasons = budget != 0 if budget is not None else bool(thinking) or None
    text.unknown |= bool(document.get("cachedContent"))


TEXTS = Texts(asked=asked, answered=answered)
