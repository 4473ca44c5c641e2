"""Several workers on one port: who serves, who replaces whom, and how all of them end. Real processes throughout."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metrion.gateway.ingestion import backlog
from metrion.simulator.delivery import Delivery
from tests.processes import METRION, Proxy, eventually, prepare_home, running_serve, upstreams
from tests.simulated import Simulator

ANSWER = b'{"id": "1", "model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}'
MANY = 64
"""Connections in which each worker gets one: that all of them go to one of two has a chance of 1 in 2^63."""


@contextlib.contextmanager
def serving(simulator: Simulator, folder: Path, *arguments: str, workers: int = 2) -> Iterator[Proxy]:
    config = upstreams(simulator) | {"plans": {"pro": {"requests_per_minute": 0, "timeout": 60}}}
    with running_serve(folder / "home", config, arguments=("--workers", str(workers), *arguments)) as proxy:
        yield proxy


@pytest.fixture
def answer(simulator: Simulator) -> str:
    return simulator.register_answer("answer", pieces=[ANSWER])


class Call:
    """A request on a connection of its own."""

    def __init__(self, proxy: Proxy, headers: dict[str, str], *, token: str | None = None) -> None:
        self.label = uuid.uuid4().hex
        self.connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        own = {"authorization": f"Bearer {token or proxy.token}", "x-metrion-user": self.label}
        self.connection.request("POST", "/openai/v1/chat/completions", b'{"model": "gpt-4o"}', headers | own)

    def status(self) -> int:
        """Read the response to its end."""
        response = self.connection.getresponse()
        response.read()
        self.connection.close()
        return response.status


def held_by_all(proxy: Proxy, headers: dict[str, str]) -> list[Call]:
    """Calls under way until every worker has one."""
    calls: list[Call] = []
    while len(calls) < MANY:
        calls.append(Call(proxy, headers))
        health = eventually(proxy.health, until=lambda health: health["in_flight"] == len(calls))
        if all(worker["in_flight"] for worker in health["workers"]):
            return calls
    raise AssertionError(f"{MANY} connections, and not all workers have one: {proxy.health()}")


def pids(proxy: Proxy) -> set[int]:
    return {worker["pid"] for worker in proxy.health()["workers"]}


def members(group: int) -> dict[int, str]:
    """The processes of a group, with their command lines."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found[int(stat.parent.name)] = stat.with_name("cmdline").read_text()
    return found


def ingesters(proxy: Proxy) -> set[int]:
    return {pid for pid, command in members(proxy.process.pid).items() if "metrion.store.ingester_process" in command}


def refuses(proxy: Proxy) -> bool:
    try:
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_all_workers_serve_on_one_port_and_health_tells_of_all(
    simulator: Simulator, answer: str, tmp_path: Path
) -> None:
    with serving(simulator, tmp_path) as proxy:
        calls = held_by_all(proxy, simulator.select(answer, Delivery(hold=0)))
        health = proxy.health()
        assert len(health["workers"]) == 2
        assert sum(worker["in_flight"] for worker in health["workers"]) == health["in_flight"] == len(calls)
        assert health["ingester"]["alive"]
        assert ingesters(proxy) == {health["ingester"]["pid"]}
        assert pids(proxy) < members(proxy.process.pid).keys()
        # Whichever worker is asked, and with 20 connections both are.
        assert all(proxy.health()["workers"] == health["workers"] for _ in range(20))
        simulator.release(len(calls))
        assert [call.status() for call in calls] == [200] * len(calls)
        assert len(proxy.events()) == len(calls)
        eventually(lambda: proxy.health()["in_flight"], until=lambda count: count == 0)


