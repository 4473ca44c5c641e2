"""The record of one request: what arrived, byte for byte, and what became of its answer. It is kept in memory only."""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

_KEPT_BODY_BYTES = 1 << 20
"""Of a longer request body only the size and the hash are kept."""


@dataclass(slots=True)
class Received:
    """One request as it arrived, and what became of its answer."""

    number: int
    connection: int
    port: int
    started: float = 0.0
    """When the head was there, on the monotonic clock."""
    head: bytes = b""
    """The request line and the header block as they were on the wire."""
    provider: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytearray = field(default_factory=bytearray)
    body_limit: int = _KEPT_BODY_BYTES
    body_bytes: int = 0
    body_hash: Any = field(default_factory=hashlib.sha256)
    body_complete: bool = False
    malformed: str | None = None
    piece_ends: tuple[int, ...] = ()
    """Where the answer's pieces end, in bytes of the body."""
    sent_body_bytes: int = 0
    answered: bool = False
    held: bool = False
    client_closed_after: float | None = None
    finished: bool = False

    def feed(self, data: bytes) -> None:
        """Take a part of the body."""
        self.body_bytes += len(data)
        self.body_hash.update(data)
        if self.body_bytes <= self.body_limit:
            self.body += data
        else:
            self.body.clear()

    def as_json(self) -> dict[str, Any]:
        """Return the record for the control endpoint. Heads are Latin-1 text, bodies base64."""
        kept = self.body_bytes <= self.body_limit
        return {
            "number": self.number,
            "connection": self.connection,
            "port": self.port,
            "provider": self.provider,
            "request_line": self.head.partition(b"\r\n")[0].decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers],
            "body": base64.b64encode(self.body).decode() if kept else None,
            "body_bytes": self.body_bytes,
            "body_sha256": self.body_hash.hexdigest(),
            "body_complete": self.body_complete,
            "malformed": self.malformed,
            "sent_body_bytes": self.sent_body_bytes,
            "sent_events": bisect_right(self.piece_ends, self.sent_body_bytes),
            "answered": self.answered,
            "held": self.held,
            "client_closed_after": self.client_closed_after,
            "finished": self.finished,
        }
