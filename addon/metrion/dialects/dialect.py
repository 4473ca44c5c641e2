"""What a wire format is to the tap: which members it needs, which bytes announce them, and how they are read.

A format is one row: a :class:`Dialect` for bodies, a :class:`SessionFormat` for WebSocket sessions. What other rooms
have to know of it is a field of the row. A row says nothing about how bytes arrive: ``read`` gets one pruned document
after another, either the whole JSON body or the data of each event in turn, and records what it finds in a
:class:`Draft`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from metrion.dialects.reading.texts import Texts
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Reading, Usage
from metrion.parsing.json_values import EACH, Path

USAGES = frozenset({"usage", "usageMetadata", "usage_info"})
"""What providers call the object in which they report the usage."""

TOKENS = ("input_tokens", "output_tokens")
"""What most formats need for a cost."""


_OUTPUT = re.compile(
    rb'"(?:content|text|reasoning|reasoning_content|thinking|refusal|arguments|completion|delta|transcript|b64_json)"'
    rb' ?: ?"[^"]|"(?:tool_calls|content|images|reasoning_details)" ?: ?\[ ?\{'
    rb'|"(?:functionCall|function_call|inlineData|executableCode|audio)" ?: ?\{'
)
"""In most formats: words, sounds and pictures, whole or in pieces, and calls of tools."""


@dataclass(slots=True)
class Draft:
    """What has been read of one response so far. A format that has to remember more has a subclass of its own."""

    model: str | None = None
    service_tier: str | None = None
    generation_id: str | None = None
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    """The provider's usage: the latest, or all of them merged where the format says so."""
    usage_source: str | None = None
    """The same as JSON text."""
    estimated: bool = False
    """The usage is not reported, but follows from something else that is."""
    unreported_tools: dict[str, int] = field(default_factory=dict)
    """Calls of tools that the provider bills, and that show in the answer only."""
    faults: list[str] = field(default_factory=list)
    """What of a usage could not be read, though it is billed; quotes nothing."""
    error_type: str | None = None
    stream_error: bool = False
    terminal: bool = False
    pending: bool = False
    growing: bool = False
    """The usage is all that was used so far; earlier responses may have reported a part of it."""
    has_output: bool = False
    """Something was generated."""
    is_results: bool = False
    """These are the results of a batch."""
    done_at: datetime | None = None
    """When the batch was done; naive UTC."""
    output: str | None = None
    """What is to be read next, as in :class:`~metrion.model.Reading`."""

    @property
    def raw(self) -> str | None:
        """The usage as JSON text, for the column."""
        return self.usage_source


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFormat:
    """What the row of every format says of its usages."""

    name: str
    """What a :class:`~metrion.model.Route` has in ``dialect``."""
    usage: Callable[[UsageReader], Usage]
    """Turn the provider's usage into ours. ``check`` adds the text, and leaves out what other models used."""
    needs: tuple[str, ...] = ()
    """Counts of ours that every usage of the format has: without one of them no cost can be computed."""
    or_seconds: bool = False
    """A usage that has a length of time is billed by that, and needs no counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect(WireFormat):
    """One wire format of bodies. A row of ``DIALECTS``."""

    wanted: tuple[Path, ...]
    """Members that ``read`` looks at, of a JSON body and of an event's data alike."""
    sourced: frozenset[str] = USAGES
    """Names of those that ``read`` takes with their text, as an :class:`~metrion.parsing.json_values.Object`."""
    marks: tuple[bytes, ...] = ()
    """An event that shows one of these has something new."""
    nullable: tuple[str, ...] = ()
    """So has an event in which one of these members is there and not null."""
    draft: Callable[[], Draft] = Draft
    """Begin a response: make what ``read`` records in."""
    read: Callable[[Mapping[str, Any], Any], None]
    """Record what a document says, in a draft that ``draft`` has made: ``Any``, because that may be a subclass."""
    end_data: bytes | None = None
    """The data of the event that ends a stream, where it is not JSON."""
    end_types: frozenset[str] = frozenset()
    """The ``type`` of the event that ends a stream; ``("type",)`` is then among the wanted members."""
    ends_with_body: bool = False
    """There is neither, so that only the end of the body ends it: a finish reason may be followed by another."""
    lines: bool = False
    """A body is many documents, one to a line, and not one. Their usage is added up in the draft."""
    model_names: tuple[str, ...] = ("model",)
    """Members that may name the model: until it is known, an event that shows one of them has something new."""
    id_names: tuple[str, ...] = ("id",)
    """The same for what was generated."""
    output: re.Pattern[bytes] = _OUTPUT
    """What the bytes of a stream show as soon as something was generated."""
    by_character: bool = False
    """Some models are billed by the characters of the request, which no usage counts."""
    texts: Texts | None = None
    """Where the words of a request and of its answer are; ``None``: nothing is estimated from them."""

    def is_end(self, data: bytes, document: Any) -> bool:
        """Whether the event with this data, or with this document in it, ends a stream."""
        return data.strip() == self.end_data or label(mapping(document).get("type")) in self.end_types


class SessionReader(Protocol):
    """Reads beside one WebSocket session; ``received`` returns the reading of each response that is billed."""

    def sent(self, message: bytes) -> None:
        """Look at a message of the client's."""

    def received(self, message: bytes) -> Reading | None:
        """Look at a message of the provider's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFormat(WireFormat):
    """One format of WebSocket sessions. A row of ``SESSIONS``."""

    open: Callable[[str | None], SessionReader]
    """Begin a session, with the model where the upgrade names it."""


def label(*values: object) -> str | None:
    """Return the first that is a name: a string that is neither empty nor as long as content."""
    for value in values:
        if isinstance(value, str) and 0 < len(value) <= 256:
            return value
    return None


def usages(wanted: Iterable[Path]) -> tuple[Path, ...]:
    """Return at which of the wanted members the usage may be."""
    return tuple(path for path in wanted if path[-1] in USAGES and EACH not in path)


def no_objects(document: object, paths: Iterable[Path]) -> list[str]:
    """Return a fault for each of these members that is there and is neither an object nor null."""
    found = []
    for path in paths:
        value: Any = document
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, dict):
            found.append(f"{'.'.join(path)} is no object")
    return found


def mapping(value: object) -> Mapping[str, Any]:
    """Return the value where it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}
