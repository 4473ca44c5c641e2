"""The benchmark: it measures everything, ends by itself, and knows a lost event and a broken promise."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from metrion import store
from scripts.benchmark import large_pages, large_proxy, large_store, metering
from scripts.benchmark.browser import PAGES
from scripts.benchmark.driver import Answer, Caller, Plan, drive
from scripts.benchmark.link import running_link
from scripts.benchmark.messages import StreamedAnswers, requests, tokens
from scripts.benchmark.promises import PROMISES, Promise, check
from scripts.benchmark.results import Extent, Result
from scripts.benchmark.system import BenchError
from scripts.benchmark.targets import DIRECT, Target
from scripts.benchmark.upstream import Tally, Upstream, running_upstream
from tests.processes import ROOT

PATH = "/v1/chat/completions"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run("__main__", *arguments)


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"scripts.benchmark.{module}", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with running_upstream(tmp_path_factory.mktemp("upstream") / "certificate") as running:
        yield running


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)  # a dozen programs are started, on however busy a machine
def test_everything_is_measured() -> None:
    done = bench("--seconds", "1", "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["machine"]["cores"] > 0
    targets: dict[str, set[str]] = defaultdict(set)
    for result in measured["results"]:
        targets[result["measurement"]].add(result["target"])
        if sys.platform == "linux":
            assert result["value"] is not None, result
    roads = {"serve", "serve, mitmproxy's road"}
    proxies = {*roads, "mitmdump -s", "bare mitmdump"}
    formats = {"openai_chat", "anthropic_messages"}  # and more where there are recordings
    assert targets.pop("tap, a chunk without usage, median") >= formats
    assert targets.pop("tap, any other chunk, median") >= formats
    serves = {*roads, "serve, metering off", "serve, 2 workers"}
    assert targets.pop("requests/s, 16 in flight") >= {"direct", *serves, *proxies}  # and others where there are any
    assert targets.pop("CPU per request") >= {*serves, *proxies}
    assert targets.pop("cores at work") >= {*serves, *proxies}
    assert targets == {
        **{f"time to first byte, {kind}, median": {"direct"} for kind in ("plain", "streamed")},
        **{
            f"added time to first byte, {kind}, {figure}": proxies
            for kind in ("plain", "streamed")
            for figure in ("median", "p99")
        },
        "CPU per stream of 202 chunks, in clear": proxies,
        "CPU per stream of 202 chunks, over TLS": {"serve", "bare mitmdump"},
        "streams of 202 chunks/s, in clear": proxies,
        "streams of 202 chunks/s, over TLS": {"serve", "bare mitmdump"},
        **{
            f"{streams}, {figure}": {"direct", "serve"}
            for streams in ("5 paced streams kept", "9 paced streams in a burst")
            for figure in ("stalls", "longest gap", "longest wait for the first byte")
        },
        "first call over 40 ms and TLS": {"direct", "serve, cold", "serve, warm"},
        "memory, idle": {"serve"},
        "memory grown": {"serve"},
        "memory under load": {"serve"},
        "memory with 9 streams open": {"serve"},
        "metering, CPU per request": {"now"},
        "metering, CPU per stream of 202 chunks": {"now"},
        **{
            f"metering, {step}": {"now"}
            for step in (
                "decide",
                "limits",
                "begin",
                "request body",
                "response head",
                "response body, event, journal",
            )
        },
        "metering with a budget, CPU per request": {"now"},
        "a budget, CPU added to a request": {"now"},
        "relay of one request, CPU": {"plain relay", "no policies", "retries", "concurrency", "cache, a hit"},
        "memory of mitmweb, at its most": {"mitmweb -s"},
        "flows that mitmweb keeps": {"mitmweb -s"},
        "tap, memory held of 10 MB": {"embeddings, identity", "embeddings, gzip"},
    }
    assert len(measured["checks"]) >= 10


@pytest.mark.parametrize(
    "arguments", [["--seconds", "0"], ["--seconds", "soon"], ["--fast"], ["--only"], ["--only", "everything"]]
)
def test_bad_usage(arguments: list[str]) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert "usage: scripts/bench" in done.stderr


def test_another_commit_is_measured_by_its_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are the same code here; what stands in a checkout's folder is what is run."""
    for name in ("addon", "pricing.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    asked = []

    def checked_out(commit: str) -> Any:
        asked.append(commit)
        return contextlib.nullcontext(tmp_path)

    monkeypatch.setattr(metering, "checked_out", checked_out)
    results = list(metering.measure(Extent(1), "v1"))
    assert asked == ["v1"]
    found = {(one.measurement, one.target, one.against): one.value for one in results}
    now, before, ratio = (
        found["metering, CPU per request", target, against]
        for target, against in (("now", ""), ("before", ""), ("now", "before"))
    )
    assert now is not None
    assert before is not None
    assert ratio == now / before


def test_a_commit_that_is_not_there_is_said() -> None:
    done = bench("--only", "metering", "--seconds", "1", "--against", "no-such-commit")
    assert done.returncode == 1
    assert "no-such-commit cannot be checked out" in done.stderr


@pytest.mark.parametrize(
    ("extent", "count", "long_count"),
    [
        (Extent(), 1000, 1000),
        (Extent(600), 1000, 1000),
        (Extent(12), 100, 100),
        (Extent(0.001), 4, 4),
        (Extent(full=True), 1000, 9000),
        (Extent(12, full=True), 1000, 9000),
    ],
)
def test_as_much_is_counted_as_there_is_time_for(extent: Extent, count: int, long_count: int) -> None:
    assert extent.count(1000) == count
    assert extent.count(1000, 9000) == long_count


@pytest.mark.timeout(300)
def test_pages_and_the_proxy_beside_them_are_measured_over_a_store(tmp_path: Path) -> None:
    """Over a small one here; its home is kept, and measured again as it is."""
    home = tmp_path / "home"
    asked = ("--home", str(home), "--events", "20000", "--rounds", "1", "--seconds", "1", "--json", "--only")
    measured = [json.loads(run("large_store", *asked, *only).stdout) for only in (["pages"], ["proxy"])]
    figures = {(name, target): value for each in measured for name, target, value, _ in each}
    assert sum(name == "first sums, CPU" for name, _ in figures) == 1
    assert {target for name, target in figures if name == "page, CPU"} == set(PAGES)
    assert figures["first view, CPU", "/"] > 0
    assert figures["dashboard, memory", "after every page"] <= large_pages.MOST_MEGABYTES
    assert figures[large_proxy.RATIO, "serve"] > 0
    assert any(name == "page beside a load, median" and not target.startswith("0 ") for name, target in figures)
    metered = store.ask(home / "journal", home / "usage.duckdb", "SELECT count(*) FROM events").rows
    sums = store.ask(home / "journal", home / "usage.duckdb", "SELECT sum(responses) FROM sums_by_day_and_model").rows
    assert metered[0][0] == sums[0][0] > 20_000


@pytest.mark.parametrize(
    ("measurement", "value", "is_broken"),
    [
        ("report, CPU", 2.9, False),
        ("report, CPU", 3.1, True),
        ("dashboard, memory", 401, True),
        (large_proxy.RATIO, 1.2, True),
        ("page, median", 1000, False),
    ],
)
def test_a_bound_of_a_large_store(measurement: str, value: float, is_broken: bool) -> None:
    assert bool(large_store.broken([Result(measurement, "any", value, "s")])) == is_broken


# --- promises ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "values", "kept"),
    [
        ({"at_least": 5}, [5.0], [True]),
        ({"at_least": 5}, [4.9], [False]),
        ({"at_least": 5}, [6.0, 4.9], [False]),
        ({"at_most": 0.5}, [0.5], [True]),
        ({"at_most": 0.5}, [0.4, 0.6], [False]),
        ({"at_most": 0.5}, [None], []),
        ({"at_most": 0.5}, [], []),
    ],
    ids=["at least", "too little", "worst is too little", "at most", "worst is too much", "unknown", "not measured"],
)
def test_promise(bounds: dict[str, float], values: list[float | None], kept: list[bool]) -> None:
    results = [Result("rate", f"format {number}", value, "ratio", "bare") for number, value in enumerate(values)]
    others = [Result("rate", "format 0", -1.0, "1/s"), Result("cost", "format 0", -1.0, "ratio", "bare")]
    promise = Promise("rate / bare", "rate", "", "bare", **bounds)
    assert [one.kept for one in check([*results, *others], [promise])] == kept


