"""What a client has sent of its next request: bytes in, the head out once it is whole. No I/O.

A connection that asks for something other than a plain request by path is :class:`Foreign`; nothing of its bytes is
lost. Whatever the bytes are, only :class:`~metrion.lane.http1.MalformedError` is raised.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from metrion.lane.http1 import RequestHead, read_request_head
from metrion.model import Headers

_PLAIN = re.compile(rb"(?:\r?\n)*+(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /[!-~]*+ HTTP/1\.[01]\r?\n")
_ANY = re.compile(rb"(?:\r?\n)*+[^\r\n][^\n]*+\n")
"""A request line that the lane serves, and one of any kind."""
_HTTP2 = b"PRI * HTTP/2.0\r\n"


class Foreign(NamedTuple):
    """A connection that the lane does not serve. ``alpn``: the protocol that it speaks, if that is known."""

    alpn: bytes | None


class NextHead:
    """See the module."""

    __slots__ = ("_is_plain", "_seen", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        """All that has come and is not read."""
        self._is_plain = False
        """The request line at its start is one that the lane serves."""
        self._seen = 0
        """So much of it holds no whole head."""

    def read(self, new: bytes | bytearray) -> RequestHead | Foreign | None:
        """Read a head; ``None``: it is not whole. ``new``: those of the bytes that have just come.

        :raises MalformedError: there is something else than a head.
        """
        data = self.data
        if not self._is_plain and b"\n" in new:
            self._is_plain = _PLAIN.match(data) is not None
            if not self._is_plain and _ANY.match(data):
                return Foreign(b"h2" if data.startswith(_HTTP2) else None)
        found = read_request_head(data, seen=self._seen)
        if found is None:
            self._seen = len(data)
            return None
        head, end = found
        self._is_plain, self._seen = False, 0
        if _asks_for_websocket(head.headers):
            return Foreign(None)
        del data[:end]
        return head

    def take(self) -> bytes:
        """Return all that has come and is not read, and forget it."""
        data = bytes(self.data)
        self.data.clear()
        return data


def _asks_for_websocket(headers: Headers) -> bool:
    return any(
        len(name) == 7 and name.lower() == b"upgrade" and value.lower() == b"websocket" for name, value in headers
    )
