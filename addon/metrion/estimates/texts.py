"""Which words of a request and of its response are tokens: parsed JSON in, text and counts out, format by format.

A format that is in neither table here is one of which nothing is estimated. What is there and is no text (images,
sound, files, an encrypted thought, a conversation that the provider keeps) is never guessed at: it is told as
``unknown``. Documents come from strangers, and any part of one may be missing or of another kind. Nothing here raises.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from metrion.dialects.dialect import label, mapping

SYSTEM = frozenset({"system", "developer"})


@dataclass(slots=True)
class Answered:
    """What a response says, put together from its events."""

    pieces: defaultdict[Hashable, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Text by the place where it stands. What is at different places is tokenized apart."""
    names: dict[Hashable, str] = field(default_factory=dict)
    """The tools called, by the place of the call."""
    reasoned: bool = False
    """It shows that the model has thought, though maybe not what."""
    unknown: bool = False
    """Something in it is no text."""
    counted: bool = False
    """Something was said before the latest report of a usage: it was a running total."""

    @property
    def silent(self) -> bool:
        """Whether nothing was said since."""
        return not (self.pieces or self.names)

    def say(self, place: Hashable, text: object) -> None:
        """Note text."""
        if isinstance(text, str):
            if text:
                self.pieces[place].append(text)
        elif text is not None:
            self.unknown = True

    def think(self, place: Hashable, text: object) -> None:
        """Note a thought, or the sign of one."""
        if text:
            self.reasoned = True
            self.say(place, text)

    def call(self, place: Hashable, name: object, arguments: object) -> None:
        """Note a call of a tool, or a further piece of one. Arguments that are no text are JSON of the model's."""
        if isinstance(name, str) and name:
            self.names[place] = self.names.get(place, "") + name
        if isinstance(arguments, Mapping | list):
            arguments = json.dumps(arguments, ensure_ascii=False) if arguments else None
        self.say(place, arguments)

    def restart(self) -> None:
        """Forget what was said so far: a usage has been reported that covers it."""
        self.counted |= not self.silent
        self.pieces.clear()
        self.names.clear()


@dataclass(slots=True)
class Asked:
    """What a request says."""

    texts: list[str] = field(default_factory=list)
    messages: int = 0
    system: bool = False
    """One of the messages is the system's."""
    calls: int = 0
    tools: list[Mapping[str, Any]] = field(default_factory=list)
    """Functions that the caller defines: ``name``, ``description`` and ``parameters``, a JSON schema."""
    tokens: int = 0
    """Tokens that are given as such."""
    forced: bool = False
    """Which function is to be called is said already."""
    reasons: bool | None = None
    """Whether the model is told to think; ``None``: it is not told."""
    unknown: bool = False
    """Something in it is no text, or is not in it."""
    unshown: bool = False
    """It asks for more, or less, than the response will show."""

    def say(self, *texts: object) -> None:
        """Note text."""
        for text in texts:
            if isinstance(text, str):
                self.texts.append(text)
            elif text is not None:
                self.unknown = True

    def call(self, name: object, arguments: object) -> None:
        """Note an earlier call of a tool."""
        if name is not None:
            self.calls += 1
            self.say(name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))

    def follow(self, schema: object) -> None:
        """Note a JSON schema that the answer is to follow."""
        if schema:
            self.texts.append(json.dumps(schema, ensure_ascii=False, separators=(",", ":")))


def answered(dialect: str, documents: Iterable[Any]) -> Answered:
    """Return what is said after the last document that reports a usage; all of it where none does."""
    read = ANSWERS[dialect]
    text = Answered()
    for document in map(mapping, documents):
        read(document, text)
        if _reports_usage(document):
            text.restart()
    return text


def asked(dialect: str, document: Mapping[str, Any]) -> Asked:
    """Return what is asked."""
    text = Asked()
    REQUESTS[dialect](document, text)
    return text


def _reports_usage(document: Mapping[str, Any]) -> bool:
    for name in ("message", "response", "x_groq"):
        if mapping(document.get(name)).get("usage"):
            return True
    return bool(mapping(document.get("usage")) or mapping(document.get("usageMetadata")))


# --- OpenAI's chat completions, and the completions before chat -------------------------------------------------------


def _chat_answer(document: Mapping[str, Any], text: Answered) -> None:
    for at, choice in _each(document.get("choices")):
        index = _place(choice.get("index", at))
        text.say((index, "text"), choice.get("text"))
        message = mapping(choice.get("delta")) or mapping(choice.get("message"))
        _chat_parts(index, message.get("content"), text)
        text.say((index, "refusal"), message.get("refusal"))
        text.think((index, "reasoning"), message.get("reasoning_content") or message.get("reasoning"))
        text.unknown |= bool(message.get("audio") or message.get("images"))
        if function := mapping(message.get("function_call")):
            text.call((index, "function"), function.get("name"), function.get("arguments"))
        for nth, call in _each(message.get("tool_calls")):
            function = mapping(call.get("function")) or mapping(call.get("custom"))
            arguments = function.get("arguments", function.get("input"))
            text.call((index, "call", _place(call.get("index", nth))), function.get("name"), arguments)


