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
    """See the module. First the request: :meth:`ask`, then :meth:`asked`; then the response."""

    def __init__(self) -> None:
        self._asking: bytes | None = None
        self._filter: UsageFilter | None = None
        self._decoder: Decoder | None = None
        self._plain: list[bytes] = []

    @staticmethod
    def suits(request: http.Request) -> bool:
        """Whether the body of a request with this head can be read, and so is worth being held."""
        return "content-encoding" not in request.headers

    def ask(self, head: http.Request, body: bytes) -> None:
        """Put the option into a body that is whole, and fit its head to it."""
        self._asking = ask_for_usage(body)
        if self._asking is not None:
            self._filter = UsageFilter()
            head.headers["accept-encoding"] = "identity"
        if "content-length" in head.headers:
            head.headers["content-length"] = str(len(self._asking or body))

    def asked(self, body: bytes) -> bytes:
        """Return what goes out in place of a body; a second time, the body."""
        asking, self._asking = self._asking, None
        return body if asking is None else asking

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
        """Return what is left when the response is over; nothing a second time."""
        last, self._filter = self._filter, None
        if last is None:
            return b""
        if self._decoder is not None:
            with suppress(DecodingError):  # cut; the client has all that could be read
                self._decoder.finish()
        return last.feed(b"".join(self._plain)) + last.finish()