def test_every_promise_has_one_bound() -> None:
    assert all((promise.at_least is None) != (promise.at_most is None) for promise in PROMISES)


# --- driver, upstream and link ----------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "whole",
    [
        HEAD + b"Content-Length: 2\r\n\r\n{}",
        HEAD + b"content-length:0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["length", "empty", "chunked"],
)
def test_an_answer_is_whole_at_its_last_byte(whole: bytes) -> None:
    for cut in range(1, len(whole)):
        answer = Answer()
        assert not answer.feed(whole[:cut])
        assert answer.feed(whole[cut:])


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", "not answered: .*401"),
        (b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", "not answered"),
        (HEAD + b"server: x\r\n\r\n", "without an end"),
    ],
)
def test_any_other_answer_is_an_error(head: bytes, why: str) -> None:
    with pytest.raises(BenchError, match=why):
        Answer().feed(head)


def test_no_two_messages_are_alike(upstream: Upstream) -> None:
    sent = list(itertools.islice(requests(upstream.clear, PATH, {}, "alike", stream=False), 300))
    assert len(set(sent)) == 300
    assert len({request.partition(b"content-length: ")[2].partition(b"\r\n")[0] for request in sent}) > 10
    streams = StreamedAnswers()
    first, second = (list(streams.events(number)) for number in (1, 2))
    assert len(first) == 202 + 1
    assert first[-1] == b"data: [DONE]\n\n"
    assert json.loads(first[-2].removeprefix(b"data: "))["usage"]["prompt_tokens"] == tokens(1).input
    assert not set(first[:-1]) & set(second[:-1])


