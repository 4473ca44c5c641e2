"""A disk that takes no more: traffic goes on, and what is lost in the end is counted and said."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from metrion import store
from tests.processes import Proxy, eventually, running_serve, upstreams
from tests.simulated import Simulator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits another process's files")


def set_room(proxy: Proxy, room: int) -> None:
    """Let the workers write files of at most so many bytes."""
    for pid in proxy.workers():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))


def call(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "Hi"}]})
    connection.request("POST", "/openai/v1/chat/completions", body, {"authorization": f"Bearer {proxy.token}"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    connection.close()


def config(simulator: Simulator) -> dict[str, object]:
    return {**upstreams(simulator), "plans": {"pro": {"requests_per_minute": 0}}}  # counters are files too


def metered(proxy: Proxy) -> int:
    ((count,),) = store.ask(proxy.home / "journal", proxy.home / "usage.duckdb", "SELECT count(*) FROM events").rows
    return int(count)


@pytest.mark.parametrize("workers", [1, 2])
def test_events_still_in_memory_at_the_end_are_counted_and_said(
    simulator: Simulator, tmp_path: Path, workers: int
) -> None:
    with running_serve(tmp_path / "home", config(simulator), arguments=("--workers", str(workers))) as proxy:
        call(proxy)
        set_room(proxy, 0)
        for _ in range(6):
            call(proxy)
        assert proxy.health()["lost_events"] == 0  # nothing is lost yet
        assert proxy.stop() == 1
        last = proxy.log.read_text().splitlines()[-1]
        assert "6 events are lost" in last
        assert last.startswith("Error: ")
        assert metered(proxy) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_with_room_again_before_the_end_loses_nothing(
    simulator: Simulator, tmp_path: Path, workers: int
) -> None:
    with running_serve(tmp_path / "home", config(simulator), arguments=("--workers", str(workers))) as proxy:
        set_room(proxy, 0)
        for _ in range(6):
            call(proxy)
        set_room(proxy, resource.RLIM_INFINITY)
        assert proxy.stop() == 0
        assert metered(proxy) == 6
        assert "lost" not in proxy.log.read_text()


def test_a_worker_that_is_killed_takes_what_it_had_in_memory_and_it_is_counted(
    simulator: Simulator, tmp_path: Path
) -> None:
    with running_serve(tmp_path / "home", config(simulator)) as proxy:
        set_room(proxy, 0)
        for _ in range(3):
            call(proxy)
        (worker,) = proxy.workers()
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: proxy.workers() not in ({worker}, set()))
        assert proxy.health()["lost_events"] == 3
        assert proxy.stop() == 1
        assert "3 events are lost" in proxy.log.read_text().splitlines()[-1]
