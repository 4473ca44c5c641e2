"""A conversation as people look at it, whichever wire format it came in: small frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model thought before it answered, or a summary of it."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A model's call of a tool. ``arguments``: as the model wrote them, mostly JSON."""

    name: str
    arguments: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool returned. ``id``: that of its call."""

    parts: tuple[Part, ...]
    id: str | None = None
    name: str | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Media:
    """In place of a picture, a sound or a file: its type, and its size or where it is."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Other:
    """A part of a kind that is not known: its name, and its members in short."""

    kind: str
    text: str


type Part = Text | Reasoning | Call | Result | Media | Other


@dataclass(frozen=True, slots=True)
class Message:
    """What one side says at once."""

    role: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may call. ``parameters``: their names and types in short, as in ``city: string, days?``."""

    name: str
    parameters: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One body: a request, or an answer that has been put together from its stream. ``None``: not in the body."""

    model: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    """What else a request asks for, by name."""
    system: tuple[Part, ...] = ()
    tools: tuple[Tool, ...] = ()
    messages: tuple[Message, ...] = ()
    finish: tuple[str, ...] = ()
    """Why the model stopped, of each answer."""
    usage: Mapping[str, Any] | None = None
    """The provider's own."""
    error: str | None = None
    notes: tuple[str, ...] = ()
    """Sentences about what is not shown."""
