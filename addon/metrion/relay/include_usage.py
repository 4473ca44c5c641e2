"""The option ``include_usage: inject``: asks for the usage of a stream, and hides the answer from the client. No I/O.

OpenAI's chat and text completions, and most that speak like them, report the usage of a stream only to a request with
``"stream_options": {"include_usage": true}``: then in a last chunk that has no choices, and as ``"usage": null`` in all
others (``ChatCompletionStreamOptions`` in the openai SDK). :func:`ask_for_usage` puts that into a request, and
:class:`UsageFilter` takes what it adds out of the response, so that the client sees what it would have seen.
:class:`metrion.relay.rewrites.InjectedUsage` applies both.

An event that a chunk completes comes out of :meth:`UsageFilter.feed` at once: nothing but an unfinished event waits.
"""

from __future__ import annotations

import re

from metrion.parsing.json_members import SPACE, Object, read_body, read_object, spliced

LIMIT = 1 << 20
"""A longer event, in bytes without its last line ends, passes as it is."""

_COMMA = re.compile(r"[ \t\n\r]*+,[ \t\n\r]*+")

_MARK = b'"usage"'
_ENDS = (b"\n\n", b"\r\n\r\n")
_LINE_ENDS = re.compile(rb"[\r\n]++")
_BLANK_LINE = re.compile(rb"(?>\r\n?|\n)(?>\r\n?|\n)")
"""The end of a line, and the empty line behind it."""


def ask_for_usage(body: bytes) -> bytes | None:
    """Return the JSON body of a request with the option put in; no other byte is changed.

    ``None``: nothing is to be changed. The request asks for no stream, or for its usage already, or cannot be read.
    """
    if b'"stream"' not in body:
        return None
    try:
        text, request = read_body(body)
        splice = _splice(text, request)
    except (ValueError, RecursionError):
        return None
    return spliced(body, [splice]) if splice is not None else None


class UsageFilter:
    """Filters an event stream: its decoded bytes in, cut anywhere; what the client would have seen out.

    Leaves out an event that has usage and no choices, and the member ``usage`` of every other one. Anything else passes
    untouched: comments, errors, events of several ``data`` lines or without JSON. Holds back nothing but an event that
    is not whole yet. Never raises.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._searched = 0
        """Before this there is no blank line in what is held."""
        self._long = False
        """What comes next belongs to an event that passes as it is."""

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes; return the events that they complete."""
        if not self._held and not self._long and _MARK not in chunk and chunk.endswith(_ENDS):
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
        """Return what is held, at the end of the stream."""
        held = bytes(self._held)
        self._held.clear()
        seen = _without_usage(held)
        return _comments(held) if seen is None else seen

    def _end_of_event(self, start: int, *, lf_only: bool) -> int:
        """Return where the event at ``start`` ends, behind its blank line; 0: it is not whole yet."""
        if not self._long and (empty := _LINE_ENDS.match(self._held, start)):
            return empty.end()
        start = max(start, self._searched)
        if lf_only:  # five times as fast
            at = self._held.find(b"\n\n", start)
            return at + 2 if at >= 0 else 0
        found = _BLANK_LINE.search(self._held, start)
        return found.end() if found else 0


def _is_too_large(event: bytes | bytearray) -> bool:
    return len(event) > LIMIT and len(event.rstrip(b"\r\n")) > LIMIT


def _splice(text: str, request: Object) -> tuple[int, int, bytes] | None:
    """Return the start and the end of what to replace in a request, and its replacement; ``None``: nothing.

    :raises ValueError: as :func:`~metrion.parsing.json_members.read_object` does.
    :raises RecursionError: as :func:`~metrion.parsing.json_members.read_object` does.
    """
    if request.members.get("stream") is not True:
        return None
    if "stream_options" not in request.members:
        return request.behind, request.behind, b',"stream_options":{"include_usage":true}'
    options = request.members["stream_options"]
    _, start, end = request.places["stream_options"]
    if options is None:
        return start, end, b'{"include_usage":true}'
    if options == {}:
        return start + 1, start + 1, b'"include_usage":true'
    inner = read_object(text, start)
    if "include_usage" not in inner.members:
        return inner.behind, inner.behind, b',"include_usage":true'
    asked = inner.members["include_usage"]
    return (*inner.places["include_usage"][1:], b"true") if asked is None or asked is False else None


def _without_usage(event: bytes) -> bytes | None:
    """Return an event without its usage; the same object where it has none, ``None`` where it has nothing else."""
    if _MARK not in event:
        return event
    lines = event.splitlines(keepends=True)
    data = [line for line in lines if line.startswith(b"data:") or line.rstrip(b"\r\n") == b"data"]
    if len(data) != 1 or any(line.startswith(b"event:") and line[6:].strip() == b"error" for line in lines):
        return event
    text = data[0].decode("latin-1")
    try:
        chunk = read_object(text, len("data:"))
    except (ValueError, RecursionError):
        return event
    members = chunk.members
    if "usage" not in members or members.get("error") is not None or text[chunk.end :].strip(SPACE):
        return event
    if members["usage"] is not None and members.get("choices") in (None, []):
        return None
    start, _, end = chunk.places["usage"]
    if text[start] == '"' and (comma := _COMMA.match(text, end)):
        end = comma.end()
    before = event.index(data[0])
    return event[: before + start] + event[before + end :]


def _comments(event: bytes) -> bytes:
    """Return the comments of an event that is left out: they stay."""
    return b"".join(line for line in event.splitlines(keepends=True) if line.startswith(b":"))
