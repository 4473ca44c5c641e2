"""Serves the dashboard on a port, until a signal or the end of standard input stops it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable

import uvicorn

from metrion.errors import ServeError
from metrion.serving.tls import ServerTls
from metrion.settings import Settings
from metrion.web.app import create_app
from metrion.web.site import AskSql


def run(
    settings: Settings,
    ask_sql: AskSql,
    *,
    host: str,
    port: int,
    hosts: Iterable[str] = (),
    proxy_url: str = "",
    tls: ServerTls | None = None,
    on_listening: Callable[[str], None],
    lifeline: int | None = None,
) -> None:
    """Serve until stopped. ``on_listening`` is called with the address; ``lifeline`` ends it when it ends.

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
        raise ServeError(
            f"the dashboard cannot listen on {host}:{port}: {error.strerror}. Choose another --port."
        ) from error
    with listener:
        port = listener.getsockname()[1]
        named = [host] if host not in ("", "0.0.0.0", "::") else []  # noqa: S104 -- compared, not listened on
        app = create_app(settings, ask_sql, hosts=[*hosts, *named], port=port, proxy_url=proxy_url)
        config = uvicorn.Config(
            app,
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
