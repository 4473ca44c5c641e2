"""Makes the pictures of the dashboard in the docs: a month of a small team, on a day that is fixed, in Chromium.

python -m tests.web.pictures docs/pictures

Clock and chance are fixed, so the same pages give the same pictures. Each has in it the headings that its page had, by
which ``tests/web/test_pictures.py`` sees that a page has changed since.
"""

from __future__ import annotations

import random
import re
import sqlite3
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from starlette.testclient import TestClient

from metrion import alerts
from metrion.budgets.recount import recount
from metrion.cli import bounded
from metrion.control import ControlStore, acting
from metrion.control.alerts import AlertStore, now
from metrion.control.moments import text_of
from metrion.model import PICODOLLARS, Budget
from metrion.settings import Settings
from metrion.web import create_app
from tests.store.events import Home
from tests.web.homes import filled
from tests.web.serving import CHROMIUM, served

NOW = datetime(2026, 11, 26, 14, 40, tzinfo=UTC)
_EVENTS, _DAYS = 8000, 62
FEW = 1500
"""Events that are enough for the headings."""
_WIDTH = 1280
_HEADING = re.compile(r"<h[12][^>]*>(.*?)</h[12]>", re.DOTALL)
_KEYWORD = b"Headings"
_QUERY = """SELECT date_trunc('day', started_at) AS day,
       sum(cost_usd) FILTER (provider = 'anthropic') AS anthropic_usd,
       sum(cost_usd) FILTER (provider = 'openai') AS openai_usd,
       sum(cost_usd) FILTER (provider = 'google') AS google_usd
FROM billing
WHERE billed AND started_at >= TIMESTAMP '2026-11-01'
GROUP BY ALL
ORDER BY day"""
_ONE = """SELECT event_id FROM events
WHERE provider = 'anthropic' AND cost_source = 'computed' AND user_label IS NOT NULL AND cache_read_tokens > 0
    AND latency_ms > 6000 AND output_tokens BETWEEN 300 AND 900
ORDER BY started_at DESC LIMIT 1"""


_NAME_THE_HOME = """([made, usual]) => {
    const main = document.getElementById("main");
    if (main.innerHTML.includes(made)) main.innerHTML = main.innerHTML.replaceAll(made, usual);
}"""
"""Puts a home as it usually is in the place of the temporary one."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A page, and how much of it is shown. ``path``: ``{event}`` in it is the id of a request."""

    name: str
    path: str
    height: int = 900
    scheme: str = "light"
    query: str = ""
    """Typed into the page of SQL, and drawn."""

    @property
    def file(self) -> str:
        """Its name in ``docs/pictures``."""
        return f"dashboard-{self.name}.png"


PICTURES = (
    Picture("overview", "/?range=30d", 1130),
    Picture("overview-dark", "/?range=30d&by=user", 660, "dark"),
    Picture("requests", "/requests?range=7d&provider=anthropic", 640),
    Picture("request", "/requests/{event}", 900),
    Picture("sessions", "/sessions?range=7d", 560),
    Picture("latency", "/latency?range=7d", 1080),
    Picture("errors", "/errors?range=30d", 900),
    Picture("cache", "/cache?range=30d", 900),
    Picture("limits", "/limits?range=30d", 900),
    Picture("alerts", "/alerts", 800),
    Picture("sql", "/sql", 900, query=_QUERY),
    Picture("integrate", "/integrate", 900),
    Picture("audit", "/audit", 560),
    Picture("settings", "/settings", 560),
)


class _Clock(datetime):
    """A clock that goes only when it is set."""

    at = NOW

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]  # as it is used
        return cls.at.astimezone(tz) if tz else cls.at.replace(tzinfo=None)

    @classmethod
    def wait(cls) -> None:
        """Let a day and a bit pass."""
        cls.at += timedelta(hours=26, minutes=17, seconds=8)


@contextmanager
def _standing_still() -> Iterator[None]:
    with ExitStack() as stack:
        for module in ("web.reports", "control.moments", "control.alerts", "control.records", "control.tokens"):
            stack.enter_context(mock.patch(f"metrion.{module}.datetime", _Clock))
        standing = SimpleNamespace(time=NOW.timestamp, perf_counter=time.perf_counter)
        stack.enter_context(mock.patch("metrion.web.reports.time", standing))
        yield


def _furnished(path: Path, events: int) -> Settings:
    """Make the home: what was metered, and who may do what."""
    settings = filled(path, events, _DAYS, now=NOW)
    chance = random.Random(11)

    def secret(length: int) -> str:
        return "".join(chance.choices("abcdefghkmnpqrstuvwxyzABCDEFGHKLMNPQRSTUVWXYZ23456789", k=length))

    def secret_of_a_token(_: int) -> str:
        return secret(43)

    _Clock.at = NOW - timedelta(days=17)
    with acting("ann", "command line"), mock.patch("secrets.token_urlsafe", secret_of_a_token):
        control = ControlStore.open(settings)
        for provider, key in (("anthropic", f"sk-ant-api03-{secret(95)}"), ("openai", f"sk-proj-{secret(120)}"),
                              ("google", f"AIza{secret(35)}")):  # fmt: skip
            control.set_key(provider, key)
        for name in ("laptop", "ci", "backend"):
            _Clock.wait()
            control.create_token(name)
        control.create_account("research", "free")
        _Clock.wait()
        control.create_admin("eve", "read")
        for scope, name, usd, span in (("token", "ci", 60, "month"), ("account", "default", 250, "month"),
                                       ("user", "ann", 4, "day")):  # fmt: skip
            control.set_budget(Budget(0, scope, name, usd * PICODOLLARS, span))
        _Clock.wait()
        _warn(settings)
    _Clock.at = NOW
    made_at = text_of(NOW - timedelta(days=_DAYS))
    with closing(sqlite3.connect(settings.control_db)) as db:  # the first account has its time from elsewhere
        db.execute("UPDATE accounts SET created_at = ? WHERE name = 'default'", (made_at,))
        db.commit()
    recount(settings, control.budgets(), NOW.timestamp)
    return settings


