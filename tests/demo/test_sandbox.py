from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from metrion.demo import sandbox
from metrion.demo.sandbox import running_sandbox
from metrion.errors import DemoError


def test_a_failing_command_is_reported_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SIMULATED", ("nobody",))
    with (
        pytest.raises(DemoError, match=r"`metrion key set nobody` failed: Error: .*names no provider"),
        running_sandbox(print),
    ):
        pass


@pytest.mark.parametrize(
    ("program", "message"),
    [("import sys; sys.exit('the port is taken')", "the proxy did not start: the port is taken"), ("", "said nothing")],
)
def test_a_process_that_ends_at_once_is_reported(tmp_path: Path, program: str, message: str) -> None:
    with (
        pytest.raises(DemoError, match=message),
        sandbox._running(tmp_path, "proxy", [sys.executable, "-c", program]) as lines,
    ):
        list(lines)


def test_a_process_that_never_says_anything_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_START_SECONDS", 0.05)
    with (
        pytest.raises(DemoError, match="did not start"),
        sandbox._running(tmp_path, "proxy", [sys.executable, "-c", "import time; time.sleep(600)"]) as lines,
    ):
        list(lines)


def test_processes_that_have_started_run_as_long_as_the_calls_take(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = set[object]()

    class Patience:
        def __init__(self, *_: object) -> None:
            self.start, self.cancel = partial(waiting.add, self), partial(waiting.discard, self)

    monkeypatch.setattr(sandbox, "Timer", Patience)
    with running_sandbox(print):
        assert not waiting


def test_a_process_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_END_SECONDS", 0.05)
    stubborn = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    with sandbox._running(tmp_path, "proxy", [sys.executable, "-c", stubborn]) as lines:
        assert next(lines) == "1\n"
