"""Opens connections to providers: a name, its addresses, a socket, TLS where the origin asks for it.

Names are resolved anew each time, and IPv4 and IPv6 raced (RFC 8305). A failure is a :class:`ConnectError` in plain
words. Where there is one, or the caller no longer waits, nothing stays open. Works on asyncio's loop and on uvloop,
which can do neither of the two by itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Protocol

import certifi

from metrion.model import Origin

HEAD_START_SECONDS = 0.25
"""How long an address has for itself before the next is tried too; RFC 8305 recommends this."""
_GOODBYE_SECONDS = 2
"""How long a server may take to end TLS in good order, before its connection is closed all the same."""

type SocketAddress = tuple[str | int | bytes, ...]
type Address = tuple[int, SocketAddress]
"""The family, and what a socket of it connects to."""

_OPTIONS: tuple[tuple[int, str, int], ...] = (
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    # An answer may be silent for many minutes: probes keep it in the tables of the routers on the way.
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 60),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 5),
)


class ConnectError(Exception):
    """There is no connection. It never leaves the lane; the message says why, for the refusal that the client gets."""


class Resolve(Protocol):
    """``getaddrinfo`` of an event loop."""

    async def __call__(
        self,
        host: str,
        port: int,
        *,
        type: int,  # noqa: A002 -- getaddrinfo calls it so
    ) -> Sequence[tuple[int, int, int, str, SocketAddress]]:
        """Return what :func:`socket.getaddrinfo` returns."""


def tls_context(trusted: str | None = None) -> ssl.SSLContext:
    """Return a context that trusts whom mitmproxy trusts: certifi's authorities, or only those in this file.

    Names must match. Making one takes tens of milliseconds: one is for all connections.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificates and names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.set_ciphers("DEFAULT")  # OpenSSL's, as wide as mitmproxy's: Python's own leave out what old servers speak
    context.load_verify_locations(trusted or certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


async def connect[P: asyncio.Protocol](
    origin: Origin, make: Callable[[], P], tls: Callable[[Origin], ssl.SSLContext]
) -> P:
    """Connect a protocol to an origin.

    :raises ConnectError: there is no connection.
    """
    context = tls(origin) if origin.scheme == "https" else None
    protocol = make()
    try:
        opened = await open_socket(origin.host, origin.port)
        # From its first step on this owns the socket, and closes it whatever happens.
        await asyncio.get_running_loop().create_connection(
            lambda: protocol,
            sock=opened,
            ssl=context,
            server_hostname=origin.host if context else None,
            ssl_shutdown_timeout=_GOODBYE_SECONDS if context else None,
        )
    except (OSError, UnicodeError) as error:
        raise ConnectError(_reason(error)) from error
    return protocol


async def open_socket(host: str, port: int, resolve: Resolve | None = None) -> socket.socket:
    """Return a socket connected to the address of this name that answers first."""
    found = await (resolve or asyncio.get_running_loop().getaddrinfo)(host, port, type=socket.SOCK_STREAM)
    return await _race(in_turn([(family, address) for family, _, _, _, address in found]))


def in_turn(addresses: Sequence[Address]) -> list[Address]:
    """Let the families take turns, each in its order, the first address's family first."""
    families = dict.fromkeys(family for family, _ in addresses)
    each = [[address for address in addresses if address[0] == family] for family in families]
    return [address for address in chain.from_iterable(zip_longest(*each)) if address is not None]


async def _race(addresses: Sequence[Address]) -> socket.socket:
    waiting, failures = deque(addresses), list[BaseException]()
    running = set[asyncio.Task[socket.socket]]()
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(_open(waiting.popleft())))
            patience = HEAD_START_SECONDS if waiting else None
            done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                running.remove(task)
                if (failure := task.exception()) is None:
                    return task.result()
                failures.append(failure)
    finally:
        for task in running:
            task.add_done_callback(_close)
            task.cancel()
    raise failures[0]


async def _open(address: Address) -> socket.socket:
    opened = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        for level, name, value in _OPTIONS:
            if (option := getattr(socket, name, None)) is not None:  # not every system has all of them
                opened.setsockopt(level, option, value)
        await asyncio.get_running_loop().sock_connect(opened, address[1])
    except BaseException:
        opened.close()
        raise
    return opened


def _close(task: asyncio.Task[socket.socket]) -> None:
    """Close what came second."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):
        return "the name cannot be resolved"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown').replace('_', ' ').lower()}"
    if error.errno is None:
        return "the connection ended before TLS was set up"
    words = os.strerror(error.errno)
    return words[0].lower() + words[1:]
