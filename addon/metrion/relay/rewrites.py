"""Changes of bodies that a person has asked for by name, each a class here and a row of :data:`REWRITES`.

A rewrite gets the whole body of a request before any of it goes out, and may return another one. If it does, the
response passes it too: it fits the head, and returns what the client sees of each piece. The event is made from what
the client and the provider sent, never from what a rewrite made of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from metrion.model import Forward, Head, Headers, Inbound
from metrion.parsing.content_codings import Decoder, DecodingError, decoder
from metrion.relay.include_usage import UsageFilter, ask_for_usage
from metrion.relay.request import header

logger = logging.getLogger(__name__)

MOST_HELD = 32 << 20
"""How many bytes of a request body are held; a longer one goes out as it is."""

_STREAM = "text/event-stream"


class Rewrite(Protocol):
    """One change of a request and its response."""

    def request(self, head: Head, body: bytes) -> tuple[Head, bytes] | None:
        """Return what goes out in place of a request; ``None``: it stays, and so does its response."""

    def response_head(self, status: int, headers: Headers) -> Headers:
        """Return the header fields that the client gets."""

    def response_data(self, data: bytes) -> bytes:
        """Return what the client gets of a piece of the body, which may be nothing yet.

        :raises DecodingError: nobody can read the body; the response ends here.
        """

    def response_end(self) -> bytes:
        """Return what is left when the response is over."""


class InjectedUsage:
    """The option ``include_usage: inject``: asks for the usage of a stream, and hides the answer from the client."""

    def __init__(self) -> None:
        self._filter: UsageFilter | None = None
        self._decoder: Decoder | None = None
        self._plain: list[bytes] = []

    @classmethod
    def suiting(cls, forward: Forward, inbound: Inbound) -> InjectedUsage | None:
        """Return one for a request whose provider has the option, and whose body can be read; else ``None``."""
        wanted = forward.route.inject_usage and header(inbound.headers, b"content-encoding") is None
        return cls() if wanted else None

    def request(self, head: Head, body: bytes) -> tuple[Head, bytes] | None:
        """Put the option into the body, and fit its head to it."""
        asking = ask_for_usage(body)
        if asking is None:
            return None
        self._filter = UsageFilter()
        headers = replaced(head.headers, b"accept-encoding", b"identity", add=True)
        return Head(head.target, replaced(headers, b"content-length", b"%d" % len(asking))), asking

    def response_head(self, status: int, headers: Headers) -> Headers:
        """Fit the head to what the client sees: a plain body whose length is not known beforehand."""
        is_stream = (header(headers, b"content-type") or _STREAM).lower().startswith(_STREAM)
        if not (is_stream and 200 <= status < 300):
            self._filter = None
        if self._filter is None:
            return headers
        coding = header(headers, b"content-encoding")
        if coding is not None:  # though none was asked for
            try:
                self._decoder = decoder(coding, self._plain.append)
            except DecodingError as error:
                logger.warning("The usage that include_usage: inject brought stays in a response: %s", error)
                self._filter = None
                return headers
        return tuple(
            (b"transfer-encoding", b"chunked") if name.lower() == b"content-length" else (name, value)
            for name, value in headers
            if name.lower() != b"content-encoding"
        )

    def response_data(self, data: bytes) -> bytes:
        """Return the events that the client sees."""
        if self._filter is None:
            return data
        if self._decoder is not None:
            self._decoder.feed(data)
            data = b"".join(self._plain)
            self._plain.clear()
        return self._filter.feed(data)

    def response_end(self) -> bytes:
        """Return what is left at the end, once."""
        last, self._filter = self._filter, None
        if last is None:
            return b""
        if self._decoder is not None:
            with suppress(DecodingError):  # cut; the client has all that could be read
                self._decoder.finish()
        return last.feed(b"".join(self._plain)) + last.finish()


REWRITES: Sequence[Callable[[Forward, Inbound], Rewrite | None]] = (InjectedUsage.suiting,)
"""In the order in which they change a request; a response passes them backwards."""


def replaced(headers: Headers, name: bytes, value: bytes, *, add: bool = False) -> Headers:
    """Return the fields with one of them changed. ``add``: also where it is missing."""
    found = any(known.lower() == name for known, _ in headers)
    changed = tuple((known, value) if known.lower() == name else (known, old) for known, old in headers)
    return (*changed, (name, value)) if add and not found else changed
