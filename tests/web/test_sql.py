"""The SQL page: an answer as a table, as a chart, and as files, with the bounds of ``metrion sql``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from starlette.testclient import TestClient

from metrion.cli import bounded, sql_process
from metrion.cli.tables import as_table
from metrion.control import ControlStore
from metrion.settings import Settings
from metrion.web import create_app
from metrion.web.changes import EXAMPLES
from metrion.web.site import AskSql
from tests.pages import ROOT
from tests.store.events import Home
from tests.web.conftest import BASE, csrf_of, log_in
from tests.web.homes import filled


def opened(settings: Settings, ask: AskSql) -> TestClient:
    client = TestClient(create_app(settings, ask), base_url=BASE, follow_redirects=False)
    assert log_in(client, ControlStore.open(settings).create_admin().secret) == 303
    return client


def really(settings: Settings, seconds: float = 30) -> AskSql:
    """Ask as the dashboard does, in a process with bounds."""

    def ask(query: str, format_: str) -> Iterator[bytes]:
        job = {"journal_dir": str(settings.journal_dir), "store_path": str(settings.store_path)}
        return bounded.answer({**job, "query": query, "format": format_}, seconds, 512 << 20)

    return ask


def drawn(settings: Settings, answer: str, kind: str = "bars") -> str:
    """The page of an answer that is asked for as a chart."""
    client = opened(settings, lambda _query, _format: iter([answer.encode()]))
    csrf = csrf_of(client.get("/sql").text)
    answered = client.post(f"/sql?chart={kind}", data={"csrf": csrf, "query": "SELECT 1"})
    assert answered.status_code == 200
    assert " style=" not in answered.text
    return answered.text


SHOWN = re.findall(
    r"^### ([^\n]*)\n\n```sql\n(.*?)\n```\n\n```text\n(.*?)\n```",
    (ROOT / "docs" / "sql.md").read_text(),
    re.MULTILINE | re.DOTALL,
)
"""The everyday questions of the page: title, query, answer."""


def test_the_examples_are_those_of_the_page() -> None:
    assert {title: query for title, query, _ in SHOWN} | {"The columns of events": "DESCRIBE events"} == EXAMPLES


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The made-up team of the page, whose last weeks are the same whatever day it is."""
    return Home(filled(tmp_path_factory.mktemp("team") / "home", events=400).home)


@pytest.mark.parametrize(("title", "query", "shown"), SHOWN)
def test_the_page_shows_what_is_answered(team: Home, title: str, query: str, shown: str) -> None:
    answered = as_table(team.ask(query)).rstrip().splitlines()
    assert len(answered) > 2
    if title in ("Spend by day", "The last requests", "What sessions cost"):  # which the hour of the day divides
        assert answered[0].split() == shown.splitlines()[0].split()
    else:
        assert answered == shown.splitlines()


def test_an_answer_is_downloaded_as_parquet(shared_home: Settings, tmp_path: Path) -> None:
    client = opened(shared_home, really(shared_home))
    csrf = csrf_of(client.get("/sql").text)
    query = "SELECT provider, sum(cost_usd) AS cost_usd FROM events GROUP BY ALL ORDER BY ALL"
    answer = client.post("/sql", data={"csrf": csrf, "query": query, "as": "parquet"})
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert answer.headers["content-disposition"] == 'attachment; filename="query.parquet"'
    (tmp_path / "answer.parquet").write_bytes(answer.content)
    with duckdb.connect() as other:
        found = other.read_parquet(str(tmp_path / "answer.parquet")).fetchall()
    assert found == Home(shared_home.home).values(query)
    for query, words in (
        ("SELECT * FROM read_text('/etc/hostname')", "disabled"),
        ("DELETE FROM ingested", "type DELETE"),
        ("SELECT random() FROM range(3000000)", "larger than 8 MB"),
    ):
        answer = client.post("/sql", data={"csrf": csrf, "query": query, "as": "parquet"})
        assert (answer.status_code, words in answer.text) == (422, True), query
    assert not list(shared_home.home.glob(".sql-*"))


