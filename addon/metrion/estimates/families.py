"""How the models of one family turn text into tokens, measured: a model's name in, its :class:`Family` out.

The figures are fitted to recorded exchanges whose usage is known; docs/estimates.md shows how well each family fits.
Nothing is estimated for a model that is in no family here, nor for a side (input, output) without figures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

O200K = "o200k_base"
CL100K = "cl100k_base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Tokens of a response: those of its texts times ``factor``, and what is added for its form."""

    factor: float = 1
    text: int = 0
    """For there being text beside calls, or no call."""
    offered: int = 0
    """The same where tools are offered."""
    item: int = 0
    """For the response, in the Responses API."""
    call: int | None = 0
    """For each call of a tool; ``None``: it is not known."""
    parameter: int = 0
    """For each argument of a call."""
    together: int = 0
    """For there being more than one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Tokens of a request: those of its texts, and what is added for its form."""

    message: int
    """For each message, the role included."""
    request: int
    call: int
    """For each earlier call of a tool."""
    tools: int
    """For there being tools, beside their declarations."""
    tools_system: int
    """The same where there is a system message, in which they are declared."""
    forced: int = 0
    """For naming the function that is to be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What is known of a family of models."""

    name: str
    models: re.Pattern[str]
    """What their names begin with, without the name of a vendor before them."""
    encoding: str = O200K
    """The encoding that is theirs, or comes near."""
    output: Output | None = None
    input: Input | None = None
    thinks: bool | None = False
    """Whether they think where a request does not say; ``None``: some do."""
    shows_thoughts: bool = False
    """Their thoughts are in the response, word by word, and not in summary or not at all."""


def family(model: str | None) -> Family | None:
    """Return the family of a model; ``None`` where nothing is known of it."""
    name = _VENDOR.sub("", (model or "").lower())
    return next((each for each in FAMILIES if each.models.match(name)), None)


_VENDOR = re.compile(r"(?:.*/)?(?:ft:)?")
"""What may stand before a name: ``openai/``, ``models/``, ``ft:`` for one that was trained further."""

_CHAT_INPUT = Input(message=4, request=3, call=7, tools=9, tools_system=4, forced=9)
"""OpenAI's published rule, three tokens and the role for each message and three for the answer to come
(https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken); the rest is measured."""
_CHAT_OUTPUT = Output(offered=1, item=1, call=7, together=13)

_GPT_5_INPUT = Input(message=4, request=2, call=16, tools=8, tools_system=8)
_GPT_5_OUTPUT = Output(text=4, call=11, together=12)

FAMILIES = (
    Family(
        name="GPT-4o, 4.1",
        models=re.compile(r"gpt-4o(?!.*(?:audio|realtime|search|transcribe|tts))|gpt-4\.1|chatgpt-4o"),
        output=_CHAT_OUTPUT,
        input=_CHAT_INPUT,
    ),
    Family(
        name="GPT-3.5, 4",
        models=re.compile(r"gpt-3\.?5|gpt-4(?![.o]|-[^-]*-?vision)|babbage|davinci"),
        encoding=CL100K,
        output=_CHAT_OUTPUT,
        input=_CHAT_INPUT,
    ),
    Family(
        name="GPT-5.2, 5.4",
        models=re.compile(r"gpt-5\.[24](?!.*(?:codex|pro|chat))"),
        output=_GPT_5_OUTPUT,
        input=_GPT_5_INPUT,
    ),
    Family(
        name="GPT-5.x, others",
        models=re.compile(r"gpt-5\.\d"),
        output=_GPT_5_OUTPUT,
        input=_GPT_5_INPUT,
        thinks=None,
    ),
    Family(
        name="GPT-5, o",
        models=re.compile(r"gpt-5|o[134]"),
        thinks=True,
    ),
    Family(
        name="Claude, since Opus 4.7 and Sonnet 5",
        models=re.compile(r"claude-(?:opus-4[-.][7-9]|opus-[5-9]|sonnet-[5-9]|haiku-[5-9]|fable|[5-9])"),
        output=Output(factor=1.55, text=2, call=22, parameter=14),
    ),
    Family(
        name="Claude, before",
        models=re.compile(r"claude|anthropic"),
        output=Output(factor=1.13, text=3, call=32, parameter=9),
    ),
    Family(
        name="Gemini 2.0 and before",
        models=re.compile(r"gemini-(?:1|2\.0)(?!.*(?:image|tts|audio|live))"),
        output=Output(factor=1.03, text=0, call=None),
    ),
    Family(
        name="Gemini 2.5 and later",
        models=re.compile(r"gemini-(?:2\.5|[3-9])(?!.*(?:image|tts|audio|live))"),
        output=Output(factor=1.03, text=0, call=5),
        thinks=None,
    ),
    Family(
        name="Mistral",
        models=re.compile(r"(?:open-)?(?:mistral|ministral|codestral|devstral|magistral|mixtral|pixtral|voxtral)"),
        output=Output(factor=1.04, text=1, call=2, parameter=1),
        shows_thoughts=True,
    ),
    Family(
        name="Grok, not thinking",
        models=re.compile(r"grok-(?:.*non-reasoning|2|beta)"),
        output=Output(call=12, parameter=6),
    ),
    Family(
        name="DeepSeek",
        models=re.compile(r"deepseek"),
        output=Output(text=1, call=16, parameter=14),
        shows_thoughts=True,
    ),
    Family(
        name="Llama, Qwen, Kimi",
        models=re.compile(r"(?:meta-)?llama(?!.*sonar)|qwen|kimi"),
        output=Output(text=1, call=None),
        shows_thoughts=True,
    ),
)
"""The first whose pattern fits."""
