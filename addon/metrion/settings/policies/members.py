"""The members of request bodies that a policy may set: which requests have them, and what they hold.

A member that an API does not know would be refused there, so each row says where it belongs; elsewhere a policy leaves
it out. Sources: the references of the providers, and the types of their SDKs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from metrion.model import ErrorShape
from metrion.settings.wording import choice

_NUMBER = (int, float)
_CHATS = frozenset({"chat", "completions", "messages"})
_GENERATING = _CHATS | {"responses"}
_CHAT = frozenset({"chat", "completions"})
_RESPONSES = frozenset({"responses"})
_MESSAGES = frozenset({"messages"})
_GEMINI = frozenset({"generate_content"})
_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_MISTRAL = frozenset({ErrorShape.MISTRAL, ErrorShape.MISTRAL_PROXY})
_NOT_MISTRAL = frozenset(ErrorShape) - _MISTRAL


@dataclass(frozen=True, slots=True)
class Member:
    """One row. ``operations``: what a request that has it asks for."""

    types: tuple[type, ...]
    operations: frozenset[str]
    shapes: frozenset[ErrorShape] = frozenset(ErrorShape)
    """Whose words the API speaks that knows it."""
    same_as: tuple[str, ...] = ()
    """Other names of the same thing: a body that has one of them has this."""

    @property
    def is_number(self) -> bool:
        """Whether there is a most that it can be."""
        return self.types in ((int,), _NUMBER)


MEMBERS: Mapping[str, Member] = {
    "frequency_penalty": Member(_NUMBER, _CHAT),
    "generationConfig.candidateCount": Member((int,), _GEMINI),
    "generationConfig.frequencyPenalty": Member(_NUMBER, _GEMINI),
    "generationConfig.maxOutputTokens": Member((int,), _GEMINI),
    "generationConfig.presencePenalty": Member(_NUMBER, _GEMINI),
    "generationConfig.seed": Member((int,), _GEMINI),
    "generationConfig.temperature": Member(_NUMBER, _GEMINI),
    "generationConfig.thinkingConfig.thinkingBudget": Member((int,), _GEMINI),
    "generationConfig.topK": Member(_NUMBER, _GEMINI),
    "generationConfig.topP": Member(_NUMBER, _GEMINI),
    "max_completion_tokens": Member((int,), frozenset({"chat"}), same_as=_TOKENS),
    "max_output_tokens": Member((int,), _RESPONSES, same_as=_TOKENS),
    "max_tokens": Member((int,), _CHATS, same_as=_TOKENS),
    "min_p": Member(_NUMBER, _CHAT),
    "model": Member((str,), _GENERATING),
    "n": Member((int,), frozenset({"chat", "completions", "images"})),
    "parallel_tool_calls": Member((bool,), _GENERATING - _MESSAGES),
    "presence_penalty": Member(_NUMBER, _CHAT),
    "random_seed": Member((int,), _CHAT, _MISTRAL),
    "reasoning.effort": Member((str,), _RESPONSES),
    "reasoning_effort": Member((str,), frozenset({"chat"})),
    "repetition_penalty": Member(_NUMBER, _CHAT),
    "safe_prompt": Member((bool,), frozenset({"chat"}), _MISTRAL),
    "seed": Member((int,), _CHAT, _NOT_MISTRAL),
    "service_tier": Member((str,), _GENERATING),
    "store": Member((bool,), frozenset({"chat", "responses"})),
    "temperature": Member(_NUMBER, _GENERATING),
    "thinking.budget_tokens": Member((int,), _MESSAGES),
    "top_k": Member((int,), _CHATS),
    "top_p": Member(_NUMBER, _GENERATING),
    "verbosity": Member((str,), frozenset({"chat"})),
}
"""By name. A dot leads into an object."""


_HELD: Mapping[tuple[type, ...], str] = {(bool,): "true or false", (str,): "text", (int,): "a whole number"}


def parse_members(value: object) -> object:
    """Check the values of members by name, as they are written."""
    if not isinstance(value, dict):
        return value
    for name, held in value.items():
        if name not in MEMBERS:
            raise ValueError(f"{name} is no member that a policy can set; {choice(MEMBERS, str(name))}")
        types = MEMBERS[name].types
        if type(held) not in types or (isinstance(held, float) and not math.isfinite(held)):
            raise ValueError(f"{name} holds {_HELD.get(types, 'a number')}")
    return value


def parse_caps(value: object) -> object:
    """Check the most that members may hold, as it is written."""
    for name in value if isinstance(value, dict) else ():
        if name in MEMBERS and not MEMBERS[name].is_number:
            raise ValueError(f"{name} is no number, so that there is no most of it; set it in `defaults`")
    return parse_members(value)
