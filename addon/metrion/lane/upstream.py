"""A connection to a provider: one request at a time out, its response in as calls to whoever asked.

Heads and bodies are read within bounds. Work per turn of the loop is bounded too, so that nobody waits for a provider
that sends thousands of interim responses or chunks of one byte. An answer that arrives before the whole request has
gone out is read before more of the request is written: a provider that answers early may have closed, and a write that
fails would lose the answer.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from metrion.lane import wire
from metrion.lane.body import BodyReader, body_reader
from metrion.lane.brake import TURN, Brake
from metrion.lane.http1 import MalformedError, ResponseHead, read_response_head
from metrion.lane.pool import Connection, is_quiet
from metrion.lane.turn import Turn
from metrion.model import Headers

_HEADS_PER_TURN = 16
_PIECE, _PACKED_PIECE = 32 << 10, 64
"""How much of a body is read at first; packed bytes may be a thousand times as many once they are unpacked."""
_CLOSED = "server closed connection"


class Asker(Protocol):
    """Who waits for a response. Before ``on_end`` and ``on_failure`` the connection forgets it."""

    def on_interim(self, head: ResponseHead) -> None:
        """Take a head that is not the final one."""

    def on_head(self, head: ResponseHead, headers: Headers) -> None:
        """Take the final head, with its framing said once."""

    def on_data(self, data: bytes) -> None:
        """Take a piece of the body."""

    def on_end(self, trailers: Headers) -> None:
        """Take the end of the response."""

    def on_failure(self, why: str | None) -> None:
        """Take the failure: there is no response, or no more of it. ``None``: what came is not HTTP."""

    def on_slow(self, *, slow: bool) -> None:
        """Let the request wait, or go on: the provider does not read as fast, or does again."""


class Upstream(Connection):
    """See the module."""

    def __init__(self) -> None:
        self.has_answered = False
        """Something of the response to the present request has arrived."""
        self._asker: Asker | None = None
        self._method = b""
        self._whole = False
        self._begun = False
        """Something of the request has been written."""
        self._late: list[bytes] = []
        """More of it, which waits until what has arrived is read."""
        self._turn = Turn(_PIECE)
        self._left = b""
        """Bytes of the body that wait for the next turn."""
        self._buffer = bytearray()
        self._seen = 0
        """So much of it holds no whole head."""
        self._body: BodyReader | None = None
        self._stays = False

    # --- for the asker ---

    def ask(self, asker: Asker, method: bytes, *, keep_alive: bool) -> None:
        """Get ready for a request. ``keep_alive``: it does not ask the provider to close after its answer."""
        self._asker, self._method, self._stays = asker, method, keep_alive
        self._whole = self._begun = self.has_answered = self.is_reusable = False

    def write(self, data: bytes, *, whole: bool) -> None:
        """Send bytes of the request. ``whole``: they are the last ones."""
        self._whole = whole
        if self._late:
            self._late.append(data)
        elif self._begun and not is_quiet(self.transport):
            self._late.append(data)
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._write_late)  # the loop reads in between
        else:
            self._begun = True
            self.transport.write(data)

    @property
    def is_written(self) -> bool:
        """Whether the system has all that was written."""
        return not self._late and self.transport.get_write_buffer_size() == 0

    def abort(self) -> None:
        """Close the connection, whatever is under way; the asker gets no call."""
        self._asker = None
        self._late.clear()
        self._left = b""
        self.is_reusable = False
        self.transport.abort()

    def stop(self, why: int, *, stopped: bool) -> None:
        """Stop reading for a reason, or end that reason."""
        self._brake.set(why, holds=stopped)

    # --- asyncio's protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Override."""
        super().connection_made(transport)
        self._brake = Brake(self.transport)

    def data_received(self, data: bytes) -> None:
        """Override: read what the provider sends."""
        if self._asker is None:  # nobody has asked for it
            self.abort()
        elif self._left:
            self._left += data
        elif self._body is not None:
            self._read_body(data)
        else:
            self._buffer += data
            self._read_heads()

    def eof_received(self) -> bool:
        """Override: an end may be the end of a body."""
        body, asker = self._body, self._asker
        if asker is not None and body is not None:
            try:
                body.finish()
            except MalformedError:
                return False
            self._end(asker, body, is_clean=True)
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's protocol
        """Override."""
        self.is_reusable = False
        self._left = b""
        self._late.clear()
        asker, self._asker = self._asker, None
        if asker is not None:
            asker.on_failure(None if self._buffer else _CLOSED)

    def pause_writing(self) -> None:
        """Override."""
        if self._asker is not None:
            self._asker.on_slow(slow=True)

    def resume_writing(self) -> None:
        """Override."""
        if self._asker is not None:
            self._asker.on_slow(slow=False)

    # --- within ---

    def _write_late(self) -> None:
        late, self._late = b"".join(self._late), []
        if late:
            self.transport.write(late)

    def _read_heads(self) -> None:
        self._turn.begin()
        for _ in range(_HEADS_PER_TURN):
            asker = self._asker
            if asker is None:
                return
            try:
                found = read_response_head(self._buffer, method=self._method, seen=self._seen)
            except MalformedError:
                self._fail(asker)
                return
            if found is None:
                self._seen = len(self._buffer)
                return
            head, end = found
            self._seen = 0
            self.has_answered = True
            if head.status >= 200 or head.status == 101:
                self._read_final(asker, head, end)
                return
            del self._buffer[:end]
            asker.on_interim(head)
            if not self._buffer:
                return
            if self._turn.is_over():
                break
        self._wait_for_turn()

    def _read_final(self, asker: Asker, head: ResponseHead, end: int) -> None:
        rest = bytes(self._buffer[end:])
        self._buffer.clear()
        self._stays = self._stays and head.keep_alive
        self._body = body_reader(head.body, of_response=True)
        self._turn.size = _PACKED_PIECE if wire.is_packed(head.headers) else _PIECE
        asker.on_head(head, wire.unambiguous(head))
        if self._asker is asker and (rest or self._body.over):
            self._read_body(rest)

    def _wait_for_turn(self) -> None:
        self.stop(TURN, stopped=True)
        asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        left, self._left = self._left, b""
        if self._asker is not None:
            if self._body is None:
                self._read_heads()
            elif left:
                self._read_body(left)
        if not self._left:
            self.stop(TURN, stopped=False)

    def _read_body(self, data: bytes) -> None:
        """Read bytes of the body, as many as this turn allows."""
        self._left = self._turn.read(data, self._read_piece)
        if self._left:
            self._wait_for_turn()

    def _read_piece(self, piece: bytes, more: memoryview) -> bool:
        asker, body = self._asker, self._body
        if asker is None or body is None:
            return False
        try:
            payload, rest = body.feed(piece)
        except MalformedError as error:
            if error.payload:
                asker.on_data(error.payload)
            if self._asker is asker:
                self._fail(asker)
            return False
        if payload:
            asker.on_data(payload)
        if body.over and self._asker is asker:
            self._end(asker, body, is_clean=not (rest or more))
        return self._body is body

    def _end(self, asker: Asker, body: BodyReader, *, is_clean: bool) -> None:
        """``is_clean``: nothing follows the end, where it would answer no request."""
        self._asker = self._body = None
        is_written = self._whole and not self._late
        self.is_reusable = self._stays and is_written and is_clean and not self.transport.is_closing()
        self._brake.release()
        asker.on_end(body.trailers)

    def _fail(self, asker: Asker) -> None:
        self.abort()
        asker.on_failure(None)
