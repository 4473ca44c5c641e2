"""Where the log of ``serve`` goes: standard error, as text or as JSON, one line a record.

In: records of :mod:`logging`. Out: lines. A process that carries traffic writes them from a thread: whoever logs never
waits for a terminal or a pipe that nobody reads; what finds no room is counted, and said once there is room. Never: a
line that is not whole.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import NamedTuple

ACCESS = "metrion.access"
"""The logger of the access log: its messages are whole lines of JSON."""
FORMAT = "METRION_LOG_FORMAT"
"""The environment variable by which ``serve`` gives the format of its log to the ingester."""
_MOST_WAITING = 10_000
"""Lines that wait to be written; what comes then is dropped."""
_MOST_TOGETHER = 100
_CLOSE_SECONDS = 1.0
_STDERR = 2


LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class LogFormat(StrEnum):
    """How records are written."""

    TEXT = "text"
    JSON = "json"


class LogOptions(NamedTuple):
    """What the operator wants to read."""

    level: str = "info"
    """A key of :data:`LEVELS`."""
    format: LogFormat = LogFormat.TEXT
    access: bool = False
    """Whether each request has a line."""


class LineFormatter(logging.Formatter):
    """Writes a record as one line. The access log's are lines already."""

    def __init__(self, format_: LogFormat) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._format = format_

    def format(self, record: logging.LogRecord) -> str:
        """Override."""
        if record.name == ACCESS:
            return record.getMessage()
        if self._format is LogFormat.TEXT:
            return super().format(record)
        created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{created}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
            "process": record.process,
        }
        if (notice := getattr(record, "notice", None)) is not None:
            fields["notice"] = notice
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


class Outlet(logging.Handler):
    """Writes from a thread of its own. ``descriptor``: where to."""

    def __init__(self, descriptor: int = _STDERR) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Override: never waits, never raises."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 -- a record that cannot be worded must not reach whoever logs
            self._dropped += 1
            return
        if self._lines.qsize() >= _MOST_WAITING:
            self._dropped += 1
        else:
            self._lines.put(line)

    def close(self) -> None:
        """Write what waits, as far as that goes within a second."""
        if self._thread.is_alive():
            self._lines.put(None)
            self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            lines = [self._lines.get()]
            try:
                while len(lines) < _MOST_TOGETHER:
                    lines.append(self._lines.get_nowait())
            except Empty:
                pass
            is_over = None in lines
            whole = [line for line in lines if line is not None]
            if dropped := self._dropped:
                self._dropped -= dropped
                text = f"{dropped} lines of the log were dropped: they came faster than they were read."
                record = logging.LogRecord("metrion.logs", logging.WARNING, __file__, 0, text, (), None)
                whole.append(self.format(record))
            self._write("".join(f"{line}\n" for line in whole).encode("utf-8", "replace"))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            pass  # nobody reads any more, or the disk is full: the traffic goes on


def configure(wanted: LogOptions) -> None:
    """Set up the log of a process that carries no traffic."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(wanted.format))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("metrion").setLevel(LEVELS[wanted.level])
    logging.getLogger(ACCESS).setLevel(logging.INFO)


def write_from_thread() -> Outlet:
    """Let the log of this process, which :func:`configure` has set up, be written by a thread; close it at the end."""
    root = logging.getLogger()
    outlet = Outlet()
    outlet.setFormatter(root.handlers[0].formatter)
    root.handlers[:] = [outlet]
    return outlet


def configure_ingester() -> None:
    """Set up the log of the ingester: as ``serve`` says, else as text."""
    if os.environ.get(FORMAT) == LogFormat.JSON:
        configure(LogOptions(format=LogFormat.JSON))
    else:
        logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
