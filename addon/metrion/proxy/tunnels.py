"""Blind tunnels: a CONNECT to a host that is no provider's, where ``intercept.others`` says ``tunnel``.

The name is resolved once, each address is checked, and the connection goes to an address that passed. Bytes pass as
they come, with back-pressure, and nothing reads them; there is no event. Never: a connection to an address that was not
checked, or to one that a provider's host has.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Collection, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context

from metrion.addresses import is_public
from metrion.admission.codes import UPSTREAM_UNREACHABLE
from metrion.admission.tunnels import BlindTunnel, no_address
from metrion.faults import log_fault
from metrion.model import Refusal
from metrion.proxy.connections import connection_handler
from metrion.proxy.http1 import Commands

logger = logging.getLogger(__name__)

_MOST_TRIED = 4
"""Addresses of a host that are tried one after the other."""
_NAME_SECONDS = 10.0
_PROVIDERS_SECONDS = 3.0
"""How long the providers' names are waited for; one that cannot be resolved has no known address."""
_FRESH_SECONDS = 60.0
_REMEMBERED_SECONDS = 3600.0
"""How long an address counts as a provider's after its name led there: its answers take turns."""
_LOOKUPS = 4
"""At once. They have threads of their own, so that slow names delay nobody but tunnels."""

type Lookup = Callable[[str, int], list[str]]
"""The addresses of a name. Raises :class:`OSError` where it has none."""


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a name, the best first."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


class Targets:
    """Where blind tunnels may lead. ``hosts`` gives the providers'. One for all connections, on one event loop."""

    def __init__(self, hosts: Callable[[], Collection[str]], lookup: Lookup = look_up) -> None:
        self._hosts = hosts
        self._look_up = lookup
        self._executor: ThreadPoolExecutor | None = None
        self._checked: dict[str, float] = {}
        """When each provider's host was last looked up."""
        self._taken: dict[str, float] = {}
        """The addresses of providers' hosts, and when they were last seen."""

    async def addresses(self, tunnel: BlindTunnel) -> list[str] | Refusal:
        """Return the addresses that a tunnel may connect to, the best first."""
        try:
            async with asyncio.timeout(_NAME_SECONDS):
                found, _ = await asyncio.gather(self._resolve(tunnel.host, tunnel.port), self._refresh())
        except (OSError, UnicodeError):  # a timeout is an OSError too
            return Refusal(UPSTREAM_UNREACHABLE, f"No tunnel to {tunnel.host}: the name cannot be resolved.")
        public = [address for address in found if is_public(address)]
        if not public:
            return no_address(tunnel, "it has no address on the public Internet")
        if free := [address for address in public if address not in self._taken]:
            return free[:_MOST_TRIED]
        return no_address(tunnel, "its address is that of a provider's host, and no request to one passes unmetered")

    async def _refresh(self) -> None:
        """Look up the providers' hosts that were not looked up lately."""
        now = time.monotonic()
        due = [host for host in self._hosts() if now - self._checked.get(host, -_FRESH_SECONDS) >= _FRESH_SECONDS]
        if not due:
            return
        tasks = {asyncio.ensure_future(self._resolve(host, 443)): host for host in due}
        done, late = await asyncio.wait(tasks, timeout=_PROVIDERS_SECONDS)
        for task in late:
            task.cancel()
        for task in done:
            if not task.cancelled() and task.exception() is None:
                self._taken |= dict.fromkeys(task.result(), now)
        self._checked |= dict.fromkeys(due, now)
        self._taken = {each: seen for each, seen in self._taken.items() if now - seen < _REMEMBERED_SECONDS}

    async def _resolve(self, host: str, port: int) -> list[str]:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="metrion-names")
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._look_up, host, port)

    def close(self) -> None:
        """End the threads."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class Search:
    """The addresses of a blind tunnel, once they are ``found``."""

    tunnel: BlindTunnel
    found: list[str] | Refusal | None = None


@dataclass
class MetrionTunnelHook(commands.StartHook):
    """Asks for the addresses of a blind tunnel. Only the stream that asks waits for the answer.

    mitmproxy makes the name of the addon's method from this one, so it must not be one of another script's; a hook has
    one field.
    """

    search: Search


class BlindLayer(layer.Layer):
    """Passes bytes between a client and a connected server. A side may end its sending before the other."""

    def __init__(self, context: Context, tunnel: BlindTunnel) -> None:
        super().__init__(context)
        self._tunnel = tunnel
        self._passed = {True: 0, False: 0}
        """Bytes from the client (``True``) and to it."""
        self._ended = set[bool]()

    def _handle_event(self, event: events.Event) -> Commands:
        match event:
            case events.Start():
                logger.debug("A blind tunnel to %s:%d is open.", self._tunnel.host, self._tunnel.port)
            case events.DataReceived(connection, data):
                from_client = connection is self.context.client
                self._passed[from_client] += len(data)
                yield commands.SendData(self._other(from_client=from_client), data)
            case events.ConnectionClosed(connection):
                yield from self._on_closed(from_client=connection is self.context.client)

    def _on_closed(self, *, from_client: bool) -> Commands:
        if from_client in self._ended:
            return
        self._ended.add(from_client)
        other = self._other(from_client=from_client)
        if len(self._ended) == 1 and _end_sending(self.context, other):
            return
        self._ended = {True, False}
        sent, received = self._passed[True], self._passed[False]
        logger.debug("A blind tunnel to %s is over: %d bytes out, %d in.", self._tunnel.host, sent, received)
        yield commands.CloseConnection(self.context.server)
        yield commands.CloseConnection(self.context.client)

    def _other(self, *, from_client: bool) -> Connection:
        return self.context.server if from_client else self.context.client


def open_tunnel(context: Context, tunnel: BlindTunnel) -> Generator[commands.Command, object, BlindLayer | Refusal]:
    """Connect to a host, at an address that was checked; return what passes its bytes."""
    search = Search(tunnel)
    yield MetrionTunnelHook(search)
    if not isinstance(search.found, list):
        return search.found or no_address(tunnel, "its address could not be checked")
    for address in search.found:
        if not context.client.connected:
            break
        context.server = Server(address=(address, tunnel.port))
        if (yield commands.OpenConnection(context.server)) is None:
            return BlindLayer(context, tunnel)
    return Refusal(UPSTREAM_UNREACHABLE, f"No tunnel to {tunnel.host}: no connection could be made.")


def _end_sending(context: Context, connection: Connection) -> bool:
    """End the sending on a connection that is still read from; return whether it can be done.

    mitmproxy's HTTP stream would close the connection, and what was still to come would be lost.
    """
    handler = connection_handler(context)
    stream = handler.transports.get(connection) if handler is not None else None
    writer = stream.writer if stream is not None else None
    if handler is None or not isinstance(writer, asyncio.StreamWriter) or not writer.can_write_eof():
        return False
    if connection.state is not ConnectionState.OPEN or writer.is_closing():
        return False
    try:
        handler.close_connection(connection, half_close=True)
    except Exception as error:  # noqa: BLE001 -- then the connection is closed instead
        log_fault(logger, "A connection could not be ended on one side", error)
        return False
    return True
