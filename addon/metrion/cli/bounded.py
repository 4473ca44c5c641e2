"""A query in a process of its own, within bounds of time and memory.

In: a job for :mod:`metrion.cli.sql_process`, and the bounds. Out: the answer's text, piece by piece. The process is
ended by force where it passes a bound, at Ctrl-C, and when the caller stops reading; what it had on disk is deleted.
Some of DuckDB's functions heed nothing else: they take no interrupt, and allocate beside its memory limit.

The time is that in which the query computes; while the text waits for whoever reads it, the clock stands still.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from metrion.errors import StoreError

_LOOK_SECONDS = 0.02
"""Between two looks at the memory of the process."""
_DUCKDB_SHARE = 0.7
"""The part of the memory that DuckDB may manage; the rest is for what it allocates beside, and for Python."""
_OVER_LIMIT = 3
"""What :data:`metrion.cli.sql_process.OVER_LIMIT` is; importing that would load DuckDB."""
_MOST_BYTES = 1 << 30


def usual_memory() -> int:
    """Return how much memory a query may use where nothing else is said: 1 GiB, at most half of the machine's."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError):  # the container's
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(_MOST_BYTES, min(sizes) // 2)


def answer(job: Mapping[str, str], seconds: float | None, memory_bytes: int) -> Generator[bytes]:
    """Give the text of the answer; ``seconds`` is ``None`` where time does not matter.

    :raises StoreError: there is no answer, or not within the bounds.
    """
    store_path = Path(job["store_path"])
    spill = store_path.with_name(f".sql-{os.getpid()}{secrets.token_hex(4)}")
    ours, theirs = os.pipe()
    with ExitStack() as cleanup:
        cleanup.callback(os.close, ours)
        cleanup.callback(shutil.rmtree, spill, ignore_errors=True)
        try:
            process = _start(theirs)
        finally:
            os.close(theirs)
        cleanup.callback(_end, process)
        limits = {"memory_bytes": int(memory_bytes * _DUCKDB_SHARE), "spill": str(spill)}
        if process.stdin is None or process.stderr is None:
            raise ValueError("started without its pipes")
        with suppress(BrokenPipeError):  # it says why on standard error
            process.stdin.write(json.dumps({**job, **limits}).encode() + b"\n")
            process.stdin.flush()
        yield from _read(process, ours, seconds, memory_bytes)
        reason = process.stderr.read().decode("utf-8", "replace").strip()
        if (status := process.wait()) == _OVER_LIMIT:
            raise _too_large(memory_bytes, reason)
        if status:
            raise StoreError(reason or f"the query's process ended with status {status}")


def _start(descriptor: int) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        # -P: a duckdb.py in the current directory must not be imported.
        [sys.executable, "-P", "-m", "metrion.cli.sql_process", str(descriptor)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(descriptor,),
        start_new_session=True,  # Ctrl-C is for this process
    )


def _read(
    process: subprocess.Popen[bytes], descriptor: int, seconds: float | None, memory_bytes: int
) -> Iterator[bytes]:
    waited = 0.0
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            began = time.monotonic()
            ready = selector.select(_LOOK_SECONDS)
            waited += time.monotonic() - began
            if seconds is not None and waited > seconds:
                raise StoreError(
                    f"the query was ended after {seconds:g} s. Ask for less, as with WHERE started_at > now() - "
                    "INTERVAL 1 DAY, or give it more time: `metrion sql --timeout SECONDS`."
                )
            if _resident_bytes(process.pid) > memory_bytes:
                raise _too_large(memory_bytes, "")
            if ready:
                text = os.read(descriptor, 65536)
                if not text:
                    return
                yield text


def _too_large(memory_bytes: int, reason: str) -> StoreError:
    return StoreError(
        f"the query needs more than {memory_bytes / 1e6:,.0f} MB of memory, or too much disk beside it, and was ended. "
        "Ask for less, or give it more: `metrion sql --memory 4GB`." + (f" DuckDB says: {reason}" if reason else "")
    )


def _resident_bytes(pid: int) -> int:
    """How much memory a process has. 0 where the system does not say: there, DuckDB's own limit is the only one."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
