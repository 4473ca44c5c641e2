"""The lines on standard error: their formats, and that nobody waits for a pipe that is not read."""

from __future__ import annotations

import json
import logging
import os
import sys
import time

import pytest

from metrion.logs import output
from metrion.logs.output import ACCESS, LineFormatter, LogFormat, Outlet
from tests.processes import eventually


def record(message: str, name: str = "metrion.notices", **extra: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, __file__, 1, message, (), None)
    made.__dict__.update(extra)
    return made


def test_text_is_a_time_a_level_and_the_message() -> None:
    line = LineFormatter(LogFormat.TEXT).format(record("openai cannot be reached."))
    assert line.split(" ", 2)[2] == "WARNING openai cannot be reached."
    time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")


def test_json_is_one_object() -> None:
    line = LineFormatter(LogFormat.JSON).format(record('a "quoted"\nmessage…', notice="refused"))
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["message"], found["notice"]) == ("warning", 'a "quoted"\nmessage…', "refused")
    assert found["logger"] == "metrion.notices"
    assert found["process"] == os.getpid()
    assert found["time"].endswith("Z")


def test_json_holds_an_exception() -> None:
    made = record("failed")
    try:
        int("why")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert "ValueError: invalid literal" in json.loads(LineFormatter(LogFormat.JSON).format(made))["exception"]


@pytest.mark.parametrize("format_", LogFormat)
def test_a_line_of_the_access_log_is_as_it_is(format_: LogFormat) -> None:
    assert LineFormatter(format_).format(record('{"status":200}', ACCESS)) == '{"status":200}'


def test_lines_come_whole_and_in_order() -> None:
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    outlet.setFormatter(logging.Formatter("%(message)s"))
    for number in range(1000):
        outlet.emit(record(str(number)))
    outlet.close()
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read().split() == [str(number) for number in range(1000)]


def test_nobody_waits_for_a_pipe_that_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_MOST_WAITING", 100)
    monkeypatch.setattr(output, "_CLOSE_SECONDS", 0.05)
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    outlet.setFormatter(logging.Formatter("%(message)s"))
    message = "x" * 1000
    began = time.thread_time()
    for _ in range(5000):  # 5 MB, of which a pipe takes 64 kB
        outlet.emit(record(message))
    assert time.thread_time() - began < 5
    read = b""

    def has_said_so() -> bool:
        nonlocal read
        read += os.read(reading, 1 << 16)
        return b"lines of the log were dropped" in read

    outlet.emit(record("at last"))
    eventually(has_said_so)
    assert all(line == message for line in read.decode().splitlines()[:50])
    outlet.close()
    os.close(writing)
    os.close(reading)


def test_a_pipe_that_is_closed_harms_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    outlet = Outlet(writing)
    outlet.setFormatter(logging.Formatter("%(message)s"))
    for _ in range(3):
        outlet.emit(record("to nobody"))
    outlet.close()
    os.close(writing)


def test_a_record_that_cannot_be_worded_is_counted_and_not_raised() -> None:
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    outlet.setFormatter(logging.Formatter("%(message)s"))
    outlet.emit(logging.LogRecord("metrion", logging.INFO, __file__, 1, "%d", ("no number",), None))
    outlet.emit(record("after"))
    outlet.close()
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    assert "after\n" in said
    assert "1 lines of the log were dropped" in said
