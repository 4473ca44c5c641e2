"""The authorities that a child behind ``HTTPS_PROXY`` trusts: those that it trusts anyway, and its home's own."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

_CONFIGURED = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


AUTHORITY = "ca/mitmproxy-ca-cert.pem"
"""In a home: the certificate of its own authority."""


def start_making_authority(home: Path) -> subprocess.Popen[bytes] | None:
    """Have the authority of a home made, if it has none; ``None``: it has one.

    Another process makes it, because that takes mitmproxy.
    """
    if (home / AUTHORITY).exists():
        return None
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-m", "metrion.proxy.authority", str(home)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL)


def bundle(environ: Mapping[str, str], authority: Path) -> bytes:
    """Return the system's authorities, those that the environment names, and ``authority``, as PEM.

    :raises OSError: ``authority`` cannot be read.
    """
    parts = [_read(path) for path in dict.fromkeys(_files(environ))]
    return b"\n".join([*filter(None, parts), authority.read_bytes()])


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    yield from (Path(environ[name]) for name in _CONFIGURED if environ.get(name))
    if not environ.get("SSL_CERT_FILE"):
        if (usual := ssl.get_default_verify_paths().cafile) is not None:
            yield Path(usual)
        else:  # a Python that was built elsewhere knows of none
            import certifi

            yield Path(certifi.where())


def _read(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""
