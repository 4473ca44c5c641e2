"""Where the members of a JSON object are in a text, so that one can be changed and no other byte.

A text in, as Latin-1: JSON's syntax is ASCII, so that a place in the text is the same place in the bytes. Out: the
members with their values, and their places. Readers differ in which of two members of one name counts, and in what the
name with an escape in it is; such an object is not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

SPACE = " \t\n\r"
_NAME = r'[ \t\n\r]*+"([^"\\\x00-\x1f]*+)"[ \t\n\r]*+:[ \t\n\r]*+'
_FIRST = re.compile(rf"[ \t\n\r]*+\{{(?:{_NAME}|[ \t\n\r]*+\}})")
_NEXT = re.compile(rf"[ \t\n\r]*+(?:,{_NAME}|\}})")
"""A further member up to its value, or the end of the object."""
_ESCAPED = re.compile(r'[ \t\n\r]*+[{,][ \t\n\r]*+"[^"\\]*+\\')


class UnreadableError(ValueError):
    """There is no object that every reader takes for the same. The message is fit to be shown."""


def _no_constant(_: str) -> NoReturn:
    raise UnreadableError("is no JSON")


_JSON = json.JSONDecoder(parse_constant=_no_constant)


class Object(NamedTuple):
    """A JSON object in a text."""

    members: Mapping[str, Any]
    places: Mapping[str, tuple[int, int, int]]
    """Where each member begins, its value begins, and it ends. But for the first, it begins behind the one before."""
    start: int
    """Behind its brace."""
    end: int

    @property
    def behind(self) -> int:
        """The place where another member can be put, behind a comma unless there is none yet."""
        if not self.places:
            return self.start
        *_, (_, _, end) = self.places.values()
        return end


def read_object(text: str, at: int) -> Object:
    """Read the object at a place.

    :raises UnreadableError: there is none, or a name has an escape in it or is there twice.
    :raises ValueError: there is none.
    :raises RecursionError: it is too deep.
    """
    members: dict[str, Any] = {}
    places: dict[str, tuple[int, int, int]] = {}
    key = _FIRST.match(text, at)
    if key is None:
        raise UnreadableError(_why_not(text, at))
    behind_brace = text.index("{", at) + 1
    start = behind_brace if key[1] is None else key.start(1) - 1
    while key is not None:
        if (name := key[1]) is None:
            return Object(members, places, behind_brace, key.end())
        if name in members:
            raise UnreadableError("has a member twice")
        at = key.end()
        members[name], end = _JSON.raw_decode(text, at)
        places[name] = start, at, end
        key, start = _NEXT.match(text, end), end
    raise UnreadableError(_why_not(text, start))


def items(text: str, at: int) -> Iterator[int]:
    """Give the place of each item of the array at a place, which has been read before: it is whole."""
    at = _skipped(text, at + 1)
    while text[at] != "]":
        yield at
        _, end = _JSON.raw_decode(text, at)
        at = _skipped(text, end)
        if text[at] == ",":
            at = _skipped(text, at + 1)


def _skipped(text: str, at: int) -> int:
    while text[at] in SPACE:
        at += 1
    return at


def read_body(body: bytes) -> tuple[str, Object]:
    """Read a body that is one object, and return its text, too.

    :raises UnreadableError: it is none, or not one that every reader takes for the same.
    """
    text = body.decode("latin-1")
    try:
        if not body.isascii():
            body.decode()
        found = read_object(text, 0)
    except UnreadableError:
        raise
    except (ValueError, RecursionError):
        raise UnreadableError("is no JSON") from None
    if found.end != len(text) and text[found.end :].strip(SPACE):
        raise UnreadableError("has something behind its end")
    return text, found


def spliced(body: bytes, splices: list[tuple[int, int, bytes]]) -> bytes:
    """Return a body with parts replaced, each from its start to its end; no two overlap."""
    view, parts, at = memoryview(body), list[bytes | memoryview](), 0
    for start, end, new in sorted(splices, key=lambda splice: splice[:2]):
        parts += (view[at:start], new)
        at = end
    return b"".join((*parts, view[at:]))


def _why_not(text: str, at: int) -> str:
    if text.startswith("\xef\xbb\xbf"):
        return "begins with a byte order mark"
    return "has an escape in the name of a member" if _ESCAPED.match(text, at) else "is no JSON object"
