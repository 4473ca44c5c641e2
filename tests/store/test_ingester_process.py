from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from metrion import store
from metrion.errors import StoreError
from metrion.store import locks
from tests.at_once import Begun, at_once
from tests.store.events import Home, event, native


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.initialise()
    return home


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


@contextmanager
def spawning(home: Home) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def spawn() -> subprocess.Popen[bytes]:
        started.append(store.spawn_ingester(home.journal_dir, home.store_path))
        return started[-1]

    try:
        yield spawn
    finally:
        for process in started:
            kill(process)


@pytest.fixture
def spawn(home: Home) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    with spawning(home) as spawn:
        yield spawn


def test_it_makes_the_store_says_so_and_ingests_a_last_time(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    process = store.spawn_ingester(home.journal_dir, home.store_path)
    store.wait_until_ready(process, 30)
    assert home.store_path.exists()
    assert os.getpgid(process.pid) == os.getpgid(0)
    for name in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(name)
    home.record(event(), event())
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 0
    assert len(native(home)) == 2
    kill(process)


def test_it_ingests_and_says_nothing_where_its_parent_ended_before_it_was_ready(
    home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    home.record(event())
    process = store.spawn_ingester(home.journal_dir, home.store_path)
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    assert process.wait(30) == 0
    assert len(native(home)) == 1
    assert capfd.readouterr().err == ""


def test_a_second_one_waits_and_takes_over(home: Home, spawn: Callable[[], subprocess.Popen[bytes]]) -> None:
    first, second = spawn(), spawn()
    for process in (first, second):
        store.wait_until_ready(process, 30)
    kill(first)
    home.record(event())
    assert second.stdin is not None
    second.stdin.close()
    assert second.wait(30) == 0
    assert len(native(home)) == 1


def has_loaded_duckdb(process: subprocess.Popen[bytes]) -> bool:
    return "duckdb" in Path(f"/proc/{process.pid}/maps").read_text()


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def dozes_and_wakes(folder: Path) -> None:
    home = Home(folder)
    home.initialise()
    with spawning(home) as spawn:
        process = spawn()
        store.wait_until_ready(process, 30)
        for number in range(1, 3):
            wait_for(lambda: not has_loaded_duckdb(process))
            assert process.poll() is None
            home.record(event())
            wait_for(lambda: not home.segments)
            assert has_loaded_duckdb(process)
            assert len(native(home)) == number
        assert home.segments == []


def dozes_and_ingests_a_last_time(count: int, folder: Path) -> None:
    home = Home(folder)
    home.initialise()
    with spawning(home) as spawn:
        process = spawn()
        store.wait_until_ready(process, 30)
        wait_for(lambda: not has_loaded_duckdb(process))
        for name in (signal.SIGINT, signal.SIGTERM):
            process.send_signal(name)
        home.record(*[event() for _ in range(count)])
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
        assert len(native(home)) == count


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """What waits for an ingester to doze, or to wake, which takes ten seconds."""
    last_times = {f"a last time: {count}": partial(dozes_and_ingests_a_last_time, count) for count in (0, 2)}
    with at_once({"wakes": dozes_and_wakes, **last_times}, tmp_path_factory) as begun:
        yield begun


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_it_dozes_without_duckdb_and_wakes_for_what_waits(begun: Begun) -> None:
    begun["wakes"].result()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.parametrize("count", [0, 2])
def test_a_dozing_one_ingests_a_last_time(count: int, begun: Begun) -> None:
    begun[f"a last time: {count}"].result()


def test_it_ends_with_its_parent(home: Home) -> None:
    code = (
        "import sys, os; from pathlib import Path; from metrion import store;"
        "p = store.spawn_ingester(*map(Path, sys.argv[1:])); store.wait_until_ready(p, 30);"
        "print(p.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    home.record(event())
    addon = str(Path(store.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code, home.journal_dir, home.store_path],
        stdout=subprocess.PIPE,  # the ingester has a pipe of its own: this one ends with the parent
        env={"PYTHONPATH": addon},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while not native(home):
        assert time.monotonic() < deadline, "the ingester took nothing in"
    while time.monotonic() < deadline:
        with locks.alone(home.journal_dir / ".ingester.lock") as free:
            if free:
                return
    pytest.fail("the ingester outlives its parent")


def test_one_that_cannot_make_the_store_is_no_silent_wait(tmp_path: Path) -> None:
    (tmp_path / "usage.duckdb").write_bytes(b"no database" * 1000)
    process = store.spawn_ingester(tmp_path / "journal", tmp_path / "usage.duckdb")
    with pytest.raises(StoreError, match="ended before"):
        store.wait_until_ready(process, 30)
    kill(process)


def test_a_module_beside_the_caller_is_not_taken_for_duckdb(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch, spawn: Callable[[], subprocess.Popen[bytes]]
) -> None:
    (tmp_path / "duckdb.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    store.wait_until_ready(spawn(), 30)


def test_every_event_is_there_exactly_once_whoever_is_killed() -> None:
    script = Path(__file__).parents[2] / "scripts" / "crash-store"
    done = subprocess.run(
        [sys.executable, script, "1", "--seconds", "3"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "round 1" in done.stdout
