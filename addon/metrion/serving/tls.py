"""The certificate that a port presents to its clients: read at the start, and again whenever its files change.

In: a PEM chain and a PEM key, always as a pair. Out: a context for new connections. A pair that cannot be used never
takes the place of one that can, and connections that are open keep what they began with.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from metrion.errors import ServeError

type _Stamp = tuple[int, int, int]

_STILL_SECONDS = 1.0
"""For how long files have not changed that are taken to be whole."""

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


class ServerTls:
    """See the module. Every process may have a copy of its own, since each looks at the files itself.

    ``protocols``: what ALPN offers.

    :raises ServeError: the pair cannot be used.
    """

    def __init__(self, certificate: Path, key: Path, protocols: Sequence[str] = ("h2", "http/1.1")) -> None:
        self._files = (certificate.absolute(), key.absolute())
        self._protocols = list(protocols)
        self._tried = self._stamps()
        self._newest = self._read()
        self.context = self._read()
        """For a server: each handshake is made with what is newest then."""
        # OpenSSL calls this for clients that name no server, too.
        self.context.sni_callback = self._present_newest

    @property
    def certificate(self) -> Path:
        """The file of the chain."""
        return self._files[0]

    def refresh(self, *, at_once: bool = False) -> bool:
        """Take the files again if they have changed; return whether there is a new certificate.

        Unless ``at_once``, they have to lie still for a moment, since a pair is replaced file by file.

        :raises ServeError: what is there now cannot be used. It is raised once for each change.
        """
        now = self._stamps()
        if now == self._tried or not (at_once or _lie_still(now)):
            return False
        self._tried = now
        self._newest = self._read()
        return True

    def _present_newest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        with suppress(ServeError):  # the supervisor, which looks as well, says it
            self.refresh()
        connection.context = self._newest

    def _read(self) -> ssl.SSLContext:
        context = _context(*self._files)
        context.set_alpn_protocols(self._protocols)
        return context

    def _stamps(self) -> tuple[_Stamp | None, ...]:
        return tuple(map(_stamp, self._files))


def _stamp(path: Path) -> _Stamp | None:
    """Return when a file changed last, also by a rename, and what else tells it from another."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ctime_ns, status.st_size, status.st_ino


def _lie_still(stamps: Iterable[_Stamp | None]) -> bool:
    last = max((stamp[0] for stamp in stamps if stamp is not None), default=0)
    return not 0 <= time.time() - last / 1e9 < _STILL_SECONDS


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    _check(certificate, "--tls-cert", _CERTIFICATE, "certificate, such as fullchain.pem")
    if any(mark in _check(key, "--tls-key", _KEY, "private key, such as privkey.pem") for mark in _ENCRYPTED):
        raise ServeError(
            f"the key of --tls-key {key} is encrypted; write it without a password into a file of mode 0600: "
            f"openssl pkey -in {key} -out plain.key"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # never asks at a terminal
    except OSError as error:  # SSLError is one
        mismatch = isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH"
        why = "the key belongs to another certificate" if mismatch else "one of them is damaged"
        raise ServeError(
            f"cannot serve TLS with --tls-cert {certificate} and --tls-key {key}: {why}. Give the certificate, "
            "followed in the same file by those that lead up to its authority, and the key that it was made for."
        ) from error
    return context


def _check(path: Path, option: str, mark: bytes, what: str) -> bytes:
    """Return what is in a file, if it looks like what it should be."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ServeError(
            f"cannot read {option} {path}: {error.strerror}; check the path and who may read it"
        ) from error
    if mark not in content:
        raise ServeError(f"{option} {path} has no PEM {what} in it; give the file that has")
    return content
