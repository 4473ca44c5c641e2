"""The words of a request and of its answer, as a wire format's own reader collects them for an estimate.

A format whose tokens can be estimated has a :class:`Texts` in its ``Dialect``: two functions that take parsed JSON and
fill an :class:`Asked` or an :class:`Answered`. What is not text (images, sound, files, an encrypted thought, a
conversation that the provider keeps) is never guessed at: it is recorded as ``unknown``. Documents come from strangers,
and any part of one may be missing or of another kind. Nothing here raises.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Answered:
    """What an answer says, put together from its events."""

    pieces: defaultdict[Hashable, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Text by its place. What is at different places is tokenized apart."""
    names: dict[Hashable, str] = field(default_factory=dict)
    """The tools called, by the place of the call."""
    reasoned: bool = False
    """It shows that the model has thought, though perhaps not what."""
    unknown: bool = False
    """Something in it is no text."""
    counted: bool = False
    """Something was said before the latest report of a usage: it was a running total."""

    @property
    def silent(self) -> bool:
        """Whether nothing was said since."""
        return not (self.pieces or self.names)

    def say(self, place: Hashable, text: object) -> None:
        """Record text."""
        if isinstance(text, str):
            if text:
                self.pieces[place].append(text)
        elif text is not None:
            self.unknown = True

    def think(self, place: Hashable, text: object) -> None:
        """Record a thought, or the sign of one."""
        if text:
            self.reasoned = True
            self.say(place, text)

    def call(self, place: Hashable, name: object, arguments: object) -> None:
        """Record a call of a tool, or a further piece of one. Arguments that are no text are JSON of the model's."""
        if isinstance(name, str) and name:
            self.names[place] = self.names.get(place, "") + name
        if isinstance(arguments, Mapping | list):
            arguments = json.dumps(arguments, ensure_ascii=False) if arguments else None
        self.say(place, arguments)

    def restart(self) -> None:
        """Drop what was said so far: a usage has been reported that covers it."""
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
    """Whether the request tells the model to think, or not to; ``None``: it does neither."""
    unknown: bool = False
    """Something in it is no text, or is not in it."""
    unshown: bool = False
    """It asks for more, or less, than the answer will show."""

    def say(self, *texts: object) -> None:
        """Record text."""
        for text in texts:
            if isinstance(text, str):
                self.texts.append(text)
            elif text is not None:
                self.unknown = True

    def call(self, name: object, arguments: object) -> None:
        """Record an earlier call of a tool."""
        if name is not None:
            self.calls += 1
            self.say(name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))

    def follow(self, schema: object) -> None:
        """Record a JSON schema that the answer is to follow."""
        if schema:
            self.texts.append(json.dumps(schema, ensure_ascii=False, separators=(",", ":")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Where the words are in the requests and answers of one wire format."""

    asked: Callable[[Mapping[str, Any], Asked], None]
    """Record what a request says."""
    answered: Callable[[Mapping[str, Any], Answered], None]
    """Record what one document of an answer says: the JSON body, or the data of each event in turn."""
    in_items: bool = False
    """An answer is a list of items, as in OpenAI's Responses, and some models count tokens for that."""
