"""What pages say when something is wrong, or larger or later than usual."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from metrion.alerts import delivery
from metrion.alerts.sending import send
from metrion.control import ControlStore
from metrion.settings import Settings
from metrion.store import database, locks
from metrion.store.ingester import Ingester
from metrion.web import security
from metrion.web.security import SESSION_SECONDS, Sessions
from tests.alerts.rules import OK, answering, receiving, within
from tests.store.events import Home, event
from tests.web.conftest import admin, csrf_of
from tests.web.test_app import PAGES
from tests.web.test_sql import opened, really


def recently(**ago: float) -> datetime:
    return datetime.now(UTC).replace(tzinfo=None) - timedelta(**ago)


def test_a_store_that_is_brought_up_to_date_is_said_and_then_shown(
    empty_home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(empty_home.home)
    home.initialise()
    home.record(event(started_at=recently(hours=1), user_label="ann"))
    with database.opened(home.store_path) as connection:
        before = connection.execute("SELECT count(*) FROM duckdb_views() WHERE view_name = 'events'").fetchall()
    assert before == [(1,)]
    monkeypatch.setattr(database, "_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(database, "_is_up_to_date", lambda *_: False)  # as another version's store is
    client = admin(empty_home)
    with locks.writing(home.store_path, 1):
        answer = client.get("/")
    assert (answer.status_code, "is in use by another Metrion process; try again" in answer.text) == (503, True)
    monkeypatch.undo()
    assert client.get("/data/overview/top-user.json").json()[0]["user"] == "ann"


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("SELEKT 1", 422, "syntax error"),
        ("SELECT nothing FROM events", 422, "nothing"),
        ("", 422, ""),
        ("SELECT 1; SELECT 2", 422, "several statements"),
        ("SELECT '" + "x" * 120_000 + "'", 200, "1 row"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, 200, "1 row"),
        ("SELECT '" + "x" * 300_000 + "'", 400, "larger than 256 kB"),
        ("SELECT '\x00'", 422, ""),
        ("SELECT '🙂 \u202eעל' AS \"<b>\"", 200, "&lt;b&gt;"),
    ],
)
def test_sql_that_is_wrong_or_too_long(shared_home: Settings, query: str, status: int, words: str) -> None:
    client = opened(shared_home, really(shared_home))
    answer = client.post("/sql", data={"csrf": csrf_of(client.get("/sql").text), "query": query})
    assert (answer.status_code, words in answer.text) == (status, True), answer.text[-600:]
    assert len(answer.text) < 400_000
    assert "<b>" not in answer.text
    if status != 400:
        assert set(re.findall(r'<a href="(/[^"]*)', answer.text)) == set(PAGES), "the navigation"


def test_sql_that_runs_too_long_is_ended(shared_home: Settings) -> None:
    client = opened(shared_home, really(shared_home, seconds=0.5))
    query = "SELECT count(*) FROM range(10000000) a, range(10000000) b"
    answer = client.post("/sql", data={"csrf": csrf_of(client.get("/sql").text), "query": query})
    assert (answer.status_code, "was ended after 0.5 s" in answer.text, query in answer.text) == (422, True, True)
    assert client.get("/").status_code == 200
    assert not list(shared_home.home.glob(".sql-*"))


def test_a_hundred_thousand_users_are_a_head_and_a_rest(empty_home: Settings) -> None:
    home = Home(empty_home.home)
    home.initialise()
    home.record(event(started_at=recently(minutes=5), user_label="user-0"))
    (segment,) = (path for path in home.journal_dir.glob("*.ndjson") if path.stat().st_size)
    line, number = segment.read_text(), 100_000
    (identity,) = {part for part in line.split('"') if part.startswith("019a0000-")}
    segment.write_text(
        "".join(
            line.replace("user-0", f"user-{n}").replace(identity, f"{identity[:24]}{n:012x}").replace(
                '"seq":1', f'"seq":{n + 1}'
            )
            for n in range(number)
        )
    )  # fmt: skip
    home.ingest()
    client = admin(empty_home)
    rows = client.get("/data/overview/top-user.json").json()
    assert (len(rows), rows[-1]["user"]) == (9, "99,992 others")
    assert sum(row["requests"] for row in rows) == number
    for path in ("/?by=user", "/requests", "/cache", "/errors", "/latency?user=user-77777"):
        answer = client.get(path)
        assert (answer.status_code, len(answer.text) < 150_000) == (200, True), path


def test_a_log_in_that_has_lasted_long_enough_ends(empty_home: Settings) -> None:
    now = 0.0
    control = ControlStore.open(empty_home)
    sessions = Sessions(control, lambda: now)
    cookie = sessions.begin(control.create_admin().secret)
    assert sessions.find(cookie) is not None
    now = SESSION_SECONDS
    assert sessions.find(cookie) is None


def test_what_a_session_asks_after_its_end_leads_to_the_log_in(
    empty_home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "SESSION_SECONDS", 0.0)
    client = admin(empty_home)
    for answer in (
        client.get("/requests"),
        client.get("/data/requests/list.json"),
        client.get("/first-request?token=x"),
        client.post("/sql", data={"query": "SELECT 1"}),
        client.post("/integrate", data={"action": "token", "name": "late"}),
    ):
        assert (answer.status_code, answer.headers["location"], answer.text) == (303, "/login", "")
    assert ControlStore.open(empty_home).tokens() == ()


def test_what_another_hosts_clock_dates_into_the_future_breaks_nothing(empty_home: Settings) -> None:
    home = Home(empty_home.home)
    home.initialise()
    early, late = event(started_at=recently(days=40)), event(started_at=recently(days=-2), user_label="ahead")
    home.record(early, late)
    client = admin(empty_home)
    for path in (*PAGES, "/?range=1h", "/?range=all", f"/requests/{late.event_id}"):
        assert client.get(path).status_code == 200, path
    assert [row["user"] for row in client.get("/data/overview/top-user.json?range=all").json()] != ["ahead"]


# --- alerts that do not arrive ----------------------------------------------------------------------------------------


def tried(client: TestClient, url: str, **fields: str) -> tuple[int, str]:
    """Make a rule that sends there, and press its Test."""
    rule = {"action": "add", "name": "month", "measure": "spend", "limit": "500", "kind": "webhook", "url": url}
    rule |= fields
    for form in (rule, {"action": "test", "name": rule["name"]}):
        answer = client.post("/alerts", data={"csrf": csrf_of(client.get("/alerts").text), **form})
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (OK, 200, "The test was taken by"),
        (answering("500 No"), 422, "500"),
        (answering("302 Found", "location: http://169.254.169.254/"), 422, "redirect"),
        (b"nonsense", 422, "failed"),
        (None, 422, "no answer within"),
    ],
)
def test_a_webhook_that_hangs_or_does_not_take_it(
    empty_home: Settings, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, status: int, words: str
) -> None:
    monkeypatch.setattr(delivery, "send", functools.partial(send, seconds=0.5))
    with receiving(answer) as receiver:
        found = within(20, lambda: tried(admin(empty_home), receiver.url, allow_private="yes"))
    assert isinstance(found, tuple)
    assert (found[0], words in found[1]) == (status, True), found[1][:3000]


def test_a_webhook_into_a_private_network_is_refused(empty_home: Settings) -> None:
    client = admin(empty_home)
    for number, host in enumerate(("169.254.169.254", "127.0.0.1", "10.0.0.1", "192.168.1.1", "[::1]", "[fd00::1]")):
        status, page = tried(client, f"http://{host}/latest/meta-data", name=f"rule-{number}")
        assert (status, "an address that is not public" in page) == (422, True), (host, page[:3000])


# --- at the same time -------------------------------------------------------------------------------------------------


def test_two_dashboards_and_what_comes_in_meanwhile(empty_home: Settings) -> None:
    home = Home(empty_home.home)
    home.initialise()
    home.record(*(event(started_at=recently(minutes=n)) for n in range(50)))
    clients = [admin(empty_home), admin(empty_home)]

    def asked(number: int) -> int:
        return clients[number % 2].get(PAGES[number % 7]).status_code

    def came_in(_: int) -> int:
        home.record(*(event(started_at=recently(minutes=1)) for _ in range(20)))
        ingester = Ingester(home.journal_dir, home.store_path)
        if batch := ingester.load():
            ingester.commit(batch)  # or not, where it is read just now
        return 200

    works: list[Callable[[int], int]] = [asked, asked, asked, came_in]
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda n: works[n % 4](n), range(24))) == {200}
    assert home.values("SELECT count(*) FROM events") == [(50 + 6 * 20,)]
