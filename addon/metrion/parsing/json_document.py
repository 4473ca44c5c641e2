"""Small JSON documents decoded at once: bytes in, cut anywhere, and the same out as a :class:`Scanner` reads.

A document is held while it is small, and decoded by a C decoder when somebody asks what is in it. The scanner reads
whatever the two readers might read differently: what is not strict JSON (a BOM, lone surrogates, ``NaN``, bytes behind
the document), a document that is cut off, a value of an unexpected type, very many digits, long arrays, much nesting.
It also reads documents that are not small. Nothing here raises, but for a
:class:`~metrion.parsing.work_budget.WorkBudgetError`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Annotated, Any, TypedDict

from msgspec import Meta, Raw
from msgspec.json import Decoder

from metrion.parsing.json_stream import DOCUMENT_COSTS, LIMIT, Scanner
from metrion.parsing.json_values import EACH, Object, Tree
from metrion.parsing.work_budget import WorkBudget

MOST_HELD = LIMIT
"""Bytes that are held of a document: of one that is no larger, no wanted value is too large to be read."""
MOST_ELEMENTS = 60
"""Of an array that is looked into. Arrays within arrays included, that is less than a scanner looks into."""
_MOST_NESTED = 1000
"""Objects and arrays, one within another or not. How deep a decoder goes depends on what called it."""
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 30
"""Digits after which a scanner takes an integer for a decimal."""

_ANYTHING = Decoder(float_hook=Decimal)


class Reader:
    """Decodes documents of which the same is wanted.

    ``sourced`` are the names of wanted members whose text is wanted too: where their values are objects, each is an
    :class:`~metrion.parsing.json_values.Object`. A scanner makes one of every object.
    """

    def __init__(self, wanted: Tree, sourced: Collection[str] = ()) -> None:
        self.wanted = wanted
        self._decoder = Decoder(_members(wanted, sourced), float_hook=Decimal)
        self._sourced = _sourced(wanted, sourced)

    def read(self, text: bytes | bytearray) -> dict[str, Any] | None:
        """Return the pruned document; ``None`` where a scanner has to read it."""
        if _LONG_NUMBER in text.translate(_DIGITS) or text.count(b"[") + text.count(b"{") > _MOST_NESTED:
            return None
        try:
            document: dict[str, Any] = self._decoder.decode(text)
            _read_sourced(document, self._sourced)
        except Exception:  # noqa: BLE001  # whatever it is, the scanner can read it or say what is wrong
            return None
        return document


class Document:
    """One document in, what is wanted of it out. It may be asked at any time what is known by then."""

    __slots__ = ("_budget", "_decoded", "_held", "_reader", "_scanner")

    def __init__(self, reader: Reader, budget: WorkBudget) -> None:
        self._reader = reader
        self._budget = budget
        self._held: bytes | bytearray = b""
        self._decoded: dict[str, Any] | None = None
        self._scanner: Scanner | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes. Once the document is complete, what follows is ignored."""
        if self._scanner is not None:
            self._scanner.feed(data)
        elif self._decoded is None:
            if not self._held:
                self._held = data
            else:
                if isinstance(self._held, bytes):
                    self._held = bytearray(self._held)
                self._held += data
            if len(self._held) > MOST_HELD or not self._held.startswith(b"{"):
                self._scan()

    @property
    def complete(self) -> bool:
        """Whether the document has been seen to its end."""
        scanner = self._settled()
        return scanner is None or scanner.complete

    @property
    def document(self) -> Any:
        """The pruned document as far as it is known, as a :class:`Scanner` has it."""
        scanner = self._settled()
        return self._decoded if scanner is None else scanner.document

    @property
    def faults(self) -> Sequence[str]:
        """Wanted values that are left out, and why; contains nothing of the document."""
        scanner = self._settled()
        return () if scanner is None else scanner.faults

    def _settled(self) -> Scanner | None:
        """Have what is held read; return the scanner that reads it, where there has to be one."""
        if self._decoded is None and self._scanner is None:
            self._decoded = self._reader.read(self._held)
            if self._decoded is None:
                return self._scan()
            self._budget.spend(DOCUMENT_COSTS)
            self._held = b""
        return self._scanner

    def _scan(self) -> Scanner:
        held, self._held = self._held, b""
        self._scanner = Scanner(self._reader.wanted, self._budget)
        self._scanner.feed(bytes(held))
        return self._scanner


def _members(wanted: Tree, sourced: Collection[str]) -> Any:
    """Return the type of an object with what is wanted of it."""
    types = {
        name: _inner(below, sourced) if below is not None else Raw if name in sourced else Any
        for name, below in wanted.items()
    }
    return TypedDict("Members", types, total=False)  # type: ignore[operator]  # made of what is known at run time only


def _inner(wanted: Tree, sourced: Collection[str]) -> Any:
    """Return the type of what has wanted members or elements. Nothing is wanted of null."""
    if EACH not in wanted:
        return _members(wanted, sourced) | None
    below = wanted[EACH]
    elements = list.__class_getitem__(Any if below is None else _inner(below, sourced))
    return _members(wanted, sourced) | Annotated[elements, Meta(max_length=MOST_ELEMENTS)] | None


def _sourced(wanted: Tree, sourced: Collection[str]) -> Tree:
    """Return those of the wanted members that are objects with their text, and what they are in."""
    pruned = {name: below and _sourced(below, sourced) for name, below in wanted.items()}
    return {name: below for name, below in pruned.items() if below or (below is None and name in sourced)}


def _read_sourced(members: dict[str, Any], sourced: Tree) -> None:
    for name, below in sourced.items():
        value = members.get(name)
        if value is None:
            continue
        if below is None:
            members[name] = _value(bytes(value))
        elif isinstance(value, dict):
            _read_sourced(value, below)
        else:
            within = below.get(EACH)
            for element in value:
                if element is not None and within is not None:
                    _read_sourced(element, within)


def _value(text: bytes) -> Any:
    value = _ANYTHING.decode(text)
    if isinstance(value, dict):
        value = Object(value)
        value.source = text.decode()
    return value
