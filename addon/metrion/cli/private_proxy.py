"""The proxy of one ``metrion run``: started where none of the home runs, and ended with the run, however that ends.

:func:`private_proxy` starts this module as a program, and gives its address. It is as ``metrion serve`` on a free port
of this machine's, but nobody else is shown it, so nobody is left without it when it ends.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from metrion.errors import ServeError

_START_SECONDS = 30.0
_DRAIN_SECONDS = 5.0
_END_SECONDS = 30.0
"""More than it takes to drain and to ingest what is left."""


@contextmanager
def private_proxy(config: Path | None) -> Iterator[str]:
    """Run a proxy for the length of the block and give its URL. ``config``: that of ``--config``.

    :raises ServeError: it does not start.
    """
    package_parent = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))
    # -P: a module in the current directory must not be imported.
    command = [sys.executable, "-P", "-m", "metrion.cli.private_proxy", *([str(config)] if config else [])]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # a Ctrl-C is for the command that calls it
        ) as process,
    ):
        try:
            yield _address(process, log)
        finally:
            if process.stdin is not None:
                process.stdin.close()  # this is how it is told
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    assert process.stdout is not None  # noqa: S101 -- it is a pipe
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(_START_SECONDS) else b""
    if not line.endswith(b"\n"):
        log.seek(0)
        said = log.read().decode("utf-8", "replace").strip().removeprefix("metrion: ")
        raise ServeError(f"the proxy for this run did not start: {said or 'it said nothing'}")
    return line.decode().strip()


def main() -> None:
    """Serve until standard input ends."""
    _end_with_stdin()
    from metrion.errors import MetrionError
    from metrion.serving.serve import run
    from metrion.settings import load_settings

    try:
        settings = load_settings(Path(sys.argv[1]) if sys.argv[1:] else None)
        run(
            settings,
            host="127.0.0.1",
            port=0,
            drain_seconds=_DRAIN_SECONDS,
            on_listening=lambda listening: print(listening.url, flush=True),  # noqa: T201 -- read by the parent
            shared=False,
        )
    except MetrionError as error:
        sys.exit(f"metrion: {error}")


def _end_with_stdin() -> None:
    """Have a process of its own wait for the end of standard input: the proxy itself has no time to wait."""
    proxy = os.getpid()
    if os.fork():
        return
    os.close(1)  # the parent waits for the end of what the proxy prints
    os.close(2)
    with suppress(OSError):
        while os.read(0, 1):
            pass
    if os.getppid() == proxy:
        os.kill(proxy, signal.SIGTERM)
    os._exit(0)


if __name__ == "__main__":
    main()
