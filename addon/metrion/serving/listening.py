"""The port of a proxy: taken alone, then shared by its workers.

Two proxies cannot listen on one port by mistake: the port is bound and listened on without SO_REUSEPORT first, which
fails when anybody else has it, and opened to the sockets of the other workers only then. The process that makes the
sockets keeps them, so that the connections which wait for a worker that died are served by the one that replaces it.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from metrion.errors import ServeError

BACKLOG = 2048
"""How many connections may wait at each socket until they are accepted."""
_ANY_PORT_TRIES = 20

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared, not listened on
"""Hosts that mean all addresses, and where this machine itself finds them."""
_SOMEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses that exist in documentation only: the way to them is the way out of this machine."""
_SHARES_EVENLY = sys.platform == "linux"
"""Whether the system spreads connections over sockets that share a port; elsewhere all workers use the same socket."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the proxy listens, once it does."""

    host: str
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        """The URL of the proxy itself, which others can use: with this machine's address where it listens on all."""
        return self._url(_outward_address(self.host) if self.is_everywhere else self.host)

    @property
    def local_url(self) -> str:
        """The same, for programs on this machine."""
        return self._url(_EVERYWHERE.get(self.host, self.host))

    @property
    def is_everywhere(self) -> bool:
        """Whether it listens on all addresses of this machine."""
        return self.host in _EVERYWHERE

    @property
    def is_readable(self) -> bool:
        """Whether others on the network can read what clients send: it is plain HTTP, and not on loopback alone."""
        return self.scheme == "http" and not _is_loopback(self.host)

    def _url(self, host: str) -> str:
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


def _outward_address(host: str) -> str:
    """Return the address by which others reach this machine, else its name. Nothing is sent."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((_SOMEWHERE[family], 9))
        address: str = probe.getsockname()[0]
        return address
    return socket.gethostname()


def _is_loopback(host: str) -> bool:
    """Whether a host means this machine's loopback and nothing else."""
    try:
        found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return True  # there is no such address, so nobody listens there
    return all(ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def check_encrypted(command: str, host: str) -> None:
    """Check that nobody else on the network can read what is sent to a port on plain HTTP.

    ``command``: what was typed, for the error, which has the line to write instead.

    :raises ServeError: others can.
    """
    if not _is_loopback(host):
        raise ServeError(
            f"{command} on {host or 'all addresses'} without TLS lets everybody on the network read tokens, keys and "
            "prompts. Give --tls-cert and --tls-key, or listen on 127.0.0.1. If a proxy in front speaks "
            f"TLS, or nobody else is on that network, write: {command} --host {host or '::'} --insecure"
        )


class Listeners:
    """The sockets of ``workers`` workers on one port, at every address that ``host`` means.

    Port 0 takes a free one, the same for all. Nobody can connect before :meth:`listen`. ``holder`` says who has a port
    that is in use, in the words that begin a sentence.

    :raises ServeError: the port cannot be taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        workers: int,
        holder: Callable[[str, int], str] = lambda _host, _port: "Another program holds the port",
    ) -> None:
        self._host = host
        self._holder = holder
        self._workers = workers
        try:
            self._sockets = [_bind_all(host, port)]
        except OSError as error:
            raise self._refused(error, port) from error
        self.port: int = self._sockets[0][0].getsockname()[1]

    def listen(self) -> None:
        """Let connections in. They wait until a worker accepts them.

        :raises ServeError: somebody else took the port in the meantime.
        """
        first = self._sockets[0]
        try:
            for listener in first:
                listener.listen(BACKLOG)
            for _ in range(self._workers - 1):
                self._sockets.append([self._another(listener) for listener in first])
        except OSError as error:
            raise self._refused(error, self.port) from error

    def of(self, worker: int) -> list[socket.socket]:
        """Return the sockets of a worker, counted from 0."""
        return self._sockets[worker]

    def close(self, *, but: Iterable[socket.socket] = ()) -> None:
        """Close this process's ends: when every process has, the port is free."""
        kept = set(but)
        for listener in (listener for listeners in self._sockets for listener in listeners):
            if listener not in kept:
                listener.close()

    def _another(self, first: socket.socket) -> socket.socket:
        if not _SHARES_EVENLY:
            return first.dup()
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        another = _socket(first.family)
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        another.bind(first.getsockname())
        another.listen(BACKLOG)
        return another

    def _refused(self, error: OSError, port: int) -> ServeError:
        way_out = "Choose another with --host and --port, or `listen` in metrion.yaml."
        if error.errno == errno.EADDRINUSE:
            way_out = f"{self._holder(self._host, port)}; choose one with --port, or `listen` in metrion.yaml."
        return ServeError(f"cannot listen on {self._host}:{port}: {error.strerror or error}. {way_out}")


def _socket(family: int) -> socket.socket:
    # asyncio turns off Nagle's algorithm, and so 40 ms between head and body, only where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # Connections of a proxy that has just ended do not hold the port; a proxy that listens does.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
    return listener


def _bind_all(host: str, port: int) -> list[socket.socket]:
    for tries_left in reversed(range(_ANY_PORT_TRIES if port == 0 else 1)):
        try:
            return _bind(host, port)
        except OSError as error:
            # A port that is free at one address may be taken at the other.
            if error.errno != errno.EADDRINUSE or not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _bind(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    absent: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        listener: socket.socket | None = None
        try:
            listener = _socket(family)
            listener.bind((address[0], port, *address[2:]))
        except OSError as error:
            if listener is not None:
                listener.close()
            if error.errno in (
                errno.EADDRNOTAVAIL,
                errno.EAFNOSUPPORT,
            ):  # a name may stand for IPv6 where there is none
                absent = error
                continue
            for other in bound:
                other.close()
            raise
        bound.append(listener)
        port = listener.getsockname()[1]
    if not bound and absent is not None:
        raise absent
    return bound
