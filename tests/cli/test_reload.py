"""``metrion reload``, and SIGHUP: what a running proxy takes, and what it keeps."""

from __future__ import annotations

import http.client
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from metrion.simulator.delivery import Delivery
from tests.processes import METRION, Proxy, eventually, prepare_home, running_serve, upstreams
from tests.simulated import Simulator

CHAT = "/openai/v1/chat/completions"


def asked(proxy: Proxy, path: str = "/other/v1/models", connection: http.client.HTTPConnection | None = None) -> int:
    connection = connection or http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    connection.request("GET", path, headers={"x-metrion-token": proxy.token, "authorization": "Bearer own-key"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def reloaded(proxy: Proxy) -> tuple[int, str]:
    done = subprocess.run(
        [*METRION, "reload"], env=proxy.environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def write(proxy: Proxy, config: dict[str, Any]) -> None:
    (proxy.home / "metrion.yaml").write_text(yaml.safe_dump(config))


def usual(simulator: Simulator) -> dict[str, Any]:
    return upstreams(simulator) | {"plans": {"pro": {"requests_per_minute": 0}}}


def with_other(simulator: Simulator, **more: Any) -> dict[str, Any]:
    """The usual configuration with one provider more: requests to it are answered, and get a 404 without it."""
    other = {"like": "openai", "upstream": simulator.upstream("openai")}
    return usual(simulator) | {"providers": upstreams(simulator)["providers"] | {"other": other}} | more


@pytest.fixture(scope="module")
def running(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    home = (
        tmp_path_factory.mktemp("a-folder-with-a-name-that-makes-the-path-of-a-socket-too-long-for-the-system") / "home"
    )
    with running_serve(home, usual(simulator), arguments=("--workers", "2")) as proxy:
        yield proxy


@pytest.fixture
def proxy(running: Proxy, simulator: Simulator) -> Iterator[Proxy]:
    yield running
    write(running, usual(simulator))
    assert reloaded(running)[0] == 0


def test_all_workers_take_a_new_configuration_and_no_connection_is_dropped(proxy: Proxy, simulator: Simulator) -> None:
    workers = proxy.workers()
    idle = [http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20) for _ in range(8)]
    assert {asked(proxy, connection=each) for each in idle} == {404}
    busy = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    body = json.dumps({"model": "gpt-4o", "messages": [], "stream": True})
    headers = {"authorization": f"Bearer {proxy.token}", **simulator.select(delivery=Delivery(hold=40))}
    busy.request("POST", CHAT, body, headers)
    response = busy.getresponse()
    first = response.read(40)
    sockets = [each.sock for each in idle]

    write(proxy, with_other(simulator))
    status, words = reloaded(proxy)

    assert (status, "In force now: providers." in words) == (0, True), words
    assert {asked(proxy, connection=each) for each in idle} == {200}
    assert [each.sock for each in idle] == sockets
    assert {asked(proxy) for _ in range(8)} == {200}
    simulator.release()
    assert (first + response.read()).endswith(b"data: [DONE]\n\n")
    assert proxy.workers() == workers


def test_prices_are_read_again(proxy: Proxy, simulator: Simulator) -> None:
    own = proxy.home / "own.yaml"

    def versions() -> str:
        label = os.urandom(8).hex()
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        headers = {"authorization": f"Bearer {proxy.token}", "x-metrion-user": label}
        connection.request("POST", CHAT, json.dumps({"model": "gpt-4o", "messages": []}), headers)
        connection.getresponse().read()
        version: str = proxy.event(label)["price_version"]
        return version

    own.write_text("openai: {gpt-4o: {input: 1, output: 1}}")
    write(proxy, usual(simulator) | {"pricing": ["pricing.yaml", "own.yaml"]})
    assert "pricing" in reloaded(proxy)[1]
    before = versions()
    own.write_text("openai: {gpt-4o: {input: 2, output: 2}}")
    assert "the content of price files" in reloaded(proxy)[1]
    assert versions() != before
    own.write_text("openai: {gpt-4o: {input: -2}}")
    status, words = reloaded(proxy)
    assert (status, "own.yaml, line 1" in words) == (1, True)


def test_budgets_and_the_guard_work_by_it_too(proxy: Proxy, simulator: Simulator) -> None:
    secret = proxy.metrion("token", "create", "bound", "--monthly-budget", "5").strip()

    def answered(model: str) -> tuple[int, str | None, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        try:
            body = json.dumps({"model": model, "messages": []})
            connection.request("POST", CHAT, body, {"authorization": f"Bearer {secret}"})
            response = connection.getresponse()
            response.read()
            left = response.getheader("x-metrion-budget-remaining")
            return response.status, response.getheader("x-metrion-error"), left
        finally:
            connection.close()

    assert [answered("model-1") for _ in range(4)] == [(403, "not_allowed", None)] * 4
    (proxy.home / "new.yaml").write_text("openai: {model-1: {input: 1, output: 1}}")
    more = {"pricing": ["pricing.yaml", "new.yaml"], "budgets": {"remaining_header": True}}
    write(proxy, usual(simulator) | more)
    assert "In force now: budgets, pricing." in reloaded(proxy)[1].replace("pricing, budgets", "budgets, pricing")
    answers = [answered("model-1") for _ in range(4)]
    assert {status for status, _, _ in answers} == {200}
    assert all(left is not None and Decimal(left) < 5 for _, _, left in answers)
    write(proxy, usual(simulator) | more | {"guard": {"identical_requests": 1}})
    assert "In force now: guard." in reloaded(proxy)[1]
    assert answered("model-1")[0] == 200
    assert answered("model-1")[:2] == (429, "rate_limited")


WRONG = {
    "no YAML": ("providers: [", "not valid YAML"),
    "an unknown key": ("lisen: 127.0.0.1:80", "lisen"),
    "no such price file": ("pricing: [nowhere.yaml]", "nowhere.yaml"),
    "no network": ("trusted_proxies: [10.0.0.1/8]", "trusted_proxies"),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_one_changes_nothing_and_says_why(proxy: Proxy, simulator: Simulator, how: str) -> None:
    write(proxy, with_other(simulator))
    assert reloaded(proxy)[0] == 0
    content, words = WRONG[how]
    (proxy.home / "metrion.yaml").write_text(content)
    status, said = reloaded(proxy)
    assert (status, words in said) == (1, True), said
    assert {asked(proxy) for _ in range(8)} == {200}
    assert "Traceback" not in said


def test_what_needs_a_restart_is_named(proxy: Proxy, simulator: Simulator) -> None:
    write(proxy, with_other(simulator, listen="127.0.0.1:9", store="elsewhere.duckdb", timezone="Asia/Tokyo"))
    status, words = reloaded(proxy)
    assert status == 0
    assert "listen, store, timezone: changed in the file" in words
    assert "restart" in words
    assert asked(proxy) == 200
    assert not (proxy.home / "elsewhere.duckdb").exists()


def test_a_worker_that_starts_later_has_it_too(proxy: Proxy, simulator: Simulator) -> None:
    write(proxy, with_other(simulator))
    assert reloaded(proxy)[0] == 0
    (proxy.home / "metrion.yaml").write_text("nonsense")
    before = proxy.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: _workers(proxy), until=lambda now: len(now) == 2 and not now & before)
    assert {asked(proxy) for _ in range(8)} == {200}


def _workers(proxy: Proxy) -> set[int]:
    try:
        return proxy.workers()
    except OSError:
        return set()


def test_a_worker_that_is_stuck_is_replaced(simulator: Simulator, tmp_path: Path) -> None:
    with running_serve(tmp_path / "home", usual(simulator), arguments=("--workers", "2")) as proxy:
        stuck = min(proxy.workers())
        os.kill(stuck, signal.SIGSTOP)
        write(proxy, with_other(simulator))
        status, words = reloaded(proxy)
        assert (status, "1 of 2 workers" in words) == (0, True), words
        os.kill(stuck, signal.SIGCONT)
        eventually(lambda: _workers(proxy), until=lambda now: len(now) == 2 and stuck not in now)
        assert {asked(proxy) for _ in range(8)} == {200}


def test_sighup_does_the_same_where_there_is_no_terminal(proxy: Proxy, simulator: Simulator) -> None:
    write(proxy, with_other(simulator))
    os.kill(proxy.process.pid, signal.SIGHUP)

    def statuses() -> set[int]:
        return {asked(proxy) for _ in range(16)}  # of both workers, which take it one after the other

    eventually(statuses, until=lambda found: found == {200})
    os.killpg(proxy.process.pid, signal.SIGHUP)  # one to all of its processes
    assert proxy.process.poll() is None
    assert statuses() == {200}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # it executes at once
def test_sighup_of_a_terminal_ends_the_proxy(tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home")
    program = f"import os; os.execvpe({sys.executable!r}, {[*METRION, 'serve', '--port', '0']!r}, {environment!r})"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])  # noqa: S606 -- the proxy, at a terminal
    shown = b""
    try:
        while b"The last requests" not in shown:
            shown += os.read(terminal, 65536)
        os.kill(pid, signal.SIGHUP)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGHUP
    finally:
        os.close(terminal)


def test_nobody_to_ask(tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home")
    folder = tmp_path / "home" / "proxies"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({str(folder / '1.sock')!r})"]
    ):
        pass
    done = subprocess.run(
        [*METRION, "reload"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, "no `metrion serve`" in done.stderr) == (1, True), done.stderr
    assert list(folder.iterdir()) == []  # what a killed proxy has left


def test_what_nobody_else_can_ask(proxy: Proxy) -> None:
    (socket,) = (proxy.home / "proxies").glob("*.sock")
    assert (socket.stat().st_mode & 0o777, socket.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert re.fullmatch(r"\d+\.sock", socket.name)