def _chat_parts(index: Hashable, content: object, text: Answered) -> None:
    """Note content, which Mistral sends in parts where there are thoughts or references among them."""
    if not isinstance(content, list):
        text.say((index, "content"), content)
        return
    for _, part in _each(content):
        match part.get("type"):
            case "text":
                text.say((index, "content"), part.get("text"))
            case "thinking":
                for _, thought in _each(part.get("thinking")):
                    text.think((index, "reasoning"), thought.get("text"))
            case "reference":
                pass
            case _:
                text.unknown = True


def _chat_request(document: Mapping[str, Any], text: Asked) -> None:
    for _, message in _each(document.get("messages")):
        text.messages += 1
        text.system |= label(message.get("role")) in SYSTEM
        text.say(message.get("name"), message.get("reasoning_content"))
        _parts(message.get("content"), text)
        text.unknown |= bool(message.get("audio"))
        calls = [mapping(call.get("function")) for _, call in _each(message.get("tool_calls"))]
        for function in (*calls, mapping(message.get("function_call"))):
            text.call(function.get("name"), function.get("arguments"))
    for _, tool in _each(document.get("tools")):
        if tool.get("type", "function") == "function":
            text.tools.append(mapping(tool.get("function")))
        else:
            text.unknown = True
    text.tools += [function for _, function in _each(document.get("functions"))]
    text.forced = any(isinstance(document.get(name), Mapping) for name in ("tool_choice", "function_call"))
    text.follow(_schema(document.get("response_format")))
    text.unknown |= any(document.get(name) for name in ("web_search_options", "search_parameters", "plugins"))
    text.unshown = bool(document.get("prediction"))  # what of it is rejected is billed too
    effort = document.get("reasoning_effort") or mapping(document.get("reasoning")).get("effort")
    text.reasons = None if effort is None else effort != "none"
    if "prompt" in document:
        _prompt(document["prompt"], text)
        text.say(document.get("suffix"))
        text.unshown |= bool(document.get("echo") or document.get("best_of"))


def _prompt(prompt: object, text: Asked) -> None:
    """Note the prompt of a completion: a text, tokens, or several of either."""
    for each in prompt if isinstance(prompt, list) else (prompt,):
        if type(each) is int:
            text.tokens += 1
        elif isinstance(each, list) and all(type(token) is int for token in each):
            text.tokens += len(each)
        else:
            text.say(each)


# --- OpenAI's Responses -----------------------------------------------------------------------------------------------

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


def _responses_answer(document: Mapping[str, Any], text: Answered) -> None:
    kind, delta = label(document.get("type")), document.get("delta")
    place = _place(document.get("output_index"))
    match _DELTAS.get(kind or ""):
        case "text":
            text.say((place, _place(document.get("content_index"))), delta)
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
            for at, item in _each(document.get("output")):
                _item(at, item, text)
        case _:
            pass


def _item(place: Hashable, item: Mapping[str, Any], text: Answered) -> None:
    match item.get("type"):
        case "message":
            for at, part in _each(item.get("content")):
                text.say((place, at), part.get("text", part.get("refusal")))
        case "function_call":
            text.call((place, "call"), item.get("name"), item.get("arguments"))
        case "custom_tool_call":
            text.call((place, "call"), item.get("name"), item.get("input"))
        case "reasoning":
            text.reasoned = True
            for name in ("summary", "content"):
                for _, part in _each(item.get(name)):
                    text.think((place, "thought"), part.get("text"))
        case _:
            text.unknown = True


_ELSEWHERE = ("previous_response_id", "conversation", "prompt", "search_parameters")
"""With one of these, there is input that is not in the request."""


def _responses_request(document: Mapping[str, Any], text: Asked) -> None:
    text.unknown = any(document.get(name) for name in _ELSEWHERE)
    if instructions := document.get("instructions"):
        text.messages += 1
        text.system = True
        text.say(instructions)
    given = document.get("input")
    if isinstance(given, str):
        text.messages += 1
        text.say(given)
    for _, item in _each(given):
        text.messages += 1
        match item.get("type", "message"):
            case "message":
                text.system |= label(item.get("role")) in SYSTEM
                _parts(item.get("content"), text)
            case "function_call" | "custom_tool_call":
                text.call(item.get("name"), item.get("arguments", item.get("input")))
            case "function_call_output" | "custom_tool_call_output":
                _parts(item.get("output"), text)
            case _:
                text.unknown = True
    for _, tool in _each(document.get("tools")):
        if tool.get("type") == "function":
            text.tools.append(tool)
        else:
            text.unknown = True
    choice = document.get("tool_choice")
    text.forced = isinstance(choice, Mapping) or (choice == "required" and len(text.tools) == 1)
    text.follow(_schema(mapping(document.get("text")).get("format")))
    effort = mapping(document.get("reasoning")).get("effort")
    text.reasons = None if effort is None else effort != "none"


