"""Filters hold on every page: the figures of a view are those of SQL over ``events``, whichever way it is answered."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from starlette.testclient import TestClient

from metrion.control import ControlStore
from metrion.settings import Settings
from metrion.store.rollups import KEYS, TIMED
from metrion.web.narrowing import NARROWINGS
from tests.store.events import Home, event
from tests.web.conftest import admin

BLOCKS = {
    "overview": ("requests", "spend", "tokens", "top-model", "top-user", "top-provider", "top-token", "top-account",
                 "errors"),
    "latency": ("latency", "first_byte", "overhead", "models"),
    "errors": ("over-time", "kinds", "latest"),
    "cache": ("saved", "hit-rate", "by-model", "by-user"),
    "limits": ("providers",),
    "sessions": ("list",),
    "requests": ("list",),
}  # fmt: skip
_FAILED = KEYS["failed"][1]
EVERYTHING = "search=/v1/"
"""A filter that only rows answer, and that all of them meet."""


def rows_of(client: TestClient, page: str, block: str, query: str) -> list[dict[str, Any]]:
    answer = client.get(f"/data/{page}/{block}.json?{query}")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()
    return found


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("tag=team%3Dsearch", "tags['team'] = 'search'"),
        ("tag=env", "tags['env'] IS NOT NULL"),
        ("session=(none)", "session_id IS NULL"),
        ("client=claude-cli", "client = 'claude-cli'"),
        ("client=claude-cli&model=claude-sonnet-4-5&user=(none)",
         "client = 'claude-cli' AND model = 'claude-sonnet-4-5' AND user_label IS NULL"),
        ("cost_from=0.01&cost_to=0.05", "cost_usd BETWEEN 0.01 AND 0.05"),
        ("latency_from=2000", "latency_ms >= 2000"),
        ("latency_to=1500.5&provider=openai", "latency_ms <= 1500.5 AND provider = 'openai'"),
        ("search=generate", "path LIKE '%generate%'"),
        ("outcome=failed", _FAILED),
        ("outcome=good&tag=team%3Dweb", f"NOT {_FAILED} AND tags['team'] = 'web'"),
        ("status=429", "status = 429"),
        ("status=4xx&user=ann", "status BETWEEN 400 AND 499 AND user_label = 'ann'"),
        ("tag=team%3Dnobody", "false"),
    ],
)  # fmt: skip
def test_the_figures_of_a_view_are_those_of_its_rows(
    client: TestClient, shared_home: Settings, query: str, condition: str
) -> None:
    home = Home(shared_home.home)
    ((asked, failed, cost, tokens, saved),) = home.values(
        f"""SELECT count(*), count(*) FILTER ({_FAILED}), coalesce(sum(cost_usd) FILTER (billed), 0),
            coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0), coalesce(sum(cache_read_tokens), 0)
        FROM billing WHERE {condition}"""  # noqa: S608 -- all of it is written here
    )
    ((timed,),) = home.values(f"SELECT count(*) FROM billing WHERE {TIMED} AND {condition}")  # noqa: S608 -- as above
    view = f"range=all&{query}"

    def total(page: str, block: str, column: str) -> Any:
        return sum(Decimal(str(row[column] or 0)) for row in rows_of(client, page, block, view))

    assert total("overview", "requests", "good") == asked - failed
    assert total("overview", "requests", "failed") == total("errors", "kinds", "requests") == failed
    assert total("overview", "spend", "total") == total("overview", "top-model", "cost_usd") == cost
    assert total("overview", "tokens", "total") == tokens
    assert total("latency", "latency", "responses") == total("latency", "models", "responses") == timed
    assert total("cache", "by-user", "read") == total("cache", "by-model", "read") == saved
    listed = [row["event_id"] for row in rows_of(client, "requests", "list", view)]
    latest = home.values(
        f"SELECT event_id FROM events WHERE {condition} ORDER BY started_at DESC, event_id DESC LIMIT 50"  # noqa: S608 -- as above
    )
    assert listed == [str(each) for (each,) in latest]
    ((sessions,),) = home.values(f"SELECT count(DISTINCT session_id) FROM events WHERE {condition}")  # noqa: S608 -- as above
    assert len(rows_of(client, "sessions", "list", view)) == min(100, sessions)


@pytest.mark.parametrize("view", ["range=24h", "range=7d&by=user", "range=all&by=provider", "range=7d&provider=openai"])
def test_a_filter_that_all_rows_meet_changes_no_figure(client: TestClient, view: str) -> None:
    for page, blocks in BLOCKS.items():
        for block in blocks:
            without, filtered = (rows_of(client, page, block, query) for query in (view, f"{view}&{EVERYTHING}"))
            assert filtered == without, (page, block)
            assert without or "provider" in view or page in ("errors", "limits"), (page, block)
    figures = [
        re.findall(r'class="card-(?:label|value|detail)">(.*?)</p>', client.get(f"/?{query}").text)
        for query in (view, f"{view}&{EVERYTHING}")
    ]
    assert len(figures[0]) == 24
    assert figures[0] == figures[1]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, list[datetime]]:
    """A home with a request each day for 100 days, all of one session, in a zone where it is about noon."""
    now = datetime.now(UTC).replace(tzinfo=None)
    settings = Settings(home=tmp_path_factory.mktemp("old") / "home", timezone=f"Etc/GMT{now.hour - 12:+d}")
    ControlStore.open(settings).close()
    home = Home(settings.home)
    home.initialise()
    days = [now - timedelta(days=n, minutes=20) for n in range(100)]
    home.record(*(event(started_at=at, session_id="s", tags={"team": "web"}, cost_usd=Decimal(1)) for at in days))
    home.ingest()
    return settings, days


@pytest.mark.parametrize(("span", "asked"), [("90d", 90), ("all", 100)])
def test_rows_are_read_of_31_days_and_the_page_says_so(
    old: tuple[Settings, list[datetime]], span: str, asked: int
) -> None:
    client = admin(old[0])
    for page in ("", "errors", "cache", "sessions", "latency"):
        assert "of at most 31 days. The last 31" in client.get(f"/{page}?range={span}&session=s").text, page
        assert "31 days" not in client.get(f"/{page}?range=7d").text
    assert "of at most 31 days." in client.get("/?range=7d&session=s").text
    days = rows_of(client, "overview", "spend", f"range={span}&session=s")
    assert (len(days), sum(Decimal(day["total"]) for day in days)) == (31, 31)
    # What the sums answer has no such bound.
    days = rows_of(client, "overview", "spend", f"range={span}&status=2xx")
    assert sum(Decimal(day["total"]) for day in days) == asked


@pytest.mark.parametrize(("span", "compared"), [("7d", True), ("30d", False), ("90d", False)])
def test_the_period_before_is_read_where_both_fit(
    old: tuple[Settings, list[datetime]], span: str, compared: bool
) -> None:
    page = admin(old[0]).get(f"/?range={span}&tag=team%3Dweb").text
    assert ("±0 %" in page) == compared


def test_pages_of_single_requests_go_on_beyond_31_days(old: tuple[Settings, list[datetime]]) -> None:
    client = admin(old[0])
    seen: list[str] = []
    following: str | None = ""
    pages = 0
    while following is not None:
        page = client.get(f"/requests?range=all&session=s{following}").text
        seen += re.findall(r'href="/requests/([0-9a-f-]{36})"', page)
        found = re.search(r'href="[^"]*(before=[^"&]+)[^"]*" rel="next"', page)
        following = f"&{found[1]}" if found else None
        pages += 1
    assert (len(seen), len(set(seen))) == (100, 100)
    assert 4 <= pages <= 5


@pytest.mark.parametrize(
    "query",
    ["outcome=perhaps", "status=4x", "status=99", "status=٤٢٩", "cost_from=dear", "cost_to=-1", "cost_from=NaN",
     "latency_from=1e99", "latency_to=inf", "tag=%3Dx"],
)  # fmt: skip
def test_what_makes_no_sense_is_ignored_and_said(client: TestClient, query: str) -> None:
    page = client.get(f"/sessions?range=all&{query}")
    assert (page.status_code, "It is ignored." in page.text) == (200, True)
    assert rows_of(client, "sessions", "list", f"range=all&{query}") == rows_of(client, "sessions", "list", "range=all")


@pytest.mark.parametrize("value", ["x' OR 'a'='a", "\0", "$x_search", "\ud83d", "x" * 9000])
def test_hostile_values_match_nothing(client: TestClient, value: str) -> None:
    text = quote(value, errors="surrogatepass")
    query = "&".join(f"{name}={text}" for name in ("session", "client", "tag", "search"))
    for page in ("/", "/errors", "/latency", "/cache", "/limits", "/requests", "/sessions"):
        assert client.get(f"{page}?range=7d&{query}").status_code == 200, page
    assert rows_of(client, "sessions", "list", f"range=7d&session={text}") == []


def test_every_link_of_a_view_keeps_its_filters(client: TestClient) -> None:
    query = "range=7d&tag=team%3Dweb&cost_from=0.001&status=2xx&model=gpt-5"
    kept = ("tag=team%3Dweb", "cost_from=0.001", "status=2xx", "model=gpt-5")
    for path in ("/", "/requests", "/sessions", "/latency", "/errors", "/cache", "/limits"):
        page = client.get(f"{path}?{query}").text
        for name in NARROWINGS:
            assert f'name="{name}"' in page, (path, name)
        links = re.findall(r'href="([^"]+)"', page)
        views = ("/?", "/requests?", "/sessions?", "/latency?", "/errors?", "/cache?", "/limits?", "/data/")
        led = [link for link in links if link.startswith(views)]
        assert len(led) >= 7
        for link in led:
            assert all(each in link for each in kept), (path, link)
        assert re.search(r'aria-label="Take the filter Tag away"', page)
        (cleared,) = re.findall(r'href="([^"]*)" aria-label="Take the filter Tag away"', page)
        assert "tag=" not in cleared
        assert "cost_from=0.001" in cleared


def test_limits_are_chosen_by_their_names_and_stay_whole(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    control = ControlStore.open(settings)
    control.create_account("team", "pro")
    control.create_token("ci")
    control.create_token("batch", account="team")
    home = Home(settings.home)
    home.initialise()
    now = datetime.now(UTC).replace(tzinfo=None)
    home.record(*(event(started_at=now, token_name="ci", session_id=session) for session in ("a", "b")))
    client = admin(settings)

    def used(query: str) -> list[tuple[str, int]]:
        return [(row["token"], row["requests"]) for row in rows_of(client, "limits", "tokens", query)]

    assert used("") == [("ci", 2), ("batch", 0)]
    assert used("account=team") == [("batch", 0)]
    assert used("token=ci&session=a") == [("ci", 2)]
    assert "shown whole" in client.get("/limits?session=a").text


@pytest.mark.parametrize("period", ["", "range=1h", "range=90d", "from={day}&to={day}"])
def test_a_session_leads_to_its_requests(old: tuple[Settings, list[datetime]], period: str) -> None:
    settings, days = old
    client = admin(settings)
    day = f"{days[80].replace(tzinfo=UTC).astimezone(ZoneInfo(settings.timezone)):%Y-%m-%d}"
    page = client.get("/sessions?" + period.format(day=day)).text
    (link,) = set(re.findall(r'href="(/requests\?[^"]*session=s[^"]*)"', page))
    assert 'aria-label="Take the filter Session away"' in client.get(html.unescape(link)).text
    assert "/requests/019a" in client.get(html.unescape(link)).text


@pytest.mark.parametrize("more", ["", "&tag=env", "&provider=openai&by=user"])
def test_spend_and_tokens_are_stacked_by_a_tag(client: TestClient, shared_home: Settings, more: str) -> None:
    where = {"": "true", "&tag=env": "tags['env'] IS NOT NULL"}.get(more, "provider = 'openai'")
    spent = Home(shared_home.home).values(
        f"SELECT coalesce(tags['team'], '(none)'), sum(cost_usd) FROM billing WHERE billed AND {where} GROUP BY 1"  # noqa: S608 -- written above
    )
    query = f"range=all&by_tag=team{more}"
    rows = rows_of(client, "overview", "spend", query)
    teams = rows[0].keys() - {"time", "total"}
    assert {team: sum(Decimal(row[team] or 0) for row in rows) for team in teams} == dict(spent)
    listed = rows_of(client, "overview", "top-tag", query)
    assert {row["tag"]: Decimal(row["cost_usd"]) for row in listed} == dict(spent)
    saved = rows_of(client, "cache", "saved", query)
    assert saved[0].keys() == rows[0].keys()
    page = client.get(f"/?{query}").text
    assert "By the tag team" in page
    assert "at most 31 days" in page
    assert all("by_tag=team" in link for link in re.findall(r'href="(/requests\?[^"]*)"', page))
    assert "by_tag" not in re.findall(r'href="([^"]*)" aria-label="Stack by no tag"', page)[0]


@pytest.mark.parametrize("tag", ["nothing", "x' OR 'a'='a", "\0", "$x_search", "\ud83d", "<u>x", "x" * 9000])
def test_any_text_may_name_the_tag(client: TestClient, tag: str) -> None:
    query = f"range=7d&by_tag={quote(tag, errors='surrogatepass')}"
    page = client.get(f"/?{query}")
    assert (page.status_code, "<u>" in page.text) == (200, False)
    assert [row["tag"] for row in rows_of(client, "overview", "top-tag", query)] == ["(none)"]


def test_a_day_of_a_chart_leads_to_its_hours(client: TestClient) -> None:
    for path, shown in (("/?range=7d&account=default", 3), ("/latency?range=7d", 3), ("/cache?range=7d", 2)):
        links = re.findall(r'<td class="t"><a href="([^"]*)"><bdi>([0-9-]{10})</bdi>', client.get(path).text)
        assert len(links) == 7 * shown, path
        link, day = links[2]
        page = client.get(path.partition("?")[0] + html.unescape(link)).text
        assert f"<b>{day} to {day}</b>" in page
        assert f"<bdi>{day} 01:00</bdi>" in page
        assert ("account=default" in link) == ("account=default" in path)
    assert not re.search(r'<td class="t"><a href="[^"]*from=', client.get("/?range=24h").text)
