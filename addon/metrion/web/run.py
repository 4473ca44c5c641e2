"""Serves the dashboard or the API on a port, until a signal or the end of standard input stops it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence

import uvicorn
from starlette.types import ASGIApp

from metrion.errors import ServeError
from metrion.serving.tls import ServerTls

type MakeApp = Callable[[Sequence[str], int], ASGIApp]
"""Makes the application for the names and the port that it is reached by."""

ANOTHER_PORT = "Choose another --port."


def run(
    make: MakeApp,
    *,
    host: str,
    port: int,
    hosts: Iterable[str] = (),
    tls: ServerTls | None = None,
    on_listening: Callable[[str], None],
    lifeline: int | None = None,
    way_out: str = ANOTHER_PORT,
) -> None:
    """Serve until stopped. ``on_listening`` is called with the address; ``lifeline`` ends it when it ends.

    ``way_out``: what to do where the port is in use.

    :raises ServeError: the port cannot be taken.
    :raises ControlError: the control database cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServeError(f"cannot listen on {host}:{port}: {error.strerror}. {way_out}") from error
    with listener:
        port = listener.getsockname()[1]
        named = [host] if host not in ("", "0.0.0.0", "::") else []  # noqa: S104 -- compared, not listened on
        config = uvicorn.Config(
            make([*hosts, *named], port),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
            limit_concurrency=200,
        )
        config.load()
        config.ssl = tls.context if tls else None
        server = uvicorn.Server(config)
        if lifeline is not None:
            threading.Thread(target=_end_with, args=(lifeline, server), daemon=True).start()
        listener.listen(128)
        shown = f"[{host}]" if ":" in host else host
        on_listening(f"{'https' if tls else 'http'}://{shown}:{port}")
        server.run(sockets=[listener])


def _end_with(descriptor: int, server: uvicorn.Server) -> None:
    while os.read(descriptor, 4096):
        pass
    server.should_exit = True
