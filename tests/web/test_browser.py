"""Every page in Chromium: light and dark, wide and narrow, with and without JavaScript."""

from __future__ import annotations

import gzip
import importlib.util
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metrion.control import ControlStore, Limits
from metrion.model import TokenRules
from metrion.settings import Settings
from tests.web.conftest import answer_sql

CHROMIUM = Path("/usr/bin/chromium")
if importlib.util.find_spec("playwright") is None:
    pytest.skip("playwright is not installed", allow_module_level=True)
if not CHROMIUM.exists():
    pytest.skip(f"there is no {CHROMIUM}", allow_module_level=True)

PAGES = (
    "/", "/?range=24h&by=user", "/requests", "/sessions", "/latency", "/errors", "/cache", "/limits", "/alerts", "/sql",
    "/integrate", "/settings", "/errors?range=all&tag=team%3Dweb&latency_from=1&status=nonsense",
    "/integrate?token=shown",
)  # fmt: skip
SCREENS = [(scheme, width) for scheme in ("light", "dark") for width in (1440, 390)]
_SERIOUS = ("serious", "critical")
_MOST_BYTES = 150_000


@dataclass(frozen=True)
class Running:
    url: str
    token: str


@pytest.fixture(scope="module")
def running(shared_home: Settings) -> Iterator[Running]:
    import uvicorn

    from metrion.web import create_app

    control = ControlStore.open(shared_home)
    token = control.create_admin().secret
    control.create_token("shown", limits=Limits(requests_per_minute=20), rules=TokenRules(models=("claude-*", "gpt-5")))
    config = uvicorn.Config(create_app(shared_home, answer_sql), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", token)
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def _elsewhere(url: str, running: Running) -> list[str]:
    return [] if url.startswith(running.url) else [f"left: {url}"]


def logged_in(browser: Any, running: Running, said: list[str], **options: Any) -> Any:
    """A page of a new browser that is logged in; what it asks of others, and its console, goes into ``said``."""
    page = browser.new_context(**options).new_page()
    page.on("console", lambda message: said.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: said.extend(_elsewhere(request.url, running)))
    page.goto(running.url)
    page.fill("#token", running.token)
    page.click("button.main")
    page.wait_for_url(f"{running.url}/")
    return page


@pytest.mark.parametrize(("scheme", "width"), SCREENS)
def test_every_page_is_readable_and_quiet(
    browser: Any, running: Running, tmp_path: Path, scheme: str, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    said: list[str] = []
    page = logged_in(browser, running, said, color_scheme=scheme, viewport={"width": width, "height": 900})
    for number, path in enumerate(PAGES):
        page.goto(running.url + path)
        page.screenshot(path=tmp_path / f"{number:02}-{scheme}-{width}.png", full_page=True)
        too_wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert too_wide <= 0, f"{path} is {too_wide} pixels wider than the screen"
        found = [each for each in Axe().run(page).response["violations"] if each["impact"] in _SERIOUS]
        assert not found, (path, [(each["id"], [node["html"] for node in each["nodes"][:3]]) for each in found])
    assert said == []
    page.context.close()


def test_pages_work_without_javascript(browser: Any, running: Running) -> None:
    said: list[str] = []
    page = logged_in(browser, running, said, java_script_enabled=False)
    for path in PAGES:
        answer = page.goto(running.url + path)
        assert answer.status == 200
        assert page.locator("h1").count() == 1
    page.goto(f"{running.url}/?range=30d")
    page.click("#top-provider tbody tr:first-child a")
    assert "provider=" in page.url
    assert "range=30d" in page.url
    page.click("text=Requests >> nth=0")
    assert "/requests" in page.url
    assert "provider=" in page.url
    page.click("a[rel=next]")
    page.click("#list tbody tr:first-child a[href^='/requests/']")
    assert page.locator("#parts, .empty").count() > 0
    page.goto(f"{running.url}/sql")
    page.fill("#query", "SELECT 42")
    page.click("button.main")
    assert "SELECT 42" in page.locator("table").inner_text()
    page.click("text=Bars")
    assert page.url.endswith("/sql?chart=bars")
    page.click("text=Log out")
    assert page.url.endswith("/login")
    assert said == []
    page.context.close()


def test_forms_work_without_javascript(browser: Any, running: Running) -> None:
    said: list[str] = []
    page = logged_in(browser, running, said, java_script_enabled=False)
    page.goto(f"{running.url}/integrate")
    page.click("summary:has-text('Limits and rules')")
    page.fill("#token input[name=name]", "typed")
    page.fill("input[name=requests_per_minute]", "twenty")
    page.fill("textarea[name=allowed_models]", "claude-*\ngpt-5")
    page.click("text=Make a token")
    assert "a whole number" in page.locator("#e-requests_per_minute").inner_text()
    assert page.locator("input[name=requests_per_minute]").get_attribute("aria-invalid") == "true"
    assert page.input_value("textarea[name=allowed_models]") == "claude-*\ngpt-5"
    page.fill("input[name=requests_per_minute]", "20")
    page.click("text=Make a token")
    assert page.locator("#secret").inner_text().startswith("sk-metrion-")
    page.click("a[aria-label='Change typed']")
    assert page.input_value("input[name=requests_per_minute]") == "20"
    page.fill("input[name=requests_per_minute]", "30")
    page.click("#token button.main")
    assert "is changed" in page.locator("[role=status]").inner_text()
    assert "30 requests a minute; claude-*, gpt-5" in page.locator("main").inner_text()
    page.goto(f"{running.url}/settings")
    page.fill("input[name=timezone]", "Asia/Kolkata")
    page.select_option("select[name=currency]", "CHF")
    page.click("text=Show so")
    page.goto(f"{running.url}/?range=30d")
    assert page.locator(".card-value").first.inner_text().startswith("CHF")
    assert "times in Asia/Kolkata" in page.locator("footer").inner_text()
    page.click("summary:has-text('Filters')")
    page.fill("input[name=tag]", "team=web")
    page.fill("input[name=cost_from]", "0.001")
    page.select_option("select[name=outcome]", "good")
    page.click("text=Show >> nth=-1")
    assert "tag=team%3Dweb" in page.url
    assert "at most 31 days" in page.locator("main").inner_text()
    page.click("nav >> text=Errors")
    assert page.locator(".chip").count() == 4
    page.click("[aria-label='Take the filter Outcome away']")
    assert page.locator(".chip").count() == 3
    assert said == []
    page.context.close()


def test_pages_are_light(browser: Any, running: Running) -> None:
    said: list[str] = []
    page = logged_in(browser, running, said)
    weights: dict[str, int] = {}
    page.on("response", lambda answer: weights.update({answer.url: len(gzip.compress(answer.body()))}))
    for path in PAGES:
        weights.clear()
        page.goto(running.url + path)
        page.wait_for_load_state("networkidle")
        assert 0 < sum(weights.values()) < _MOST_BYTES, path
    page.context.close()


def test_the_keyboard_reaches_the_figures(browser: Any, running: Running) -> None:
    page = logged_in(browser, running, [])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.context.close()


def test_a_chart_says_what_is_under_the_pointer(browser: Any, running: Running) -> None:
    page = logged_in(browser, running, [])
    page.hover("#spend .plot g:last-of-type .hit")
    assert "$" in page.locator(".tip").inner_text()
    page.context.close()
