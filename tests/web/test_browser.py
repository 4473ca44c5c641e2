"""Every page in Chromium: light and dark, wide and narrow, with and without JavaScript."""

from __future__ import annotations

import gzip
import importlib.util
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from metrion import alerts
from metrion.control import ControlStore, Limits
from metrion.model import TokenRules
from metrion.settings import Settings
from tests.store.events import Home
from tests.web.conftest import answer_sql
from tests.web.serving import CHROMIUM, Running, served

if importlib.util.find_spec("playwright") is None:
    pytest.skip("playwright is not installed", allow_module_level=True)
if not CHROMIUM.exists():
    pytest.skip(f"there is no {CHROMIUM}", allow_module_level=True)

PAGES = (
    "/", "/?range=24h&by_tag=team", "/requests", "/sessions", "/latency", "/errors", "/cache", "/limits", "/alerts",
    "/sql", "/integrate", "/audit", "/settings", "/errors?range=all&tag=team%3Dweb&latency_from=1&status=nonsense",
    "/integrate?token=shown",
)  # fmt: skip
MORE = ("/requests/{event}", "/requests?session={session}&range=30d", "/alerts?rule=month", "/audit?what=alert")
"""What other pages lead to."""
ERRORS = ("/requests/0", "/nothing")
"""Pages that say that there is nothing."""
SCREENS = [(scheme, width) for width in (1440, 390) for scheme in ("light", "dark")]
_SERIOUS = ("serious", "critical")
_COLOURS = {"resultTypes": ["violations"], "runOnly": ["color-contrast", "link-in-text-block"]}
"""The rules whose answer depends on colours."""
_MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def running(shared_home: Settings) -> Iterator[Running]:
    terms = alerts.check_terms("spend", Decimal(500), "month", {"user": "ann"})
    alerts.add_rule(shared_home, "month", terms, [alerts.webhook("https://example.com/hook")])
    limits, rules = Limits(requests_per_minute=20), TokenRules(models=("claude-*", "gpt-5"))
    ControlStore.open(shared_home).create_token("shown", limits=limits, rules=rules)
    with served(shared_home, answer_sql) as dashboard:
        yield dashboard