def test_worker_killed_under_load_is_replaced_and_no_event_is_missing(
    simulator: Simulator, answer: str, tmp_path: Path
) -> None:
    seen: list[str] = []
    failures: list[Exception] = []
    enough = threading.Event()

    def call_on(proxy: Proxy, headers: dict[str, str]) -> None:
        while not enough.is_set():
            try:
                call = Call(proxy, headers)
                if call.status() == 200:
                    seen.append(call.label)
            except (OSError, http.client.HTTPException) as error:
                failures.append(error)

    with serving(simulator, tmp_path) as proxy:
        headers = simulator.select(answer)
        threads = [threading.Thread(target=call_on, args=(proxy, headers)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            before = pids(proxy)
            count = len(seen)
            eventually(lambda count=count: len(seen) > count + 20)  # type: ignore[misc]  # bound, see above
            os.kill(max(before), signal.SIGKILL)
            eventually(lambda before=before: pids(proxy) - before)  # type: ignore[misc]
            eventually(lambda: len(pids(proxy)) == 2)
        count = len(seen)
        eventually(lambda: len(seen) > count + 20)
        enough.set()
        for thread in threads:
            thread.join()
        events = Counter(event["user_label"] for event in proxy.events())
        assert [label for label in seen if events[label] != 1] == []
        # Only what was under way in a killed worker may have failed: each client has one request at a time.
        assert len(failures) <= 2 * len(threads)
        assert len(ingesters(proxy)) == 1
        assert "killed by SIGKILL" in proxy.log.read_text()


def test_connection_that_waits_for_a_dead_worker_is_served_by_the_next(
    simulator: Simulator, answer: str, tmp_path: Path
) -> None:
    with serving(simulator, tmp_path, workers=1) as proxy:
        (worker,) = pids(proxy)
        os.kill(worker, signal.SIGSTOP)
        call = Call(proxy, simulator.select(answer))
        os.kill(worker, signal.SIGKILL)
        assert call.status() == 200
        assert pids(proxy) - {worker}


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_told_to_go_ends_what_it_has_while_another_takes_its_place(
    workers: int, simulator: Simulator, answer: str, tmp_path: Path
) -> None:
    with serving(simulator, tmp_path, workers=workers) as proxy:
        before = pids(proxy)
        calls = held_by_all(proxy, simulator.select(answer, Delivery(hold=0)))
        os.kill(min(before), signal.SIGTERM)
        eventually(lambda: len(pids(proxy)) == workers + 1)
        assert all(Call(proxy, simulator.select(answer)).status() == 200 for _ in range(8))
        simulator.release(len(calls))
        assert {call.status() for call in calls} == {200}
        eventually(lambda: pids(proxy) & before, until=lambda left: left == before - {min(before)})
        assert len(pids(proxy)) == workers
        assert "ended" not in proxy.log.read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_crash_loop_gives_up_and_says_why(workers: int, simulator: Simulator, tmp_path: Path) -> None:
    with serving(simulator, tmp_path, workers=workers) as proxy:
        group = proxy.process.pid
        spared = max(pids(proxy)) if workers == 2 else None

        def kill_workers() -> int | None:
            ingester = ingesters(proxy)
            for pid in members(group).keys() - {group, spared} - ingester:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return proxy.process.poll()

        assert eventually(kill_workers, until=lambda status: status is not None) == 1
        log = proxy.log.read_text()
        assert "Error: a worker ended 5 times in a row" in log
        assert "killed by SIGKILL" in log
        assert "Traceback" not in log
        eventually(lambda: not members(group))


@pytest.mark.parametrize("to_group", [False, True], ids=["supervisor", "whole group"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_at_all_workers_end_before_it_stops(
    signum: signal.Signals, to_group: Any, simulator: Simulator, answer: str, tmp_path: Path
) -> None:
    with serving(simulator, tmp_path) as proxy:
        calls = held_by_all(proxy, simulator.select(answer, Delivery(hold=0)))
        (os.killpg if to_group else os.kill)(proxy.process.pid, signum)
        eventually(lambda: refuses(proxy))
        assert proxy.process.poll() is None
        simulator.release(len(calls))
        assert {call.status() for call in calls} == {200}
        assert proxy.process.wait(20) == 0
        assert {event["end_reason"] for event in proxy.events()} == {"complete"}
        assert "ended" not in proxy.log.read_text()


@pytest.mark.parametrize("to_group", [False, True], ids=["supervisor", "whole group"])
def test_second_signal_ends_at_once(to_group: Any, simulator: Simulator, answer: str, tmp_path: Path) -> None:
    with serving(simulator, tmp_path) as proxy:
        calls = held_by_all(proxy, simulator.select(answer, Delivery(hold=0)))
        kill = os.killpg if to_group else os.kill
        kill(proxy.process.pid, signal.SIGINT)
        eventually(lambda: refuses(proxy))
        kill(proxy.process.pid, signal.SIGINT)
        assert proxy.process.wait(10) == 0
        assert len(proxy.events()) == len(calls)


def test_who_waits_for_the_end_finds_everything_ingested(simulator: Simulator, answer: str, tmp_path: Path) -> None:
    with serving(simulator, tmp_path) as proxy:
        assert Call(proxy, simulator.select(answer)).status() == 200
        assert proxy.stop() == 0
        assert not members(proxy.process.pid)
        assert backlog(proxy.home / "journal") == (0, 0, None)
        assert len(proxy.events()) == 1


def test_nothing_is_left_of_a_killed_supervisor(simulator: Simulator, answer: str, tmp_path: Path) -> None:
    with serving(simulator, tmp_path) as proxy:
        calls = held_by_all(proxy, simulator.select(answer, Delivery(hold=0)))
        os.kill(proxy.process.pid, signal.SIGKILL)
        eventually(lambda: not members(proxy.process.pid))
        assert refuses(proxy)
        # As after a second signal: what was in flight has its event.
        assert len(proxy.events()) == len(calls)
        for call in calls:
            call.connection.close()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("holder", ["serve_lane", "serve2"])
def test_port_of_another_serve_is_an_error(
    holder: str, workers: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    held: Proxy = request.getfixturevalue(holder)
    before = held.health()["workers"]
    command = [*METRION, "serve", "--port", str(held.port), "--workers", str(workers)]
    environment = prepare_home(tmp_path / "home")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{held.port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [worker["pid"] for worker in held.health()["workers"]] == [worker["pid"] for worker in before]


def test_two_that_start_at_once_do_not_share_a_port(serve2: Proxy, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    starts = [
        subprocess.Popen(
            [*METRION, "serve", "--port", str(port), "--workers", "2"],
            env=prepare_home(tmp_path / str(number)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for number in range(2)
    ]
    try:
        said = [process.stdout.readline() for process in starts if process.stdout]
        assert sorted("listens on" in line for line in said) == [False, True], said
        assert sorted("cannot listen" in line for line in said) == [False, True], said
    finally:
        for process in starts:
            process.terminate()
            process.communicate(timeout=20)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_listening_again_on_the_same_port_works_at_once(
    how: str, simulator: Simulator, answer: str, tmp_path: Path
) -> None:
    with serving(simulator, tmp_path) as first:
        assert Call(first, simulator.select(answer)).status() == 200
        assert first.stop() == 0 if how == "stopped" else first.kill() is None  # type: ignore[func-returns-value]
        with serving(simulator, tmp_path, "--port", str(first.port)) as second:
            assert second.port == first.port
            assert Call(second, simulator.select(answer)).status() == 200


def test_revoked_token_is_refused_by_all_workers(simulator: Simulator, answer: str, tmp_path: Path) -> None:
    with serving(simulator, tmp_path) as proxy:
        token = proxy.metrion("token", "create", "short-lived").strip()
        headers = simulator.select(answer)
        assert {Call(proxy, headers, token=token).status() for _ in range(20)} == {200}
        proxy.metrion("token", "revoke", "short-lived")
        assert {Call(proxy, headers, token=token).status() for _ in range(20)} == {401}


def test_strangers_have_sixty_events_a_minute_from_all_workers_together(simulator: Simulator, tmp_path: Path) -> None:
    with serving(simulator, tmp_path) as proxy:
        assert {Call(proxy, {}, token="sk-metrion-unknown").status() for _ in range(75)} == {401}
        assert len(proxy.events()) == 60
        assert proxy.health()["unrecorded_refusals"] == 15
        # What a worker has counted stays counted when it dies.
        for pid in pids(proxy):
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: pid not in pids(proxy) and len(pids(proxy)) == 2)  # type: ignore[misc]
        assert Call(proxy, {}, token="sk-metrion-unknown").status() == 401
        assert proxy.health()["unrecorded_refusals"] == 16
        assert len(proxy.events()) == 60


def test_backlog_of_the_journal_is_in_health(simulator: Simulator, answer: str, tmp_path: Path) -> None:
    with serving(simulator, tmp_path) as proxy:
        os.kill(proxy.health()["ingester"]["pid"], signal.SIGSTOP)
        assert Call(proxy, simulator.select(answer)).status() == 200
        waiting = eventually(lambda: proxy.health()["journal"], until=lambda journal: journal["segments"])
        assert waiting["bytes"] > 0
        os.kill(proxy.health()["ingester"]["pid"], signal.SIGCONT)
        eventually(lambda: proxy.health()["journal"], until=lambda journal: journal == {"segments": 0, "bytes": 0})


def test_help_says_what_workers_are_for() -> None:
    done = subprocess.run([*METRION, "serve", "--help"], capture_output=True, text=True, check=True)
    assert "--workers N" in done.stdout
    assert "core" in done.stdout


@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_impossible_number_of_workers_is_bad_usage(number: str) -> None:
    done = subprocess.run([*METRION, "serve", "--workers", number], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--workers" in done.stderr
