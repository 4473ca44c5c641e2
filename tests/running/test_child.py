from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import eventually

RUN = """if True:
    import os, sys
    from metrion.running.child import Child
    sys.exit(Child(sys.argv[1:], os.environ).wait())
"""
COUNTS = """if True:
    import signal, sys, time
    got = []
    def note(number, _):
        got.append(signal.Signals(number).name)
        print(*got, file=open(sys.argv[1], "w"), flush=True)
    for name in sys.argv[2].split(","):
        signal.signal(getattr(signal, name), note)
    open(sys.argv[1] + ".ready", "w").close()
    while len(got) < int(sys.argv[3]):
        time.sleep(0.02)
    time.sleep(0.3)
    sys.exit(7)
"""
"""Writes which signals it got, and ends a moment after so many: another one would be seen."""


def started(arguments: list[str], **how: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, *arguments], **how)  # type: ignore[call-overload,no-any-return]  # options of Popen's


def counting(file: Path, signals: str, most: int) -> list[str]:
    return [sys.executable, "-c", COUNTS, str(file), signals, str(most)]


def ready(file: Path) -> None:
    eventually(Path(f"{file}.ready").exists)


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9), ("exit 255", 255)],
)
def test_the_exit_status_is_the_commands(command: str, status: int) -> None:
    assert started(["sh", "-c", command]).wait(30) == status


def test_standard_streams_are_the_commands(tmp_path: Path) -> None:
    process = started(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.communicate(b"\x00\xff\n" * 1000, timeout=30) == (b"\x00\xff\n" * 1000, b"")


def test_a_reader_that_leaves_ends_the_command_as_ever() -> None:
    process = started(["sh", "-c", "yes; echo $? >&2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read().split()[-1] == b"141"
    process.wait(30)


@pytest.mark.parametrize("to", ["process", "group"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
def test_without_a_terminal_each_signal_comes_once(tmp_path: Path, name: str, to: str) -> None:
    file = tmp_path / "got"
    process = started(counting(file, name, 1), start_new_session=True)
    ready(file)
    number = getattr(signal, name)
    os.killpg(process.pid, number) if to == "group" else process.send_signal(number)
    assert process.wait(30) == 7
    assert file.read_text().split() == [name]


def test_a_ctrl_c_in_a_terminal_comes_once_and_a_signal_from_a_process_too(tmp_path: Path) -> None:
    file = tmp_path / "got"
    arguments = [sys.executable, "-c", RUN, *counting(file, "SIGINT,SIGQUIT,SIGTERM", 3)]
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, arguments)  # noqa: S606 -- the tests' own
    ready(file)
    os.write(terminal, b"\x03")
    eventually(lambda: file.exists() and file.read_text().split() == ["SIGINT"])
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: file.read_text().split() == ["SIGINT", "SIGTERM"])
    os.write(terminal, b"\x1c")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert file.read_text().split() == ["SIGINT", "SIGTERM", "SIGQUIT"]
    os.close(terminal)


def test_what_cannot_be_started_is_an_error() -> None:
    program = "from metrion.running.child import Child; Child(['/nowhere/at/all'], {})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "FileNotFoundError" in done.stderr
