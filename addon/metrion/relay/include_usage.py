"""The option ``include_usage: inject``: asks for the usage of a stream, and keeps the answer to itself. No I/O.

OpenAI's chat and text completions, and most that speak like them, report the usage of a stream only to a request with
``"stream_options": {"include_usage": true}``: then in a last chunk that has no choices, and as ``"usage": null`` in all
others (``ChatCompletionStreamOptions`` in the openai SDK). :func:`ask_for_usage` puts that into a request, and
:class:`UsageFilter` takes out of the response what came of it, so that the client sees what it would have seen.

How the shell uses it, where ``Route.inject_usage`` is true (:meth:`metrion.operations.Path.asks_usage`):

1. Only for a request body without a content encoding: hold it whole, and send ``ask_for_usage(body)`` with a new
   ``Content-Length`` in its place. ``None``: send the body as it came, and leave the response alone too.
2. Only for a success that is ``text/event-stream``: the tap reads the provider's bytes as ever. What goes to the client
   is ``feed(chunk)`` of them decoded, and ``finish()`` at the end, without ``Content-Length``. Encoded bytes have to be
   decoded, and then go out without ``Content-Encoding``; it is simpler to ask the provider for none, with
   ``Accept-Encoding: identity`` in such a request.
3. A chunk in which the stream's last event is complete comes out of ``feed`` at once: what has to be done before it may
   go on (the event) is done before ``feed``'s answer is sent, as it is for the chunk itself without the option.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

LIMIT = 1 << 20
"""An event of more bytes than this, its last line ends not counted, passes as it is."""

# Bytes are looked at as Latin-1 text: JSON's syntax is ASCII, and a place in the text is the same place in the bytes.
SPACE = " \t\n\r"
NAME = r'[ \t\n\r]*+"([^"\\\x00-\x1f]*+)"[ \t\n\r]*+:[ \t\n\r]*+'
FIRST = re.compile(r"[ \t\n\r]*+\{" + NAME)
NEXT = re.compile(rf"[ \t\n\r]*+(?:,{NAME}|\}})")
"""A further member up to its value, or the end of the object."""
COMMA = re.compile(r"[ \t\n\r]*+,[ \t\n\r]*+")
JSON = json.JSONDecoder()

MARK = b'"usage"'
ENDS = (b"\n\n", b"\r\n\r\n")
LINE_ENDS = re.compile(rb"[\r\n]++")
BLANK_LINE = re.compile(rb"(?>\r\n?|\n)(?>\r\n?|\n)")
"""The end of a line, and the empty line behind it."""


def ask_for_usage(body: bytes) -> bytes | None:
    """Return the JSON body of a request with the option put in; no byte beside it is changed.

    ``None``: there is nothing to change. No stream is asked for, or its usage is already, or it cannot be told.
    """
    if b'"stream"' not in body:
        return None
    text = body.decode("latin-1")
    try:
        if not body.isascii():
            body.decode()
        request = _object(text, 0)
        splice = _splice(text, request) if not text[request.end :].strip(SPACE) else None
    except (ValueError, RecursionError):
        return None
    if splice is None:
        return None
    start, end, new = splice
    view = memoryview(body)
    return b"".join((view[:start], new, view[end:]))


class UsageFilter:
    """Decoded bytes of an event stream in, cut anywhere; those that the client would have seen out.

    An event that has usage and no choices is left out, and from every other one its member ``usage``. What is no such
    event passes untouched: comments, errors, several ``data`` lines, what is no JSON. Nothing but an event that is not
    whole yet is held back. Nothing here raises.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._searched = 0
        """Before this there is no blank line in what is held."""
        self._long = False
        """What comes belongs to an event that passes as it is."""

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes, give the events that they complete."""
        if not self._held and not self._long and MARK not in chunk and chunk.endswith(ENDS):
            return chunk
        held = self._held
        held += chunk
        given: list[bytes] = []
        start = 0
        lf_only = held.find(b"\r", self._searched) < 0
        while end := self._end_of_event(start, lf_only=lf_only):
            event = bytes(held[start:end])
            seen = event if self._long or _is_too_large(event) else _without_usage(event)
            if seen is None:
                if end == len(held) and event.endswith(b"\r"):
                    break  # an LF that may follow belongs to it
                seen = _comments(event)
            given.append(seen)
            self._long = False
            start = self._searched = end
        del held[:start]
        if self._long or _is_too_large(held):
            self._long = True
            end = len(held.rstrip(b"\r\n"))  # a blank line must be seen in one piece
            given.append(bytes(held[:end]))
            del held[:end]
        self._searched = max(0, len(held) - 2)
        return b"".join(given)

    def finish(self) -> bytes:
        """Give what is held; the stream is over."""
        held = bytes(self._held)
        self._held.clear()
        seen = _without_usage(held)
        return _comments(held) if seen is None else seen

    def _end_of_event(self, start: int, *, lf_only: bool) -> int:
        """Return where the event that starts there ends, behind its blank line; 0 where that is not known yet."""
        if not self._long and (empty := LINE_ENDS.match(self._held, start)):
            return empty.end()
        start = max(start, self._searched)
        if lf_only:  # five times as fast
            at = self._held.find(b"\n\n", start)
            return at + 2 if at >= 0 else 0
        found = BLANK_LINE.search(self._held, start)
        return found.end() if found else 0


def _is_too_large(event: bytes | bytearray) -> bool:
    return len(event) > LIMIT and len(event.rstrip(b"\r\n")) > LIMIT


class _Object(NamedTuple):
    """A JSON object in a text."""

    members: Mapping[str, Any]
    """One or more."""
    places: Mapping[str, tuple[int, int, int]]
    """Where each member begins, its value begins, and it ends. But for the first, it begins behind the one before."""
    end: int


def _object(text: str, at: int) -> _Object:
    """Read the object there.

    Raises ``ValueError`` where there is none, where a name has an escape in it, and where it is there twice: readers
    differ in which of the two counts. Raises ``RecursionError`` where it is too deep.
    """
    members: dict[str, Any] = {}
    places: dict[str, tuple[int, int, int]] = {}
    key = FIRST.match(text, at)
    start = key.start(1) - 1 if key else at
    while key is not None:
        if (name := key[1]) is None:
            return _Object(members, places, key.end())
        if name in members:
            raise ValueError("a member is there twice")
        at = key.end()
        members[name], end = JSON.raw_decode(text, at)
        places[name] = start, at, end
        key, start = NEXT.match(text, end), end
    raise ValueError("no JSON object")


def _splice(text: str, request: _Object) -> tuple[int, int, bytes] | None:
    """Return from where to where the request is to be replaced, and by what. Raises as :func:`_object` does."""
    if request.members.get("stream") is not True:
        return None
    if "stream_options" not in request.members:
        return *_behind(request), b',"stream_options":{"include_usage":true}'
    options = request.members["stream_options"]
    _, start, end = request.places["stream_options"]
    if options is None:
        return start, end, b'{"include_usage":true}'
    if options == {}:
        return start + 1, start + 1, b'"include_usage":true'
    inner = _object(text, start)
    if "include_usage" not in inner.members:
        return *_behind(inner), b',"include_usage":true'
    asked = inner.members["include_usage"]
    return (*inner.places["include_usage"][1:], b"true") if asked is None or asked is False else None


def _behind(found: _Object) -> tuple[int, int]:
    """Return the place behind the last member, where nothing is to be replaced."""
    *_, (_, _, end) = found.places.values()
    return end, end


def _without_usage(event: bytes) -> bytes | None:
    """Return an event without its usage; the same object where it has none, ``None`` where it has nothing else."""
    if MARK not in event:
        return event
    lines = event.splitlines(keepends=True)
    data = [line for line in lines if line.startswith(b"data:") or line.rstrip(b"\r\n") == b"data"]
    if len(data) != 1 or any(line.startswith(b"event:") and line[6:].strip() == b"error" for line in lines):
        return event
    text = data[0].decode("latin-1")
    try:
        chunk = _object(text, len("data:"))
    except (ValueError, RecursionError):
        return event
    members = chunk.members
    if "usage" not in members or members.get("error") is not None or text[chunk.end :].strip(SPACE):
        return event
    if members["usage"] is not None and members.get("choices") in (None, []):
        return None
    start, _, end = chunk.places["usage"]
    if text[start] == '"' and (comma := COMMA.match(text, end)):
        end = comma.end()
    before = event.index(data[0])
    return event[: before + start] + event[before + end :]


def _comments(event: bytes) -> bytes:
    """Return what stays of an event that is left out."""
    return b"".join(line for line in event.splitlines(keepends=True) if line.startswith(b":"))
