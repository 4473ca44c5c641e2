"""Wanted members out of one JSON document that arrives in pieces, without holding the rest of it.

Bytes go in, cut anywhere. What comes out is the *pruned* document: dictionaries and lists as deep as the wanted paths
go, and under each wanted path its whole value. Such a value that is a JSON object is an
:class:`~metrion.parsing.json_values.Object`, which remembers its source text. As with :func:`json.loads`, the last of
several members of one name wins.

Nothing else is held: the scanner passes over a string of 20 MB or an array of a million numbers as it comes, however
deep it is nested. A document that is cut off, or that is not JSON, gives what was wanted of it up to there. Nothing
here raises, but for a :class:`~metrion.parsing.work_budget.WorkBudgetError`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Generator
from itertools import accumulate
from math import inf
from typing import Any, NamedTuple

from metrion.parsing.json_values import EACH, Tree, parsed
from metrion.parsing.work_budget import WorkBudget

LIMIT = 1 << 16
"""Bytes of wanted values that one document may hold; what goes beyond is left out, and recorded as a fault. No
document that a provider is known to have sent holds two thousand."""
_MOST_ELEMENTS = 1 << 12
"""As many elements of arrays are looked into."""

type _Steps[T] = Generator[None, None, T]
"""A reading that pauses, with a bare ``yield``, until there are more bytes."""

BOM = b"\xef\xbb\xbf"
_QUOTE, _COLON, _COMMA, _OPEN_OBJECT, _CLOSE_OBJECT, _OPEN_ARRAY, _CLOSE_ARRAY = b'":,{}[]'

# Possessive throughout: a pattern that fails, fails without trying again.
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_STRING = rb'"%b"' % _REST_OF_STRING.pattern
_SCALAR = rb'[^\[\]{}",: \t\n\r]++'
_PLAIN = rb'[^"\[\]{}]++|' + _STRING
_FLAT = rb"\{(?:%b)*+\}|\[(?:%b)*+\]" % (_PLAIN, _PLAIN)
"""An object or an array with no other in it."""
_LEVEL = rb"\{(?:%b|%b)*+\}|\[(?:%b|%b)*+\]" % (_PLAIN, _FLAT, _PLAIN, _FLAT)
"""An object or an array with only flat ones in it."""

_SPACE = re.compile(rb"[ \t\n\r]*+")
_REST_OF_SCALAR = re.compile(rb"(?:%b)?+" % _SCALAR)
_REST_OF_INSIDE = re.compile(rb"(?:%b|%b)*+" % (_PLAIN, _FLAT), re.DOTALL)
"""Up to a bracket that has to be counted, or a string that is not whole yet."""
_MEMBER = re.compile(rb'\s*+"([^"\\]*+)"\s*+:\s*+(%b|%b|%b)\s*+([,}])' % (_STRING, _SCALAR, _LEVEL), re.DOTALL)
"""A member that is whole and simple, and what follows it. Most are; the others are read step by step."""
SLICE = 1 << 13
"""Bytes that are searched at once for the end of a large object or array."""
DOCUMENT_COSTS, _MEMBER_COSTS, _STEPS_COST, _ELEMENT_COSTS, _SLICE_COSTS = 8, 1, 3, 3, 8
"""Units of budget: to begin a document, to look at a member, to read it step by step, to look at an element, and to
search a slice."""
_UP, _DOWN = b"\x01", b"\xff"  # 1 and -1 as signed bytes
_STEPS = bytes.maketrans(b"{}[]", _UP + _DOWN + _UP + _DOWN)
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))


class Scanner:
    """One document in, what is wanted of it out."""

    def __init__(self, wanted: Tree, budget: WorkBudget | None = None) -> None:
        self._budget = budget or WorkBudget(inf)
        self._budget.spend(DOCUMENT_COSTS)
        self.complete = False
        """Whether the document has been seen to its end."""
        self.rest = b""
        """What followed it, once it is complete."""
        self.faults: list[str] = []
        """Wanted values that are left out, and why; contains nothing of the document."""
        self._result: list[Any] = [None]
        self._data = b""
        self._at = 0
        self._keep_from: int | None = None
        self._kept = bytearray()
        self._room = LIMIT
        self._elements_left = _MOST_ELEMENTS
        self._steps: _Steps[None] | None = self._document(wanted)

    @property
    def over(self) -> bool:
        """Whether nothing is read any more: the document is complete, or broken."""
        return self._steps is None

    @property
    def document(self) -> Any:
        """The pruned document as far as it is known; ``None`` before its first bytes, and where it is no container."""
        return self._result[0]

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        if self._steps is None:
            return
        if self._keep_from is not None:
            self._kept += self._data[self._keep_from : self._at]
            self._keep_from = 0 if len(self._kept) <= self._room else None
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0
        try:
            next(self._steps)
        except StopIteration:
            self.complete = True
            self.rest = self._data[self._at :]
        except _NotJson:
            pass
        else:
            return
        self._steps, self._data = None, b""

    # Each of the following reads on from self._at and leaves it behind what it has read.

    def _document(self, wanted: Tree) -> _Steps[None]:
        while len(self._data) < len(BOM) and BOM.startswith(self._data):
            yield
        self._at = len(BOM) if self._data.startswith(BOM) else 0
        yield from self._value(wanted, self._result, 0)

    def _value(self, wanted: Tree | None, into: Any, key: Any) -> _Steps[None]:
        """Read a value, and put what is wanted of it into its place as it becomes known."""
        into[key] = None
        first = yield from self._next()
        if wanted is None:
            self._put((yield from self._whole(first)), into, key)
        elif first == _OPEN_OBJECT:
            into[key] = {}
            yield from self._members(wanted, into[key])
        elif first == _OPEN_ARRAY and EACH in wanted:
            into[key] = []
            yield from self._elements(wanted[EACH], into[key])
        else:
            yield from self._pass(first)

    def _put(self, text: bytes | None, into: Any, key: Any) -> None:
        into[key] = None
        if text is None or len(text) > self._room:
            self._fault(f"{key} is too large to be read")
            return
        self._room -= len(text)
        try:
            into[key] = parsed(text)
        except (ValueError, RecursionError):
            self._fault(f"{key} is no valid JSON")

    def _fault(self, fault: str) -> None:
        if fault not in self.faults:
            self.faults.append(fault)

    def _members(self, wanted: Tree, members: dict[str, Any]) -> _Steps[None]:
        self._at += 1
        if (yield from self._next()) == _CLOSE_OBJECT:
            self._at += 1
            return
        after = _COMMA
        while after == _COMMA:
            self._budget.spend(_MEMBER_COSTS)
            if member := _MEMBER.match(self._data, self._at):
                name = member[1].decode("utf-8", "replace")
                below = wanted.get(name, wanted)  # no name has the whole tree below it
                if below is wanted or below is None:
                    if below is None:
                        self._put(member[2], members, name)
                    self._at = member.end()
                    after = member[3][0]
                    continue
            self._budget.spend(_STEPS_COST)
            if (yield from self._next()) != _QUOTE:
                raise _NotJson
            name = yield from self._name()
            if (yield from self._next()) != _COLON:
                raise _NotJson
            self._at += 1
            if name in wanted:
                yield from self._value(wanted[name], members, name)
            else:
                yield from self._pass((yield from self._next()))
            after = yield from self._next()
            self._at += 1
        if after != _CLOSE_OBJECT:
            raise _NotJson

    def _elements(self, wanted: Tree | None, elements: list[Any]) -> _Steps[None]:
        self._at += 1
        if (yield from self._next()) == _CLOSE_ARRAY:
            self._at += 1
            return
        after = _COMMA
        while after == _COMMA:
            self._budget.spend(_ELEMENT_COSTS)
            if self._elements_left:
                self._elements_left -= 1
                elements.append(None)
                yield from self._value(wanted, elements, len(elements) - 1)
            else:
                self._fault("elements are too many to be read")
                yield from self._pass((yield from self._next()))
            after = yield from self._next()
            self._at += 1
        if after != _CLOSE_ARRAY:
            raise _NotJson

    def _name(self) -> _Steps[str | None]:
        text = yield from self._whole(_QUOTE)
        if text is None:
            return None
        try:
            return str(parsed(text))
        except ValueError:
            raise _NotJson from None

    def _whole(self, first: int) -> _Steps[bytes | None]:
        """Read a value, and return its bytes; ``None`` when there are too many."""
        self._kept.clear()
        self._keep_from = self._at
        yield from self._pass(first)
        if self._keep_from is None:
            self._kept.clear()
            return None
        text = bytes(self._kept) + self._data[self._keep_from : self._at]
        self._keep_from = None
        return text if len(text) <= self._room else None

    def _pass(self, first: int) -> _Steps[None]:
        """Pass over a value."""
        if first == _QUOTE:
            self._at += 1
            yield from self._pass_string()
        elif first in (_OPEN_OBJECT, _OPEN_ARRAY):
            self._at += 1
            yield from self._pass_inside()
        else:
            yield from self._pass_scalar()

    def _pass_scalar(self) -> _Steps[None]:
        length = 0
        while True:
            start = self._at
            self._at = _end(_REST_OF_SCALAR, self._data, start)
            length += self._at - start
            if self._at < len(self._data):
                if not length:
                    raise _NotJson
                return
            yield

    def _pass_string(self) -> _Steps[None]:
        while True:
            quote = self._data.find(b'"', self._at)
            if self._data.find(b"\\", self._at, quote if quote >= 0 else None) < 0:  # as in base64
                self._at = quote if quote >= 0 else len(self._data)
            else:
                self._at = _end(_REST_OF_STRING, self._data, self._at)
            if self._data[self._at : self._at + 1] == b'"':
                self._at += 1
                return
            yield

    def _pass_inside(self) -> _Steps[None]:
        depth = 1
        step_until = self._at + SLICE // 8  # most objects are small, and not worth a search
        while depth:
            piece = self._data[self._at : self._at + SLICE] if self._at >= step_until else b""
            if len(piece) == SLICE:
                brackets = _brackets(piece)
                self._budget.spend(_SLICE_COSTS + brackets.counted // 16)
                if brackets.closed < depth:
                    depth += brackets.opened - brackets.closed
                    self._at += brackets.length
                    if brackets.within_string:
                        yield from self._pass_string()
                    continue
                step_until = self._at + SLICE  # it ends in this piece
            depth = self._step(depth)
            if depth and self._at == len(self._data):
                yield
                step_until = 0
            elif depth:
                self._at += 1
                yield from self._pass_string()

    def _step(self, depth: int) -> int:
        """Count brackets one by one up to the end of the value or of the data, or to a string that is not whole yet."""
        data, at, steps = self._data, self._at, 0
        while depth:
            at = _end(_REST_OF_INSIDE, data, at)
            if at == len(data) or data[at] == _QUOTE:
                break
            depth += 1 if data[at] in (_OPEN_OBJECT, _OPEN_ARRAY) else -1
            at += 1
            steps += 1
        self._at = at
        self._budget.spend(steps // 4)
        return depth

    def _next(self) -> _Steps[int]:
        """Pass over space; return the byte that follows, which is not read yet."""
        while True:
            self._at = _end(_SPACE, self._data, self._at)
            if self._at < len(self._data):
                return self._data[self._at]
            yield


class _Brackets(NamedTuple):
    """What a piece of a document does to the depth: first so many brackets close, then so many open."""

    closed: int
    opened: int
    length: int
    """Bytes of the piece that this is about."""
    within_string: bool
    """Whether they end within a string."""
    counted: int
    """How many brackets had to be counted one by one."""


def _brackets(piece: bytes) -> _Brackets:
    """Count the brackets of a piece that begins outside of strings. No byte is looked at by Python code."""
    unescaped = piece.replace(b"\\\\", b"..").replace(b'\\"', b"..")
    outside_and_inside = unescaped.split(b'"')
    steps = b"".join(outside_and_inside[::2]).translate(_STEPS, _NO_BRACKETS)
    for _ in range(4):  # what opens and closes at once changes nothing
        steps = steps.replace(_UP + _DOWN, b"")
    depths = array("b", steps)
    closed = -min(accumulate(depths, initial=0))
    length = len(piece) - unescaped.endswith(b"\\")  # what follows decides what such a backslash is
    return _Brackets(closed, sum(depths) + closed, length, len(outside_and_inside) % 2 == 0, len(depths))


class _NotJson(Exception):  # noqa: N818  # it is caught here and no error to anyone
    """The document cannot be read on."""


def _end(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    found = pattern.match(data, start)
    return found.end() if found else start
