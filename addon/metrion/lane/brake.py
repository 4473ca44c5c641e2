"""Stops the reading of a connection as long as there is a reason to; several may hold at once."""

from __future__ import annotations

import asyncio

PIPELINED, OPENING, UPSTREAM_SLOW, READS_NOTHING = 1, 2, 4, 8
"""Why a client is not read: it sends ahead of its answer, there is no connection to its provider yet, the provider does
not read as fast, or the client itself reads nothing."""
CLIENT_SLOW, ESTIMATING = 1, 2
"""Why a provider is not read: its client does not read as fast, or tokens are estimated."""
TURN = 16
"""Why either is not read: it has had its turn, and something of what it sent is left."""


class Brake:
    """See the module. A reason is a bit. Whoever is not read sends no more once the buffers between are full."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._reasons = 0

    def holds(self, reason: int) -> bool:
        """Whether this is a reason at present."""
        return bool(self._reasons & reason)

    def set(self, reason: int, *, holds: bool) -> None:
        """Add a reason, or take it back."""
        before = self._reasons
        self._reasons = before | reason if holds else before & ~reason
        if bool(before) == bool(self._reasons) or self._transport.is_closing():
            return
        if self._reasons:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def release(self) -> None:
        """Take all reasons back."""
        self.set(self._reasons, holds=False)