@pytest.fixture(scope="module")
def more(shared_home: Settings) -> tuple[str, ...]:
    """The pages of one request, of one session, and the like."""
    ((event, session),) = Home(shared_home.home).values(
        "SELECT event_id, session_id FROM events WHERE session_id IS NOT NULL AND cost_source = 'computed' LIMIT 1"
    )
    return tuple(path.format(event=event, session=session) for path in MORE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def follow(page: Any, selector: str) -> None:
    """Click what leads to a page, and wait for that page: a click alone returns when the browser has heard of it."""
    with page.expect_navigation():
        page.click(selector)


def _elsewhere(url: str, running: Running) -> list[str]:
    return [] if url.startswith(running.url) else [f"left: {url}"]


def opened(browser: Any, running: Running, said: list[str], **options: Any) -> Any:
    """A page of a new browser; what it asks of others, and its console, goes into ``said``."""
    page = browser.new_context(**options).new_page()
    page.on("console", lambda message: said.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: said.extend(_elsewhere(request.url, running)))
    return page


def logged_in(browser: Any, running: Running, said: list[str], **options: Any) -> Any:
    """As :func:`opened`, and logged in."""
    page = opened(browser, running, said, **options)
    running.log_in(page)
    return page


def check(page: Any) -> None:
    """Hold the page that is open to axe and to the screen's width, on every screen.

    Only colours change with the scheme, so that the dark one is held to the rules on colours alone.
    """
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate(Axe().axe_script)
    for scheme, width in SCREENS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        where = f"{page.url}, {scheme}, {width}"
        too_wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert too_wide <= 0, f"{where} is {too_wide} pixels wider than the screen"
        rules = {"resultTypes": ["violations"]} if scheme == "light" else _COLOURS
        violations = page.evaluate("rules => axe.run(rules).then(found => found.violations)", rules)
        found = [each for each in violations if each["impact"] in _SERIOUS]
        assert not found, (where, [(each["id"], [node["html"] for node in each["nodes"][:3]]) for each in found])


def test_every_page_is_readable_and_quiet(browser: Any, running: Running, more: tuple[str, ...]) -> None:
    said: list[str] = []
    page = opened(browser, running, said)
    page.goto(f"{running.url}/login")
    check(page)
    running.log_in(page)
    for path in (*PAGES, *more):
        assert page.goto(running.url + path).status == 200, path
        check(page)
    page.goto(f"{running.url}/sql")
    page.fill("#query", "day,cost_usd")
    page.click("text=Bars")
    page.wait_for_selector("[role=status], #chart")
    check(page)
    assert said == []
    for path in ERRORS:
        assert page.goto(running.url + path).status == 404
        check(page)
    assert [each for each in said if "status of 404" not in each] == []  # which the browser says of any such page
    page.context.close()


def test_an_empty_store_is_readable_and_quiet(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    said: list[str] = []
    with served(Settings(home=tmp_path_factory.mktemp("empty") / "home"), answer_sql) as running:
        page = logged_in(browser, running, said)
        for path in ("/", "/requests", "/latency", "/limits", "/alerts", "/integrate", "/audit"):
            assert page.goto(running.url + path).status == 200, path
            check(page)
        page.context.close()
    assert said == []


def test_pages_work_without_javascript(browser: Any, running: Running, more: tuple[str, ...]) -> None:
    said: list[str] = []
    page = logged_in(browser, running, said, java_script_enabled=False)
    for path in (*PAGES, *more):
        answer = page.goto(running.url + path)
        assert answer.status == 200
        assert page.locator("h1").count() == 1
    page.goto(f"{running.url}/?range=30d")
    follow(page, "#top-provider tbody tr:first-child a")
    assert "provider=" in page.url
    assert "range=30d" in page.url
    follow(page, "text=Requests >> nth=0")
    assert "/requests" in page.url
    assert "provider=" in page.url
    follow(page, "a[rel=next]")
    follow(page, "#list tbody tr:first-child a[href^='/requests/']")
    assert page.locator("#parts, .empty").count() > 0
    page.goto(f"{running.url}/sql")
    page.fill("#query", "SELECT 42")
    follow(page, "button.main")
    assert "SELECT 42" in page.locator("table").inner_text()
    follow(page, "text=Bars")
    assert page.url.endswith("/sql?chart=bars")
    follow(page, "text=Log out")
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
    follow(page, "text=Make a token")
    assert "a whole number" in page.locator("#e-requests_per_minute").inner_text()
    assert page.locator("input[name=requests_per_minute]").get_attribute("aria-invalid") == "true"
    assert page.input_value("textarea[name=allowed_models]") == "claude-*\ngpt-5"
    page.fill("input[name=requests_per_minute]", "20")
    follow(page, "text=Make a token")
    assert page.locator("#secret").inner_text().startswith("sk-metrion-")
    follow(page, "a[aria-label='Change typed']")
    assert page.input_value("input[name=requests_per_minute]") == "20"
    page.fill("input[name=requests_per_minute]", "30")
    follow(page, "#token button.main")
    assert "is changed" in page.locator("[role=status]").inner_text()
    assert "30 requests a minute; claude-*, gpt-5" in page.locator("main").inner_text()
    page.goto(f"{running.url}/settings")
    page.fill("input[name=timezone]", "Asia/Kolkata")
    page.select_option("select[name=currency]", "CHF")
    follow(page, "text=Show so")
    page.goto(f"{running.url}/?range=30d")
    assert page.locator(".card-value").first.inner_text().startswith("CHF")
    assert "times in Asia/Kolkata" in page.locator("footer").inner_text()
    page.click("summary:has-text('Filters')")
    page.fill("input[name=tag]", "team=web")
    page.fill("input[name=cost_from]", "0.001")
    page.select_option("select[name=outcome]", "good")
    follow(page, "text=Show >> nth=-1")
    assert "tag=team%3Dweb" in page.url
    assert "at most 31 days" in page.locator("main").inner_text()
    follow(page, "nav >> text=Errors")
    assert page.locator(".chip").count() == 4
    follow(page, "[aria-label='Take the filter Outcome away']")
    assert page.locator(".chip").count() == 3
    assert [each for each in said if "status of 422" not in each] == []  # said of a mistake in a form
    page.context.close()


def test_pages_are_light(browser: Any, running: Running, more: tuple[str, ...]) -> None:
    """With whatever they load, which the other tests see come from here."""
    page = logged_in(browser, running, [])

    def got(path: str) -> bytes:
        body: bytes = page.request.get(running.url + path).body()
        return body

    for path in (*PAGES, *more):
        html = got(path)
        loads = set(re.findall(rb'(?:src|href)="(/static/[^"]+)"', html))
        assert len(loads) == 3, path
        weight = sum(len(gzip.compress(body)) for body in (html, *(got(each.decode()) for each in loads)))
        assert weight < _MOST_BYTES, path
    page.context.close()


def test_a_live_page_notices_that_its_log_in_has_ended(browser: Any, shared_home: Settings) -> None:
    with served(shared_home, answer_sql, admin="leaving") as running:
        page = logged_in(browser, running, [])
        page.goto(f"{running.url}/requests")
        page.check("#live")
        ControlStore.open(shared_home).revoke_admin("leaving")
        page.wait_for_url(f"{running.url}/login")
        page.context.close()


def test_the_browsers_clock_and_zone_change_nothing(browser: Any, running: Running) -> None:
    shown = []
    for year, zone in ((2001, "Pacific/Kiritimati"), (2040, "America/Los_Angeles")):
        page = opened(browser, running, [], timezone_id=zone)
        page.clock.install(time=datetime(year, 1, 1, tzinfo=UTC))
        running.log_in(page)
        page.goto(f"{running.url}/requests?range=30d&before=2100-01-01T00:00:00_00000000-0000-7000-8000-000000000000")
        shown.append(page.locator("#list tbody tr").first.inner_text())
        page.context.close()
    assert shown[0] == shown[1]


def test_the_keyboard_reaches_the_figures(browser: Any, running: Running) -> None:
    page = logged_in(browser, running, [])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.context.close()


def test_a_chart_says_what_is_under_the_pointer_and_leads_to_that_day(browser: Any, running: Running) -> None:
    page = logged_in(browser, running, [])
    page.hover("#spend .plot g:last-of-type .hit")
    assert "$" in page.locator(".tip").inner_text()
    with page.expect_navigation():
        page.click("#spend .plot g:last-of-type .hit")
    day = re.search(r"from=([0-9-]{10})&to=\1", page.url)
    assert day
    assert day[1] in page.locator(".span").inner_text()
    page.context.close()
