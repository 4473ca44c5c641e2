"""The alerter under real proxies."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from metrion.gateway import alerting
from metrion.gateway.alerting import Alerting
from metrion.settings import Settings
from tests.alerts.rules import Receiver, receiving
from tests.at_once import Begun, at_once
from tests.processes import Proxy, eventually, running_serve


def processes(word: str, home: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if word in command and str(home) in command:
            found.append(command)
    return found


def test_where_there_are_no_rules_nothing_is_started(tmp_path: Path) -> None:
    turns = Alerting(Settings(home=tmp_path))
    for _ in range(3):
        turns.tend()
    assert turns._process is None
    assert list(tmp_path.iterdir()) == []
    turns.end()


def test_a_fault_is_not_the_proxys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Settings) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(alerting, "has_rules", broken)
    Alerting(Settings(home=tmp_path)).tend()


def test_turns_that_fail_or_take_long_have_growing_pauses(tmp_path: Path) -> None:
    turns = Alerting(Settings(home=tmp_path))
    pauses = []
    for _ in range(12):
        turns._began_at = time.monotonic()
        turns._note_end(1)
        pauses.append(round(turns._pause))
    assert pauses[:4] == [40, 80, 160, 320]
    assert pauses[-1] == 600
    turns._began_at = time.monotonic() - 4
    turns._note_end(0)
    assert round(turns._pause) == 80


def await_a_message(receiver: Receiver, proxy: Proxy) -> None:
    """Have something to look at until it is told.

    A rule that is looked at within a second of the last row is not looked at again for minutes where nothing changes.
    A row changes the journal at once, and the store about a second later.
    """

    def is_told() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        connection.request("GET", "/openai/v1/models")
        assert connection.getresponse().status == 401
        connection.close()
        with suppress(AssertionError):
            eventually(lambda: receiver.bodies, timeout=30)
        return bool(receiver.bodies)

    eventually(is_told, timeout=180)


def two_workers_and_two_proxies(folder: Path) -> None:
    home = folder / "home"
    with receiving() as receiver, ExitStack() as proxies:
        first = proxies.enter_context(running_serve(home, {}, arguments=["--workers", "2"]))
        second = proxies.enter_context(running_serve(home, {}, arguments=["--workers", "2"]))
        assert processes("turn_process", home) == []
        added = ["alert", "add", "volume", "silence", "0.00001", "--webhook", receiver.url, "--allow-private"]
        first.metrion(*added)
        await_a_message(receiver, first)
        time.sleep(25)  # both proxies have had their turn since
        assert [message["kind"] for message in receiver.messages] == ["alert"]
        assert b"secret-path" not in first.log.read_bytes() + second.log.read_bytes()
        history = first.metrion("alert", "history", "--format", "csv")
        assert history.count("sent") == 1
        first.metrion("alert", "remove", "volume")
    assert processes("turn_process", home) == []


def a_webhook_that_hangs(folder: Path) -> None:
    home = folder / "home"
    with receiving(None) as receiver, running_serve(home, {}) as proxy:
        proxy.metrion("alert", "add", "q", "silence", "0.00001", "--webhook", receiver.url, "--allow-private")
        await_a_message(receiver, proxy)
        assert proxy.health()["status"]
        began = time.monotonic()
        assert proxy.stop() == 0
        assert time.monotonic() - began < 8
    assert processes("turn_process", home) == []


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """What waits for turns, of which there is one in twenty seconds."""
    scenarios = {"several": two_workers_and_two_proxies, "hanging": a_webhook_that_hangs}
    with at_once(scenarios, tmp_path_factory) as begun:
        yield begun


def test_two_workers_and_two_proxies_of_one_home_send_one_message(begun: Begun) -> None:
    begun["several"].result()


def test_the_end_of_the_proxy_does_not_wait_for_a_webhook_that_hangs(begun: Begun) -> None:
    begun["hanging"].result()
