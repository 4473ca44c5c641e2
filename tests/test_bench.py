"""The benchmark: it measures everything, ends by itself, and knows a broken promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from scripts.bench import Result, check
from tests.processes import ROOT


def test_everything_is_measured() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/bench.py", "--seconds", "1", "--json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["machine"]["cores"] > 0
    targets: dict[str, set[str]] = {}
    formats = {"openai_chat", "anthropic_messages"}  # and more where there are recordings
    for result in measured["results"]:
        targets.setdefault(result["measurement"], set()).add(result["target"])
        if sys.platform == "linux":
            assert result["value"] is not None, result
    proxies = {"serve", "mitmdump -s", "bare mitmdump"}
    assert targets.pop("tap, a chunk without usage, median") >= formats
    assert targets.pop("tap, any other chunk, median") >= formats
    assert targets == {
        "time to first byte, plain, median": {"direct"},
        "time to first byte, streamed, median": {"direct"},
        **{
            f"added time to first byte, {kind}, {figure}": proxies
            for kind in ("plain", "streamed")
            for figure in ("median", "p99")
        },
        "requests/s, 16 in flight": {"direct", *proxies},
        "CPU per request": proxies,
        "CPU per chunk, paced": proxies,
        "CPU per chunk, at once": proxies,
        "added time per chunk, at once": proxies,
        "memory grown in 200 requests": {"serve", "mitmdump -s"},
        "route, in process": {"metrion"},
        "admit, in process": {"metrion"},
        "limits, in process": {"metrion"},
        "journal append, in process": {"metrion"},
        "tap, memory held of 10 MB": {"embeddings, identity", "embeddings, gzip"},
    }
    assert {promise["binding"] for promise in measured["checks"]} == {True, False}


@pytest.mark.parametrize(
    ("added_ms", "tap_us", "share", "cost", "broken"),
    [
        (1.0, 2.0, 0.95, 0.7, []),
        (1.0, 2.0, 0.95, None, []),
        (3.0, 2.0, 0.95, 0.7, [True, True]),
        (1.0, 5.1, 0.95, 0.7, [True]),
        (1.0, 2.0, 0.8, 1.2, [False, False]),
    ],
    ids=["kept", "not measured", "slow", "slow to read", "only reported"],
)
def test_promise(added_ms: float, tap_us: float, share: float, cost: float | None, broken: list[bool]) -> None:
    results = [
        Result("added time to first byte, plain, median", "serve", added_ms, "ms", "direct"),
        Result("added time to first byte, streamed, median", "serve", added_ms, "ms", "direct"),
        Result("tap, a chunk without usage, median", "openai_chat", 1.0, "µs"),
        Result("tap, a chunk without usage, median", "gemini", tap_us, "µs"),
        Result("tap, memory held of 10 MB", "embeddings, gzip", 0.3, "MB"),
        Result("requests/s, 16 in flight", "mitmdump -s", share, "ratio", "bare mitmdump"),
        Result("CPU per request", "serve", cost, "ratio", "bare mitmdump"),
    ]
    assert [one.binding for one in check(results) if not one.kept] == broken


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--seconds", "soon"], ["--fast"]])
def test_bad_usage(arguments: list[str]) -> None:
    command = [sys.executable, "scripts/bench.py", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage: scripts/bench" in done.stderr
