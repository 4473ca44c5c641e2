"""How ``metrion reload`` asks a running ``serve`` to read its configuration again: through a socket in the home.

In: whoever can reach into the private folder of the home, which is its owner. Out: one line, ``+`` or ``-`` and what
there is to say. A proxy whose home can hold no socket runs all the same, and takes SIGHUP.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

logger = logging.getLogger(__name__)

_FOLDER = "proxies"
_SUFFIX = ".sock"
_ANSWER_SECONDS = 30.0
_ASK_SECONDS = 0.5
_ASKED = b"reload\n"
_LONGEST = 100


class Answer(NamedTuple):
    """What came of it."""

    ok: bool
    words: str


class ReloadRequests:
    """The proxy's end: see the module."""

    def __init__(self, home: Path) -> None:
        self._path = home / _FOLDER / f"{os.getpid()}{_SUFFIX}"
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.unlink(missing_ok=True)
            with _short(self._path) as address:
                listener.bind(address)
            self._path.chmod(0o600)
            listener.listen(8)
            listener.setblocking(False)
            self._listener = listener
        except OSError as error:
            listener.close()
            logger.warning("`metrion reload` cannot reach this proxy, but SIGHUP can: %s", error.strerror or error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._listener is not None:
            self.close()
            with suppress(OSError):
                self._path.unlink()

    def fileno(self) -> int | None:
        """Return the descriptor that can be read when somebody asks; ``None``: nobody can."""
        return None if self._listener is None else self._listener.fileno()

    def take(self) -> Iterator[socket.socket]:
        """Yield each connection that asks for a reload, to be answered by :func:`answer`."""
        while self._listener is not None:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(_ASK_SECONDS)
                if connection.recv(len(_ASKED)) == _ASKED:
                    yield connection

    def close(self) -> None:
        """Close this process's end."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None


def answer(connection: socket.socket, given: Answer) -> None:
    """Say what came of it."""
    with suppress(OSError):
        connection.sendall(f"{'+' if given.ok else '-'}{given.words}".encode("utf-8", "replace"))


def ask_all(home: Path) -> dict[int, Answer]:
    """Ask every proxy of a home to read its configuration again; return the answers, by process."""
    answers = {}
    for path in sorted((home / _FOLDER).glob(f"*{_SUFFIX}")):
        pid = path.name.removesuffix(_SUFFIX)
        if pid.isdecimal() and (given := _ask(path)) is not None:
            answers[int(pid)] = given
    return answers


def _ask(path: Path) -> Answer | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            with _short(path) as address:
                connection.connect(address)
        except ConnectionRefusedError:  # a killed proxy leaves its socket
            with suppress(OSError):
                path.unlink()
            return None
        except FileNotFoundError:
            return None
        except OSError as error:
            return Answer(False, f"it cannot be asked: {error.strerror or error}")
        try:
            connection.sendall(_ASKED)
            said = b"".join(iter(lambda: connection.recv(65536), b"")).decode("utf-8", "replace")
        except OSError:
            said = ""
        return Answer(said[:1] == "+", said[1:] or "it did not answer")


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give the path of a socket as the system takes it: about 100 bytes at most, however deep a home is."""
    if len(os.fsencode(path)) < _LONGEST or not sys.platform.startswith("linux"):
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
