"""What the pages of one dashboard share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from metrion.control import ControlStore
from metrion.settings import Settings
from metrion.web.currencies import Currency
from metrion.web.display import Display
from metrion.web.reader import Reader
from metrion.web.rendering import Renderer
from metrion.web.security import LoginLimit, Session, Sessions

AskSql = Callable[[str, str], Iterator[bytes]]
"""A query and a format (``csv``, ``parquet``) in; its answer out, piece by piece. Within bounds of its own."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages of one dashboard share."""

    settings: Settings
    control: ControlStore
    reader: Reader
    sessions: Sessions
    limit: LoginLimit
    render: Renderer
    ask_sql: AskSql
    proxy_url: str
    currencies: Mapping[str, Currency]
    """Those in which dollars can be shown, by their codes."""
    cookie: str
    """Its name: browsers share cookies between ports, so it has the port in it."""

    @property
    def usual(self) -> Display:
        """How figures are shown to those who chose nothing."""
        return Display(self.settings.timezone, self.currencies[self.settings.dashboard.currency])


type Handler = Callable[[Site, Request, Session], Awaitable[Response]]
