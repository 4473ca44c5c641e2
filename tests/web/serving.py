"""A dashboard that really listens, for Chromium."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrion.control import ControlStore
from metrion.settings import Settings
from metrion.web.site import AskSql

CHROMIUM = Path("/usr/bin/chromium")


@dataclass(frozen=True)
class Running:
    """Where it listens, and a token that opens it."""

    url: str
    token: str

    def log_in(self, page: Any) -> None:
        page.goto(self.url)
        page.fill("#token", self.token)
        page.click("button.main")
        page.wait_for_url(f"{self.url}/")


@contextmanager
def served(settings: Settings, ask_sql: AskSql, admin: str | None = None) -> Iterator[Running]:
    """Serve the dashboard of a home from a thread. ``admin``: the name that is logged in."""
    import uvicorn

    from metrion.web import create_app

    token = ControlStore.open(settings).create_admin(admin).secret
    config = uvicorn.Config(create_app(settings, ask_sql), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", token)
    finally:
        server.should_exit = True
        thread.join(10)
