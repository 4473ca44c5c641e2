"""Which proxies of a home listen, and where: written by each ``metrion serve``, read by ``metrion run``.

A proxy's record is a file in the home that the proxy keeps locked. What a killed proxy leaves is not locked, and the
next reader removes it. In a home that cannot be written there are no records, and its proxy runs all the same.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from metrion.store import locks

_FOLDER = "proxies"
_CONNECT_SECONDS = 1.0
_ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 -- compared, not listened on


@contextmanager
def published(home: Path, url: str) -> Iterator[None]:
    """Record for the length of the block that a proxy of ``home`` listens at ``url``."""
    path = home / _FOLDER / f"{os.getpid()}.url"
    descriptor = -1
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        if locks.taken(descriptor):
            os.write(descriptor, url.encode())
    try:
        yield
    finally:
        if descriptor >= 0:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)


def running(home: Path) -> str | None:
    """Return the URL of a proxy of ``home`` that accepts connections and speaks plain HTTP; ``None``: there is none."""
    for url in addresses(home):
        with suppress(OSError):
            if url.startswith("http://") and _accepts(url):
                return url
    return None


def addresses(home: Path) -> Iterator[str]:
    """Yield the URL of each proxy of ``home``, as programs on this machine reach it."""
    for path in sorted((home / _FOLDER).glob("*.url")):
        with suppress(OSError):
            if url := _recorded(path):
                yield url


def _recorded(path: Path) -> str | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        text = os.read(descriptor, 1024).decode()
        # An empty file is one that is just being made.
        if text and locks.taken(descriptor):
            path.unlink()
            return None
    finally:
        os.close(descriptor)
    address = urlsplit(text)
    host = address.hostname or ""
    return text.replace(address.netloc, f"{_ALL_ADDRESSES[host]}:{address.port}") if host in _ALL_ADDRESSES else text


def _accepts(url: str) -> bool:
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 80), _CONNECT_SECONDS):
        return True