# --- Anthropic's messages ---------------------------------------------------------------------------------------------


def _messages_answer(document: Mapping[str, Any], text: Answered) -> None:
    place = _place(document.get("index"))
    _block(place, mapping(document.get("content_block")), text)
    delta = mapping(document.get("delta"))
    text.say((place, "text"), delta.get("text"))
    text.think((place, "thought"), delta.get("thinking"))
    text.reasoned |= "signature" in delta
    text.say((place, "call"), delta.get("partial_json"))
    for at, block in _each(document.get("content")):
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


def _messages_request(document: Mapping[str, Any], text: Asked) -> None:
    _parts(document.get("system"), text)
    for _, message in _each(document.get("messages")):
        text.messages += 1
        _parts(message.get("content"), text)
    for _, tool in _each(document.get("tools")):
        if tool.get("type", "custom") == "custom":
            text.tools.append({**tool, "parameters": tool.get("input_schema")})
        else:
            text.unknown = True
    text.forced = mapping(document.get("tool_choice")).get("type") == "tool"
    text.unknown |= any(document.get(name) for name in ("mcp_servers", "container"))
    thinking = mapping(document.get("thinking")).get("type")
    text.reasons = thinking in ("enabled", "adaptive")


# --- Anthropic's text completions -------------------------------------------------------------------------------------


def _completion_answer(document: Mapping[str, Any], text: Answered) -> None:
    text.say("completion", document.get("completion"))


def _completion_request(document: Mapping[str, Any], text: Asked) -> None:
    text.say(document.get("prompt"))


# --- Gemini's generateContent -----------------------------------------------------------------------------------------

_THOUGHT_SIGNS = ("thoughtSignature", "thought_signature")


def _gemini_answer(document: Mapping[str, Any], text: Answered) -> None:
    for at, candidate in _each(document.get("candidates")):
        index = _place(candidate.get("index", at))
        for _, part in _each(mapping(candidate.get("content")).get("parts")):
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


def _gemini_request(document: Mapping[str, Any], text: Asked) -> None:
    system = document.get("systemInstruction") or document.get("system_instruction")
    contents = document.get("contents")
    for content in (mapping(system), *(content for _, content in _each(contents)), mapping(contents)):
        for _, part in _each(content.get("parts")):
            if call := mapping(part.get("functionCall")) or mapping(part.get("functionResponse")):
                text.call(call.get("name"), call.get("args", call.get("response")))
            elif "text" in part:
                text.say(part["text"])
            else:
                text.unknown = True
        text.messages += bool(content)
    for _, tool in _each(document.get("tools")):
        functions = tool.get("functionDeclarations") or tool.get("function_declarations")
        text.tools += [function for _, function in _each(functions)]
        text.unknown |= not functions
    config = mapping(document.get("generationConfig") or document.get("generation_config"))
    text.follow(config.get("responseSchema") or config.get("responseJsonSchema"))
    thinking = mapping(config.get("thinkingConfig") or config.get("thinking_config"))
    budget = thinking.get("thinkingBudget", thinking.get("thinking_budget"))
    text.reasons = budget != 0 if budget is not None else bool(thinking) or None
    text.unknown |= bool(document.get("cachedContent"))


# --- what the formats have in common ----------------------------------------------------------------------------------

_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "summary_text"})


def _parts(content: object, text: Asked) -> None:
    """Note the content of a message: a text, or parts."""
    if not isinstance(content, list):
        text.say(content)
        return
    for _, part in _each(content):
        match label(part.get("type", "text")):
            case kind if kind in _TEXT_PARTS:
                text.say(part.get("text", part.get("refusal")))
            case "tool_use":
                text.call(part.get("name"), part.get("input"))
            case "tool_result":
                _parts(part.get("content"), text)
            case "thinking":
                pass  # what was thought in earlier turns is not read again
            case _:
                text.unknown = True


def _schema(form: object) -> object:
    """Return the JSON schema that an answer is to follow."""
    form = mapping(form)
    return form.get("schema") or mapping(form.get("json_schema")).get("schema")


def _place(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _each(value: object) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Give the objects in an array, numbered."""
    if isinstance(value, list):
        for at, item in enumerate(value):
            if isinstance(item, Mapping):
                yield at, item


ANSWERS: Mapping[str, Callable[[Mapping[str, Any], Answered], None]] = {
    "anthropic_completions": _completion_answer,
    "anthropic_messages": _messages_answer,
    "gemini": _gemini_answer,
    "openai_chat": _chat_answer,
    "openai_responses": _responses_answer,
}
"""By wire format, a key of ``DIALECTS``: notes what a document of a response says."""

REQUESTS: Mapping[str, Callable[[Mapping[str, Any], Asked], None]] = {
    "anthropic_completions": _completion_request,
    "anthropic_messages": _messages_request,
    "gemini": _gemini_request,
    "openai_chat": _chat_request,
    "openai_responses": _responses_request,
}
"""By wire format: notes what a request says."""