@pytest.mark.parametrize(("stream", "query"), [(False, ""), (True, ""), (True, "?chunks=10&pace=5")])
def test_what_is_handed_out_is_tallied(upstream: Upstream, stream: bool, query: str) -> None:
    name = f"tallied{stream}{query[1:5]}"
    sent = requests(upstream.clear, PATH + query, {}, name, stream=stream)
    assert drive(upstream.clear, sent, Plan(connections=3, count=30)).answered == 30
    tally = upstream.tally(name)
    assert tally.requests == 30
    assert min(tally.input, tally.cached, tally.output) >= 30


def test_who_hangs_up_is_handed_nothing(upstream: Upstream) -> None:
    sent = requests(upstream.clear, f"{PATH}?chunks=1000&pace=100", {}, "hung-up", stream=True)
    assert drive(upstream.clear, sent, Plan(connections=3, count=30, hang_up=True)).answered == 0
    opened = []
    drive(upstream.clear, sent, Plan(connections=20, count=20, all_open=lambda: opened.append(True)))
    assert opened == [True]
    assert upstream.tally("hung-up") == Tally(requests=50)


def test_a_stall_is_seen(upstream: Upstream) -> None:
    sent = requests(upstream.clear, f"{PATH}?chunks=5&pace=100", {}, "stall", stream=True)
    load = drive(upstream.clear, sent, Plan(connections=1, count=1, stall=0.05))
    assert load.stalls == 6  # four more chunks, the end of the events and the last HTTP chunk
    assert load.longest_gap > 0.05


class Rows:
    """A proxy that has written these sums of events."""

    def __init__(self, **sums: int) -> None:
        self._sums = sums

    def events(self, _query: str) -> list[dict[str, int]]:
        return [self._sums]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"requests": -1}, "the events are not what was handed out"),
        ({"output": 1}, "the events are not what was handed out"),
    ],
    ids=["whole", "one is missing", "one has a wrong figure"],
)
def test_events_are_held_to_what_was_handed_out(upstream: Upstream, change: dict[str, int], why: str | None) -> None:
    target = Target(f"rows {change}", upstream.clear)
    target.drive(Plan(connections=1, count=5))
    tally = upstream.tally(target.mark)
    rows = {name: figure + change.get(name, 0) for name, figure in asdict(tally).items()}
    target.metered = Rows(**rows)  # type: ignore[assignment]  # all that is asked of a proxy
    if why is None:
        target.check(upstream)
    else:
        with pytest.raises(BenchError, match=why):
            target.check(upstream, timeout=0)


def test_a_link_takes_its_time_and_can_be_cut(upstream: Upstream) -> None:
    with running_link(upstream.clear, 0.1) as link:
        sent = Target(DIRECT, link.port).requests()
        started = time.perf_counter()
        caller = Caller(link.port)
        caller.call(next(sent))
        assert time.perf_counter() - started >= 0.2  # to connect, and to be answered
        assert caller.call(next(sent))[0] >= 0.1
        link.cut()
        with pytest.raises((BenchError, ConnectionError)):
            caller.call(next(sent))
