"""The option ``include_usage: inject`` on one request: holds its body until it is whole, then filters its response.

What is asked and what is taken out again is decided in :mod:`metrion.include_usage`; here it meets heads and codings.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from mitmproxy import http

from metrion.encodings import Decoder, DecodingError, decoder
from metrion.include_usage import UsageFilter, ask_for_usage

logger = logging.getLogger(__name__)

STREAM = "text/event-stream"
MOST_HELD = 32 << 20
"""Bytes of a request body; a longer one goes out as it is."""


class Injection:
    """See the module. First the request: :meth:`hold` and :meth:`release`; then the response."""

    def __init__(self, request: http.Request) -> None:
        self._body = bytearray()
        self._filter: UsageFilter | None = None
        self._decoder: Decoder | None = None
        self._plain: list[bytes] = []
        self.holds = "content-encoding" not in request.headers
        """What comes of the request's body belongs here."""

    def hold(self, chunk: bytes) -> bool:
        """Take a piece of the request's body; false: it is too long, and has to be released."""
        self._body += chunk
        return len(self._body) <= MOST_HELD

    def release(self, head: http.Request) -> bytes:
        """Return the body that goes out, and fit the head to it."""
        self.holds = False
        body = bytes(self._body)
        self._body.clear()
        if len(body) > MOST_HELD or (asking := ask_for_usage(body)) is None:
            return body
        self._filter = UsageFilter()
        if "content-length" in head.headers:
            head.headers["content-length"] = str(len(asking))
        head.headers["accept-encoding"] = "identity"
        return asking

    def open_response(self, request: http.Request, response: http.Response) -> None:
        """Look at the head of the response, and fit it to what the client will see."""
        headers = response.headers
        is_stream = headers.get("content-type", STREAM).lower().startswith(STREAM)
        if not (is_stream and 200 <= response.status_code < 300):
            self._filter = None
        if self._filter is None:
            return
        if "content-encoding" in headers:  # though none was asked for
            try:
                self._decoder = decoder(headers["content-encoding"], self._plain.append)
            except DecodingError as error:
                logger.warning("The usage that include_usage: inject brought stays in a response: %s", error)
                self._filter = None
                return
            del headers["content-encoding"]
        if headers.pop("content-length", None) is not None and request.is_http11:
            headers["transfer-encoding"] = "chunked"

    def seen(self, chunk: bytes) -> bytes:
        """Return what the client sees of a piece of the response, which may be nothing yet.

        Raises :class:`~metrion.encodings.DecodingError` where the provider's bytes are not in their coding.
        """
        if self._filter is None:
            return chunk
        if self._decoder is not None:
            self._decoder.feed(chunk)
            chunk = b"".join(self._plain)
            self._plain.clear()
        return self._filter.feed(chunk)

    def rest(self) -> bytes:
        """Return what is left when the response is over."""
        if self._filter is None:
            return b""
        if self._decoder is not None:
            with suppress(DecodingError):  # cut; the client has all that could be read
                self._decoder.finish()
        return self._filter.feed(b"".join(self._plain)) + self._filter.finish()
