"""Wanted members out of JSON documents that arrive in pieces, without holding the rest of them.

Bytes go in, cut anywhere. What comes out is the *pruned* document: dictionaries and lists as deep as the wanted paths
go, and under each wanted path its whole value. Such a value that is a JSON object is an :class:`Object`, which
remembers its source text. As with :func:`json.loads`, the last of several members of one name wins.

Nothing else is held: a string of 20 MB or an array of a million numbers is passed over as it comes, however deep it
is nested. A document that is cut off, or that is no JSON, gives what was wanted of it up to there. Of several documents
in one body, an array of them or one to a line, each is given as soon as it is over. Nothing here raises, but for an
:class:`~metrion.parsing.work_budget.WorkBudgetError`.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Generator, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from math import inf
from typing import Any, NamedTuple

from metrion.parsing.work_budget import WorkBudget

LIMIT = 1 << 16
"""Bytes of wanted values that one document may hold; what goes beyond is left out, and noted as a fault. None of those
that were recorded holds two thousand."""
MOST_ELEMENTS = 1 << 12
"""As many elements of arrays are looked into."""

type Path = tuple[str, ...]
"""Names of members from the root on; :data:`EACH` stands for every element of an array."""
EACH = "[]"

type Tree = dict[str, Tree | None]
"""What is wanted below a place: members by name, or ``None``: the whole value."""

type Steps[T] = Generator[None, None, T]
"""A reading that pauses, with a bare ``yield``, until there are more bytes."""

BOM = b"\xef\xbb\xbf"
QUOTE, COLON, COMMA, OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY = b'":,{}[]'

# Possessive throughout: a pattern that fails, fails without trying again.
REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
STRING = rb'"%b"' % REST_OF_STRING.pattern
SCALAR = rb'[^\[\]{}",: \t\n\r]++'
PLAIN = rb'[^"\[\]{}]++|' + STRING
FLAT = rb"\{(?:%b)*+\}|\[(?:%b)*+\]" % (PLAIN, PLAIN)
"""An object or an array with no other in it."""
LEVEL = rb"\{(?:%b|%b)*+\}|\[(?:%b|%b)*+\]" % (PLAIN, FLAT, PLAIN, FLAT)
"""An object or an array with only flat ones in it."""

SPACE = re.compile(rb"[ \t\n\r]*+")
BLANK_LINES = re.compile(rb"\s*+")
REST_OF_SCALAR = re.compile(rb"(?:%b)?+" % SCALAR)
REST_OF_INSIDE = re.compile(rb"(?:%b|%b)*+" % (PLAIN, FLAT), re.DOTALL)
"""Up to a bracket that has to be counted, or a string that is not whole yet."""
MEMBER = re.compile(rb'\s*+"([^"\\]*+)"\s*+:\s*+(%b|%b|%b)\s*+([,}])' % (STRING, SCALAR, LEVEL), re.DOTALL)
"""A member that is whole and simple, and what follows it. Most are; the others are read step by step."""
SLICE = 1 << 13
"""Bytes that are searched at once for the end of a large object or array."""
DOCUMENT_COSTS, MEMBER_COSTS, STEPS_COST, ELEMENT_COSTS, SLICE_COSTS = 8, 1, 3, 3, 8
"""Units of budget: to begin a document, to look at a member, to read it step by step, to look at an element, and to
search a slice."""
UP, DOWN = b"\x01", b"\xff"  # 1 and -1 as signed bytes
STEPS = bytes.maketrans(b"{}[]", UP + DOWN + UP + DOWN)
NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
CONSTANTS = {b"null": None, b"true": True, b"false": False}


class Object(dict[str, Any]):
    """A JSON object and its text. Numbers with a fraction are :class:`~decimal.Decimal`, to the last digit."""

    source: str
    """The text that it was read from; written anew where that was no strict JSON."""


def tree(paths: Iterable[Path]) -> Tree:
    """Prepare paths for a :class:`Scanner`. Where one path leads on from the end of another, the shorter one counts."""
    root: Tree = {}
    for *way, last in sorted(paths, key=len, reverse=True):
        node = root
        for name in way:
            below = node.setdefault(name, {})
            assert below is not None  # noqa: S101  # longer paths come first
            node = below
        node[last] = None
    return root


def to_json(value: object) -> str:
    """Write a value that was read here as JSON text. What is no JSON number becomes null."""

    def number(value: object) -> float | None:
        return float(value) if isinstance(value, Decimal) and value.is_finite() else None

    return json.dumps(value, default=number)


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
        self._elements_left = MOST_ELEMENTS
        self._steps: Steps[None] | None = self._document(wanted)

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

    def _document(self, wanted: Tree) -> Steps[None]:
        while len(self._data) < len(BOM) and BOM.startswith(self._data):
            yield
        self._at = len(BOM) if self._data.startswith(BOM) else 0
        yield from self._value(wanted, self._result, 0)

    def _value(self, wanted: Tree | None, into: Any, key: Any) -> Steps[None]:
        """Read a value, and put what is wanted of it into its place as it becomes known."""
        into[key] = None
        first = yield from self._next()
        if wanted is None:
            self._put((yield from self._whole(first)), into, key)
        elif first == OPEN_OBJECT:
            into[key] = {}
            yield from self._members(wanted, into[key])
        elif first == OPEN_ARRAY and EACH in wanted:
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
            into[key] = _parsed(text)
        except (ValueError, RecursionError):
            self._fault(f"{key} is no valid JSON")

    def _fault(self, fault: str) -> None:
        if fault not in self.faults:
            self.faults.append(fault)

    def _members(self, wanted: Tree, members: dict[str, Any]) -> Steps[None]:
        self._at += 1
        if (yield from self._next()) == CLOSE_OBJECT:
            self._at += 1
            return
        after = COMMA
        while after == COMMA:
            self._budget.spend(MEMBER_COSTS)
            if member := MEMBER.match(self._data, self._at):
                name = member[1].decode("utf-8", "replace")
                below = wanted.get(name, wanted)  # no name has the whole tree below it
                if below is wanted or below is None:
                    if below is None:
                        self._put(member[2], members, name)
                    self._at = member.end()
                    after = member[3][0]
                    continue
            self._budget.spend(STEPS_COST)
            if (yield from self._next()) != QUOTE:
                raise _NotJson
            name = yield from self._name()
            if (yield from self._next()) != COLON:
                raise _NotJson
            self._at += 1
            if name in wanted:
                yield from self._value(wanted[name], members, name)
            else:
                yield from self._pass((yield from self._next()))
            after = yield from self._next()
            self._at += 1
        if after != CLOSE_OBJECT:
            raise _NotJson

    def _elements(self, wanted: Tree | None, elements: list[Any]) -> Steps[None]:
        self._at += 1
        if (yield from self._next()) == CLOSE_ARRAY:
            self._at += 1
            return
        after = COMMA
        while after == COMMA:
            self._budget.spend(ELEMENT_COSTS)
            if self._elements_left:
                self._elements_left -= 1
                elements.append(None)
                yield from self._value(wanted, elements, len(elements) - 1)
            else:
                self._fault("elements are too many to be read")
                yield from self._pass((yield from self._next()))
            after = yield from self._next()
            self._at += 1
        if after != CLOSE_ARRAY:
            raise _NotJson

    def _name(self) -> Steps[str | None]:
        text = yield from self._whole(QUOTE)
        if text is None:
            return None
        try:
            return str(_parsed(text))
        except ValueError:
            raise _NotJson from None

    def _whole(self, first: int) -> Steps[bytes | None]:
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

    def _pass(self, first: int) -> Steps[None]:
        """Pass over a value."""
        if first == QUOTE:
            self._at += 1
            yield from self._pass_string()
        elif first in (OPEN_OBJECT, OPEN_ARRAY):
            self._at += 1
            yield from self._pass_inside()
        else:
            yield from self._pass_scalar()

    def _pass_scalar(self) -> Steps[None]:
        length = 0
        while True:
            start = self._at
            self._at = _end(REST_OF_SCALAR, self._data, start)
            length += self._at - start
            if self._at < len(self._data):
                if not length:
                    raise _NotJson
                return
            yield

    def _pass_string(self) -> Steps[None]:
        while True:
            quote = self._data.find(b'"', self._at)
            if self._data.find(b"\\", self._at, quote if quote >= 0 else None) < 0:  # as in base64
                self._at = quote if quote >= 0 else len(self._data)
            else:
                self._at = _end(REST_OF_STRING, self._data, self._at)
            if self._data[self._at : self._at + 1] == b'"':
                self._at += 1
                return
            yield

    def _pass_inside(self) -> Steps[None]:
        depth = 1
        step_until = self._at + SLICE // 8  # most objects are small, and not worth a search
        while depth:
            piece = self._data[self._at : self._at + SLICE] if self._at >= step_until else b""
            if len(piece) == SLICE:
                brackets = _brackets(piece)
                self._budget.spend(SLICE_COSTS + brackets.counted // 16)
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
            at = _end(REST_OF_INSIDE, data, at)
            if at == len(data) or data[at] == QUOTE:
                break
            depth += 1 if data[at] in (OPEN_OBJECT, OPEN_ARRAY) else -1
            at += 1
            steps += 1
        self._at = at
        self._budget.spend(steps // 4)
        return depth

    def _next(self) -> Steps[int]:
        """Pass over space; return the byte that follows, which is not read yet."""
        while True:
            self._at = _end(SPACE, self._data, self._at)
            if self._at < len(self._data):
                return self._data[self._at]
            yield


class Elements:
    """The elements of one array in, each as a document of its own out."""

    def __init__(self, wanted: Tree, budget: WorkBudget | None = None) -> None:
        self.complete = False
        """Whether the array has been seen to its end."""
        self._wanted = wanted
        self._budget = budget
        self._opened = False
        self._element: Scanner | None = None

    def feed(self, data: bytes) -> Iterator[Scanner]:
        """Take bytes, the first of all being the ``[``; give the elements that they complete."""
        while data and not self.complete:
            if not self._opened:
                self._opened, data = True, data[1:]
            elif self._element is None:
                data = data.lstrip(b" \t\r\n,")
                if data.startswith(b"]"):
                    self.complete = True
                elif data:
                    self._element = Scanner(self._wanted, self._budget)
            else:
                self._element.feed(data)
                if not self._element.complete:  # or broken, and then nothing behind it can be told apart
                    return
                data = self._element.rest
                yield self._element
                self._element = None


class Lines:
    """Lines of one document each in, the documents out. What is broken on one line leaves the others alone."""

    def __init__(self, wanted: Tree, budget: WorkBudget | None = None) -> None:
        self._wanted = wanted
        self._budget = budget
        self._line: Scanner | None = None

    @property
    def complete(self) -> bool:
        """Whether no line is open in its middle."""
        return self._line is None or self._line.complete

    def feed(self, data: bytes) -> Iterator[Scanner]:
        """Take bytes, give the lines that they end; one that is complete needs no end."""
        at = 0
        while at < len(data):
            if self._line is None:
                at = _end(BLANK_LINES, data, at)
                if at == len(data):
                    return
                self._line = Scanner(self._wanted, self._budget)
            newline = data.find(b"\n", at)
            end = newline if newline >= 0 else len(data)
            if not self._line.over:
                self._line.feed(data[at:end])
                if newline >= 0 or self._line.over:
                    yield self._line
            if newline >= 0:
                self._line = None
            at = end + 1


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
    steps = b"".join(outside_and_inside[::2]).translate(STEPS, NO_BRACKETS)
    for _ in range(4):  # what opens and closes at once changes nothing
        steps = steps.replace(UP + DOWN, b"")
    depths = array("b", steps)
    closed = -min(accumulate(depths, initial=0))
    length = len(piece) - unescaped.endswith(b"\\")  # what follows decides what such a backslash is
    return _Brackets(closed, sum(depths) + closed, length, len(outside_and_inside) % 2 == 0, len(depths))


class _NotJson(Exception):  # noqa: N818  # it is caught here and no error to anyone
    """The document cannot be read on."""


def _end(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    found = pattern.match(data, start)
    return found.end() if found else start


def _parsed(text: bytes) -> Any:
    """Read JSON text. Raises ``ValueError`` where it is none, ``RecursionError`` where it is too deep."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    source = text.decode("utf-8", "replace")
    try:
        value = STRICT.decode(source)
    except ValueError:
        value = LENIENT.decode(source)
        source = to_json(value)
    if isinstance(value, dict):
        value = Object(value)
        value.source = source
    return value


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exponent beyond any number
        return Decimal("NaN")


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= 30 else _decimal(digits)  # int() of very many digits is slow, or refused


def _refuse(constant: str) -> Decimal:
    raise ValueError(f"{constant} is no JSON")


STRICT = json.JSONDecoder(parse_float=_decimal, parse_int=_integer, parse_constant=_refuse)
LENIENT = json.JSONDecoder(parse_float=_decimal, parse_int=_integer, parse_constant=Decimal, strict=False)
