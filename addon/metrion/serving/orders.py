"""How a supervisor tells a worker what to work by from now on: a whole configuration in, one byte back once it holds.

The two are copies of one process, joined by a socket that nobody else has, so what passes is pickled. A supervisor
waits for its workers a few seconds at most, and a worker that is gone or stuck fails its order alone.
"""

from __future__ import annotations

import pickle
import socket
import struct
import time
from contextlib import suppress

from metrion.serving.configuration import Configuration

_LENGTH = struct.Struct("!Q")
_TAKEN, _FAILED = b"+", b"!"
_CHUNK = 1 << 18


class OrderBook:
    """The supervisor's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, configuration: bytes, seconds: float) -> bool:
        """Send a configuration, packed; return whether it has gone out whole."""
        self._end.settimeout(seconds)
        with suppress(OSError):
            self._end.sendall(_LENGTH.pack(len(configuration)) + configuration)
            return True
        return False

    def is_taken(self, until: float) -> bool:
        """Whether the worker says, before this moment of the monotonic clock, that the configuration holds."""
        self._end.settimeout(max(0.01, until - time.monotonic()))
        with suppress(OSError):
            return self._end.recv(1) == _TAKEN
        return False

    def close(self) -> None:
        """Close this end."""
        self._end.close()


class Orders:
    """The worker's end. It never waits."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = bytearray()

    def fileno(self) -> int:
        """Return the descriptor that can be read when an order comes."""
        return self._end.fileno()

    def read(self) -> Configuration | None:
        """Return the configuration that has come whole; ``None``: it has not yet.

        :raises EOFError: the supervisor is gone.
        """
        self._end.setblocking(False)
        with suppress(BlockingIOError):
            came = self._end.recv(_CHUNK)
            if not came:
                raise EOFError
            self._read += came
        if len(self._read) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._read)[0]
        if len(self._read) < end:
            return None
        packed = bytes(self._read[_LENGTH.size : end])
        del self._read[:end]
        configuration: Configuration = pickle.loads(packed)  # noqa: S301 -- from the process that this one is a copy of
        return configuration

    def confirm(self, *, taken: bool) -> None:
        """Say whether the configuration that was read last holds now."""
        with suppress(OSError):
            self._end.send(_TAKEN if taken else _FAILED)

    def close(self) -> None:
        """Close this end."""
        self._end.close()


def packed(configuration: Configuration) -> bytes:
    """Return a configuration as it is sent."""
    return pickle.dumps(configuration)


def order_channel() -> tuple[OrderBook, Orders]:
    """Return both ends, before a fork; each process closes the other's."""
    ours, theirs = socket.socketpair()
    return OrderBook(ours), Orders(theirs)
