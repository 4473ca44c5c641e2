"""The certificate authority for intercepted TLS, in the home. Run as a program, it makes the one of a home.

A process of its own makes it at a first start, because that takes mitmproxy, which the supervisor does not import.
"""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path

from mitmproxy import certs, options


def authority_folder(home: Path) -> Path:
    """Return where the authority is. It is Metrion's own, not that of the user's mitmproxy."""
    return home / "ca"


def make_authority(home: Path) -> None:
    """Make the authority of a home that has none."""
    folder = authority_folder(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker, or another `serve` in the same home
        certs.CertStore.from_store(folder, options.CONF_BASENAME, options.KEY_SIZE)


if __name__ == "__main__":
    make_authority(Path(sys.argv[1]))
