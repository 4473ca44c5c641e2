"""``metrion serve`` where uvloop is installed: both roads run on its loop."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Proxy, Road, running_serve, upstreams
from tests.rawclient import connected
from tests.simulated import Simulator

CHAT = "/openai/v1/chat/completions"
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def uvloop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where uvloop is, and nothing else: no other test is to run on it."""
    folder = tmp_path_factory.mktemp("uvloop")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "uvloop==0.23.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("uvloop cannot be installed here (no package index, or no wheel)")
    return folder


@pytest.fixture(scope="module")
def fast(road: Road, uvloop: Path, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    environment = {**road, "PYTHONPATH": str(uvloop)}
    home = tmp_path_factory.mktemp("fast") / "home"
    with running_serve(home, upstreams(simulator), environment=environment) as proxy:
        yield proxy
        assert "Traceback" not in proxy.log.read_text()


def loaded(proxy: Proxy) -> bool:
    """Whether each worker has uvloop in its memory."""
    maps = [Path(f"/proc/{pid}/maps") for pid in proxy.workers()]
    return all("uvloop/loop" in each.read_text() for each in maps)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what a process has loaded is looked up in /proc")
def test_workers_run_on_it(fast: Proxy) -> None:
    assert loaded(fast)


@pytest.mark.parametrize("stream", [False, True])
def test_requests_are_answered_and_metered(stream: bool, fast: Proxy) -> None:
    label = f"fast-{stream}"
    connection = http.client.HTTPConnection("127.0.0.1", fast.port, timeout=20)
    headers = {"authorization": f"Bearer {fast.token}", "x-metrion-user": label, "content-type": "application/json"}
    asked = ASKED | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})
    connection.request("POST", CHAT, json.dumps(asked), headers)
    response = connection.getresponse()
    assert (response.status, response.read().endswith(b"data: [DONE]\n\n")) == (200, stream)
    connection.close()
    event = fast.event(label)
    assert (event["end_reason"], event["usage_source"]) == ("complete", "reported")


def test_a_connection_that_is_handed_over_is_served(fast: Proxy) -> None:
    """mitmproxy sets a factory of tasks that uvloop's own ``create_task`` cannot use on every Python."""
    with connected(fast.port) as client:
        client.send(b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
        assert client.read().status == 403


def test_it_ends_in_good_order(uvloop: Path, simulator: Simulator, tmp_path: Path) -> None:
    with running_serve(tmp_path / "home", upstreams(simulator), environment={"PYTHONPATH": str(uvloop)}) as proxy:
        assert proxy.health()["status"] == "ok"
        assert proxy.stop() == 0