def _warn(settings: Settings) -> None:
    """Make rules, and what they have sent."""
    store = AlertStore.open(settings)
    slack, hook = "https://hooks.slack.com/services/T0/B0/x", "https://example.com/hook"
    of_month, of_ci = "$68.12, 91 % of $75.00", "$2.31 a minute, 115 % of $2.00"
    rows: tuple[tuple[Any, ...], ...] = (
        ("month", "spend", "75", "month", {}, "slack", slack, of_month, 30, "warning"),
        ("runaway", "spend-rate", "2", "10m", {"token": "ci"}, "webhook", hook, of_ci, 8, "alert"),
        ("failures", "errors", "10", "15m", {}, "webhook", hook, None, 0, ""),
        ("slow", "latency", "20000", "1h", {"provider": "anthropic"}, "slack", slack, None, 0, ""),
    )  # fmt: skip
    for name, measure, limit, span, filters, kind, url, title, hours, said in rows:
        _Clock.wait()
        terms = alerts.check_terms(measure, Decimal(limit), span, filters)
        rule = store.create(name, terms, [alerts.webhook(url, kind)], now())
        if title is not None:
            at = NOW - timedelta(hours=hours)
            for record in store.fire(rule, said, at, f"Metrion {said}: {name}: {title}", "{}", at):
                store.delivered(record, at)


def _ask(settings: Settings) -> Any:
    job = {"journal_dir": str(settings.journal_dir), "store_path": str(settings.store_path)}
    return lambda query, format_: bounded.answer({**job, "query": query, "format": format_}, 30, 512 << 20)


def shown_headings(html: str) -> list[str]:
    """Return what the headings of a page say."""
    return [" ".join(unescape(re.sub(r"<[^>]+>", "", found)).split()) for found in _HEADING.findall(html)]


def headings() -> dict[str, list[str]]:
    """Return the headings of each picture's page as it is now, without a browser."""
    with tempfile.TemporaryDirectory() as folder, _standing_still():
        settings = _furnished(Path(folder) / "home", FEW)
        client = TestClient(create_app(settings, _ask(settings)), base_url="http://127.0.0.1:8090")
        csrf = _csrf(client.get("/login").text)
        client.post("/login", data={"csrf": csrf, "token": ControlStore.open(settings).create_admin().secret})
        found = {}
        for picture in PICTURES:
            path = picture.path.format(event=_event(settings))
            page = client.get(path).text
            if picture.query:
                page = client.post("/sql?chart=lines", data={"csrf": _csrf(page), "query": picture.query}).text
            found[picture.file] = shown_headings(page)
        return found


def _csrf(html: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', html)
    assert found
    return found[1]


def _event(settings: Settings) -> str:
    return str(Home(settings.home).values(_ONE)[0][0])


# --- the files --------------------------------------------------------------------------------------------------------


def marked(png: bytes, headings: list[str]) -> bytes:
    """Put headings into a picture, before its end."""
    text = _KEYWORD + b"\0\0\0\0\0" + "\n".join(headings).encode()  # of no language, not compressed
    chunk = struct.pack(">I", len(text)) + b"iTXt" + text + struct.pack(">I", zlib.crc32(b"iTXt" + text))
    end = png.rindex(b"IEND") - 4
    return png[:end] + chunk + png[end:]


def headings_in(png: bytes) -> list[str]:
    """Return the headings that were put into a picture."""
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"iTXt" and data.startswith(_KEYWORD + b"\0"):
            return data[len(_KEYWORD) + 5 :].decode().split("\n")
        at += 12 + length
    return []


def make(folder: Path, pictures: Iterable[Picture] = PICTURES, events: int = _EVENTS) -> None:
    """Make pictures in a folder."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as home, _standing_still(), ExitStack() as stack:
        settings = _furnished(Path(home) / "home", events)
        running = stack.enter_context(served(settings, _ask(settings), admin="ann"))
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": _WIDTH, "height": 1200})
        running.log_in(page)
        for picture in pictures:
            page.emulate_media(color_scheme="dark" if picture.scheme == "dark" else "light")
            page.goto(running.url + picture.path.format(event=_event(settings)))
            if picture.query:
                page.fill("#query", picture.query)
                page.click("text=Lines")
                page.wait_for_selector("#chart")
            page.evaluate(_NAME_THE_HOME, [str(settings.home), "/home/ann/.metrion"])
            bottom = page.evaluate("document.getElementById('main').getBoundingClientRect().bottom")
            height = min(picture.height, bottom)
            png = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": _WIDTH, "height": height})
            (folder / picture.file).write_bytes(marked(png, shown_headings(page.content())))
        browser.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
