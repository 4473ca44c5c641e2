"""What a wire format is to the tap: which members it needs, which bytes announce them, and how they are read.

A dialect says nothing about how bytes arrive. Its ``read`` gets one pruned document after another, either the whole
JSON body or the data of each event in turn, and notes what it finds in a :class:`Draft`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from metrion.dialects.reading.texts import Texts
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_stream import EACH, Path

USAGES = frozenset({"usage", "usageMetadata", "usage_info"})
"""What providers call the object in which they tell the usage."""


@dataclass(slots=True)
class Draft:
    """What has been read of one response so far."""

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
    finished_first: bool = False
    """The finish reason was told before the latest usage, or with it."""
    unreported_tools: dict[str, int] = field(default_factory=dict)
    """Calls of tools that the provider bills, and that show in the answer only."""
    has_output: bool = False
    """Something was generated, where the format looks for it."""
    declined: list[str] = field(default_factory=list)
    """Models that declined, and are not billed for it if they had no output."""
    was_handed_on: bool = False
    """Several agents had a part in it."""
    seen: set[int] = field(default_factory=set)
    """Hashes of what is counted already of that which a stream says more than once."""
    faults: list[str] = field(default_factory=list)
    """What of a usage could not be read, though it is billed; quotes nothing."""
    error_type: str | None = None
    stream_error: bool = False
    terminal: bool = False
    pending: bool = False
    output: str | None = None
    """What is to be read next, as in :class:`~metrion.model.Reading`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One wire format. A row of ``DIALECTS``."""

    wanted: tuple[Path, ...]
    """Members that ``read`` looks at, of a JSON body and of an event's data alike."""
    marks: tuple[bytes, ...] = ()
    """An event that shows one of these has something new."""
    nullable: tuple[str, ...] = ()
    """So has an event in which one of these members is there and not null."""
    read: Callable[[Mapping[str, Any], Draft], None]
    """Note what a document says."""
    usage: Callable[[UsageReader], Usage]
    """Turn the provider's usage into ours; ``raw``, and to leave out other models' counts, are left to the caller."""
    end_data: bytes | None = None
    """The data of the event that ends a stream, where it is no JSON."""
    end_types: frozenset[str] = field(default=frozenset())
    """The ``type`` of the event that ends a stream; ``("type",)`` is then among the wanted members. Where there is
    neither, a stream ends with its body."""
    lines: bool = False
    """A body is many documents, one to a line, and not one. Their usage is added up in the draft."""
    needs: tuple[str, ...] = ()
    """Counts of ours that every usage of the format has: one without them is not whole."""
    model_names: tuple[str, ...] = ("model",)
    """Members that may name the model: until it is known, an event that shows one of them has something new."""
    id_names: tuple[str, ...] = ("id",)
    """The same for what was generated."""
    by_character: bool = False
    """Some models are billed by the characters of the request, which no usage counts."""
    texts: Texts | None = None
    """Where the words of a request and of its answer are; ``None``: nothing is estimated from them."""

    @property
    def ends_with_body(self) -> bool:
        """Whether nothing but its end tells that a stream is over: a finish reason may be followed by another."""
        return self.end_data is None and not self.end_types

    def is_end(self, data: bytes, document: Any) -> bool:
        """Whether the event with this data, or with this document in it, ends a stream."""
        return data.strip() == self.end_data or label(mapping(document).get("type")) in self.end_types


def label(*values: object) -> str | None:
    """Return the first that is a name: a string that is neither empty nor as long as content."""
    for value in values:
        if isinstance(value, str) and 0 < len(value) <= 256:
            return value
    return None


def usages(wanted: Iterable[Path]) -> tuple[Path, ...]:
    """Return where among the wanted members the usage may stand."""
    return tuple(path for path in wanted if path[-1] in USAGES and EACH not in path)


def no_objects(document: object, paths: Iterable[Path]) -> list[str]:
    """Say which of these members are there, and neither objects nor null."""
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