def test_a_file_of_an_answer_has_a_bound_on_disk(shared_home: Settings) -> None:
    ours, theirs = os.pipe()
    spill = shared_home.home / ".bounded-1"
    job = {
        "journal_dir": str(shared_home.journal_dir), "store_path": str(shared_home.store_path), "format": "parquet",
        "query": "SELECT random(), random() FROM range(1000000000)", "memory_bytes": 512 << 20, "spill": str(spill),
    }  # fmt: skip
    little_disk = """if True:
        from types import SimpleNamespace
        from metrion.cli import sql_process as it
        it.shutil.disk_usage = lambda _: SimpleNamespace(free=256 << 20)
        it.main()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", little_disk, str(theirs)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(theirs,),
    )
    os.close(theirs)
    assert process.stdin
    assert process.stderr
    process.stdin.write(json.dumps(job).encode() + b"\n")
    process.stdin.flush()
    with process, os.fdopen(ours, "rb") as answer:
        assert (answer.read(), process.wait()) == (b"", sql_process.OVER_LIMIT)
        assert b"File too large" in process.stderr.read()
    assert not list(spill.iterdir())
    shutil.rmtree(spill)


@pytest.mark.parametrize("kind", ["bars", "lines"])
@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("hour,cost_usd\n2026-11-01T10:00:00Z,1.5\n2026-11-01T11:00:00Z,\n", "11:00"),
        ("day,requests,failed\n2026-11-01,7,1\n2026-11-02,9,0\n", "Nov 02"),
        ("model,requests\ngpt-5,7\n<b>x</b>,9\n,1\n", "&lt;b&gt;x&lt;/b&gt;"),
        ("number,share\n1,0.25\n2,1e-3\n", "2"),
    ],
)
def test_an_answer_is_drawn(empty_home: Settings, kind: str, answer: str, label: str) -> None:
    page = drawn(empty_home, answer, kind)
    chart = re.search(r'<section class="block wide" id="chart".*?</section>', page, re.DOTALL)
    assert chart
    assert f"<i>{label}</i>" in chart[0]
    assert ('class="line l0"' if kind == "lines" else 'class="c0"') in chart[0]
    assert chart[0].count("<title>") == len(answer.splitlines()) - 1
    assert chart[0].count("<tr>") == len(answer.splitlines())
    assert "<b>x" not in page


def test_what_has_a_unit_has_it_at_its_axis(empty_home: Settings) -> None:
    axis = re.search(r'<div class="axis-y"[^>]*>(.*?)</div>', drawn(empty_home, "model,cost_usd\na,1.5\nb,0.1\n"))
    assert axis
    assert re.findall("<span>(.*?)</span>", axis[1]) == ["$1.50", "$0.75", "$0.00"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("requests\n7\n", "needs a first column"),
        ("a," + ",".join("bcdefghij") + "\n" + ",".join("1" * 10) + "\n", "needs a first column"),
        ("model,provider\ngpt-5,openai\n", "openai is no number"),
        ("model,requests\ngpt-5,-7\n", "below zero"),
        ("model,requests\ngpt-5,nan\n", "nan is no number"),
        ("model,requests\ngpt-5,1e99\n", "too large"),
        ("model,requests\ngpt-5,\n", "has no numbers"),
        ("model,requests\n", "no rows"),
    ],
)
def test_what_cannot_be_drawn_says_why_and_is_a_table(empty_home: Settings, answer: str, words: str) -> None:
    page = drawn(empty_home, answer)
    assert words in page
    assert 'id="chart"' not in page
    assert 'id="h-answer"' in page


def test_many_rows_are_drawn_up_to_a_bound(empty_home: Settings) -> None:
    page = drawn(empty_home, "n,value\n" + "".join(f"{n},{n}\n" for n in range(900)))
    assert page.count("<title>") == 401
    assert "The first 400 rows" in page
    assert len(page) < 400_000


def test_another_kind_of_chart_is_none(empty_home: Settings) -> None:
    page = drawn(empty_home, "model,requests\ngpt-5,7\n", "pie")
    assert 'id="chart"' not in page
    assert 'id="h-answer"' in page
