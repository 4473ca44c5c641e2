"""The certificate that a port presents: which pairs are taken, and which one a handshake is made with."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from metrion.errors import ServeError
from metrion.serving import tls
from metrion.serving.tls import ServerTls
from tests.tls import self_signed


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_STILL_SECONDS", 0.0)


def presented(
    server: ServerTls, *, name: str | None = None, newest: ssl.TLSVersion | None = None
) -> tuple[bytes | None, str | None, str | None]:
    """What a client sees: the certificate, the protocol of ALPN, and the version of TLS."""
    ours, theirs = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if newest is not None:
        context.maximum_version = newest
        context.set_ciphers("DEFAULT:@SECLEVEL=0")

    def serve() -> None:
        try:
            server.context.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with context.wrap_socket(ours, server_hostname=name) as connection:
            return connection.getpeercert(binary_form=True), connection.selected_alpn_protocol(), connection.version()
    finally:
        thread.join(10)


def der(certificate: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


def replace(files: tuple[Path, Path], others: tuple[Path, Path]) -> None:
    for file, other in zip(files, others, strict=True):
        temporary = file.with_suffix(".new")
        temporary.write_bytes(other.read_bytes())
        os.replace(temporary, file)  # noqa: PTH105 -- as tools for certificates do it


@pytest.mark.parametrize("name", [None, "localhost"])
def test_a_new_pair_is_presented_from_the_next_handshake_on(tmp_path: Path, name: str | None) -> None:
    files, others = self_signed(tmp_path), self_signed(tmp_path, "other")
    first, second = der(files[0]), der(others[0])
    server = ServerTls(*files)
    assert presented(server, name=name) == (first, "h2", "TLSv1.3")
    replace(files, others)
    assert presented(server, name=name) == (second, "h2", "TLSv1.3")
    assert not server.refresh()


@pytest.mark.parametrize("protocols", [("http/1.1",), ("h2", "http/1.1")])
def test_what_alpn_offers(tmp_path: Path, protocols: tuple[str, ...]) -> None:
    assert presented(ServerTls(*self_signed(tmp_path), protocols))[1] == protocols[0]


@pytest.mark.parametrize(
    ("version", "served"), [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)], ids=["1.1", "1.2"]
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_the_oldest_tls(tmp_path: Path, version: ssl.TLSVersion, *, served: bool) -> None:
    server = ServerTls(*self_signed(tmp_path))
    try:
        seen = presented(server, newest=version)[2]
    except OSError:
        seen = None
    assert seen == ("TLSv1.2" if served else None)


WRONG = {
    "of another key": ("the key belongs to another certificate", ["--tls-cert", "--tls-key"]),
    "no certificate": ("has no PEM certificate", ["--tls-cert", "server.pem"]),
    "no key": ("has no PEM private key", ["--tls-key", "server.key"]),
    "encrypted": ("is encrypted", ["openssl pkey -in"]),
    "gone": ("No such file or directory", ["--tls-key"]),
    "cut off": ("one of them is damaged", ["--tls-cert"]),
}


def spoil(how: str, files: tuple[Path, Path], folder: Path) -> None:
    certificate, key = files
    match how:
        case "of another key":
            key.write_bytes(self_signed(folder, "other")[1].read_bytes())
        case "no certificate":
            certificate.write_bytes(key.read_bytes())
        case "no key":
            key.write_bytes(certificate.read_bytes())
        case "encrypted":
            private = serialization.load_pem_private_key(key.read_bytes(), None)
            encryption = serialization.BestAvailableEncryption(b"secret")
            form = serialization.PrivateFormat.PKCS8
            key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, encryption))
        case "gone":
            key.unlink()
        case "cut off":
            certificate.write_bytes(certificate.read_bytes()[:200])


@pytest.mark.parametrize("how", WRONG)
def test_a_pair_that_cannot_be_used(tmp_path: Path, how: str) -> None:
    """At the start it is an error with its way out; afterwards it is said once, and the one before stays in use."""
    files = self_signed(tmp_path)
    first = der(files[0])
    server = ServerTls(*files)
    spoil(how, files, tmp_path)
    words, also = WRONG[how]
    for attempt in (lambda: ServerTls(*files), server.refresh):
        with pytest.raises(ServeError, match=words) as failed:
            attempt()
        assert all(word in str(failed.value) for word in also)
    assert not server.refresh()
    assert presented(server)[0] == first
    replace(files, self_signed(tmp_path, "third"))
    assert server.refresh()
    assert presented(server)[0] == der(files[0])


def test_a_pair_that_is_just_being_written_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_STILL_SECONDS", 3600.0)
    files = self_signed(tmp_path)
    server = ServerTls(*files)
    files[0].write_bytes(self_signed(tmp_path, "other")[0].read_bytes())  # its key has not come yet
    assert not server.refresh()
    files[1].write_bytes(self_signed(tmp_path, "other")[1].read_bytes())
    assert not server.refresh()
    assert server.refresh(at_once=True)
