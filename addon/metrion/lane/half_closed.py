"""Distinguishes a client that has only ended its sending from one that is gone.

Both look alike: they end their sending. The first waits for its answer, and nobody pays for an answer to the second.
Writing to the second shows that it is gone, but a request whose answer is far off does not write. So a client on this
machine is looked up in the system's list of sockets, where a socket that nobody holds any more has no inode. Any other
client is asked by the system's keep-alive: once its own system has forgotten the connection, after a minute, the answer
is a reset.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_CHECK_SECONDS = 0.5
_TCP_CLOSED = 7
"""TCP's state, as Linux numbers it."""
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class HalfClosed:
    """Watches one connection, and calls back once when its client is gone."""

    def __init__(self, transport: asyncio.BaseTransport, on_gone: Callable[[], object]) -> None:
        self._transport = transport
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._peer = transport.get_extra_info("peername")
        self._own = transport.get_extra_info("sockname")
        self._on_gone = on_gone
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                self._socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
        self._timer = asyncio.get_running_loop().call_later(_CHECK_SECONDS, self._check)

    def cancel(self) -> None:
        """Stop watching."""
        self._timer.cancel()

    def _check(self) -> None:
        if self._transport.is_closing():
            return
        if self._is_gone():
            self._on_gone()
        else:
            self._timer = asyncio.get_running_loop().call_later(_CHECK_SECONDS, self._check)

    def _is_gone(self) -> bool:
        if sys.platform != "linux":
            return False
        if self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSED:
            return True
        return _is_orphaned(self._peer, self._own)


def _is_orphaned(local: tuple[str, int], remote: tuple[str, int]) -> bool:
    """Whether a connection with these ends is on this machine, and no process holds its local end any more."""
    ends = _end(local), _end(remote)
    for table in _TABLES:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if (fields[1], fields[2]) == ends:
                return fields[9] == "0"
    return False


def _end(address: tuple[str, int]) -> str:
    """Write an address as the list has it: words of four bytes in the machine's order, then the port."""
    packed = ipaddress.ip_address(address[0].partition("%")[0]).packed
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"
