"""Where the words are in OpenAI's chat completions and in the completions before chat."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from metrion.dialects.dialect import label, mapping
from metrion.dialects.reading.text_parts import SYSTEM, objects, place_of, say_parts, schema_of
from metrion.dialects.reading.texts import Answered, Asked, Texts


def answered(document: Mapping[str, Any], text: Answered) -> None:
    """Record what a document of an answer says."""
    for at, choice in objects(document.get("choices")):
        index = place_of(choice.get("index", at))
        text.say((index, "text"), choice.get("text"))
        message = mapping(choice.get("delta")) or mapping(choice.get("message"))
        _chat_parts(index, message.get("content"), text)
        text.say((index, "refusal"), message.get("refusal"))
        text.think((index, "reasoning"), message.get("reasoning_content") or message.get("reasoning"))
        text.unknown |= bool(message.get("audio") or message.get("images"))
        if function := mapping(message.get("function_call")):
            text.call((index, "function"), function.get("name"), function.get("arguments"))
        for nth, call in objects(message.get("tool_calls")):
            function = mapping(call.get("function")) or mapping(call.get("custom"))
            arguments = function.get("arguments", function.get("input"))
            text.call((index, "call", place_of(call.get("index", nth))), function.get("name"), arguments)


def _chat_parts(index: Hashable, content: object, text: Answered) -> None:
    """Record content, which Mistral sends in parts where there are thoughts or references among them."""
    if not isinstance(content, list):
        text.say((index, "content"), content)
        return
    for _, part in objects(content):
        match part.get("type"):
            case "text":
                text.say((index, "content"), part.get("text"))
            case "thinking":
                for _, thought in objects(part.get("thinking")):
                    text.think((index, "reasoning"), thought.get("text"))
            case "reference":
                pass
            case _:
                text.unknown = True


def asked(document: Mapping[str, Any], text: Asked) -> None:
    """Record what a request says."""
    for _, message in objects(document.get("messages")):
        text.messages += 1
        text.system |= label(message.get("role")) in SYSTEM
        text.say(message.get("name"), message.get("reasoning_content"))
        say_parts(message.get("content"), text)
        text.unknown |= bool(message.get("audio"))
        calls = [mapping(call.get("function")) for _, call in objects(message.get("tool_calls"))]
        for function in (*calls, mapping(message.get("function_call"))):
            text.call(function.get("name"), function.get("arguments"))
    for _, tool in objects(document.get("tools")):
        if tool.get("type", "function") == "function":
            text.tools.append(mapping(tool.get("function")))
        else:
            text.unknown = True
    text.tools += [function for _, function in objects(document.get("functions"))]
    text.forced = any(isinstance(document.get(name), Mapping) for name in ("tool_choice", "function_call"))
    text.follow(schema_of(document.get("response_format")))
    text.unknown |= any(document.get(name) for name in ("web_search_options", "search_parameters", "plugins"))
    text.unshown = bool(document.get("prediction"))  # what of it is rejected is billed too
    effort = document.get("reasoning_effort") or mapping(document.get("reasoning")).get("effort")
    text.reasons = None if effort is None else effort != "none"
    if "prompt" in document:
        _prompt(document["prompt"], text)
        text.say(document.get("suffix"))
        text.unshown |= bool(document.get("echo") or document.get("best_of"))


def _prompt(prompt: object, text: Asked) -> None:
    """Record the prompt of a completion: a text, tokens, or several of either."""
    for each in prompt if isinstance(prompt, list) else (prompt,):
        if type(each) is int:
            text.tokens += 1
        elif isinstance(each, list) and all(type(token) is int for token in each):
            text.tokens += len(each)
        else:
            text.say(each)


TEXTS = Texts(asked=asked, answered=answered)
