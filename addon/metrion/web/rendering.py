"""Pages into HTML: values in, answers out. Everything is escaped; what is markup says so by its type."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import HTMLResponse

from metrion import __version__
from metrion.web import charts, formats
from metrion.web.blocks import Column
from metrion.web.filters import DIMENSIONS, NAMES, RANGES, Filters
from metrion.web.narrowing import NARROWINGS, NONE

NAVIGATION = (
    ("overview", "/", "Overview"),
    ("requests", "/requests", "Requests"),
    ("sessions", "/sessions", "Sessions"),
    ("latency", "/latency", "Latency"),
    ("errors", "/errors", "Errors"),
    ("cache", "/cache", "Cache"),
    ("limits", "/limits", "Limits"),
    ("alerts", "/alerts", "Alerts"),
    ("sql", "/sql", "SQL"),
    ("integrate", "/integrate", "Integrate"),
    ("audit", "/audit", "Audit"),
    ("settings", "/settings", "Settings"),
)
_SHORT = ("1h", "24h", "7d")
"""Ranges that a session may well be longer than."""


class Renderer:
    """Fills the templates of one dashboard."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {
            "navigation": NAVIGATION,
            "version": __version__,
            "ranges": RANGES,
            "dimensions": DIMENSIONS,
            "names": NAMES,
            "narrowings": NARROWINGS,
            "numbers": formats.NUMBERS,
            "share": charts.share,
            "cell": _cell,
            "link": _link,
        }

    def page(self, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        """Answer with a template."""
        return HTMLResponse(self._templates.get_template(template).render(**values), status)

    def login(self, request: Request, cookie: str, words: str = "", status: int = 200) -> HTMLResponse:
        """Answer with the log-in; its form's token is in a cookie too."""
        csrf = secrets.token_urlsafe(32)
        response = self.page("login.html", status, csrf=csrf, words=words)
        response.set_cookie(
            f"{cookie}-login", csrf, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return response

    def message(self, words: str, status: int) -> HTMLResponse:
        """Answer with a sentence."""
        return self.page("message.html", status, words=words, status=status)


@pass_context
def _cell(context: Context, value: Any, kind: str) -> str:
    """Write a value as the viewer whose page it is has chosen."""
    return formats.cell(value, kind, context["session"].display)


def _link(column: Column, value: Any, filters: Filters | None) -> str | None:
    """Return where a cell leads to."""
    if filters is None:
        return None
    if column.kind == "bucket":
        day = f"{value:%Y-%m-%d}"
        return filters.query(**{"from": day, "to": day}) if filters.has_single_days else None
    if not column.links:
        return None
    if column.links == "request":
        return f"/requests/{value}"
    if column.links == "session":
        longer = {} if filters.days or filters.range not in _SHORT else {"range": "30d"}
        return "/requests" + filters.query(session=str(value), **longer) if value else None
    if column.kind == "text" and isinstance(value, str) and value.endswith(" others") and value[0].isdigit():
        return None
    return filters.query(**{column.links: NONE if value is None else str(value), "before": None})
