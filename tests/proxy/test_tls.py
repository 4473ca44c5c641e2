"""``metrion serve`` with a certificate of one's own: HTTP/1.1 and HTTP/2 on the same port, on each road."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http2 import Http2Connection
from tests.processes import METRION, Proxy, Road, eventually, prepare_home, running_serve, upstreams
from tests.simulated import Simulator
from tests.tls import self_signed

CHAT = "/openai/v1/chat/completions"
BODY = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}'


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    self_signed(folder)
    return folder


@pytest.fixture(scope="module")
def secure(
    road: Road, trusting: Path, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    certificate, key = self_signed(trusting)
    arguments = ("--tls-cert", str(certificate), "--tls-key", str(key))
    home = tmp_path_factory.mktemp("secure") / "home"
    with running_serve(home, upstreams(simulator), arguments=arguments, environment=road) as proxy:
        yield proxy


def connected(proxy: Proxy, folder: Path, protocol: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=self_signed(folder)[0])
    context.set_alpn_protocols([protocol])
    plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
    return context.wrap_socket(plain, server_hostname="localhost")


def test_the_greeting_says_https(secure: Proxy) -> None:
    assert "listens on https://127.0.0.1:" in secure.log.read_text()
    assert f"https://127.0.0.1:{secure.port}/openai" in secure.log.read_text()


def test_http1(secure: Proxy, trusting: Path) -> None:
    """Several requests on one connection."""
    connection = http.client.HTTPConnection("localhost", secure.port)
    connection.sock = connected(secure, trusting, "http/1.1")
    for _ in range(3):
        label = uuid.uuid4().hex
        headers = {"authorization": f"Bearer {secure.token}", "x-metrion-user": label}
        connection.request("POST", CHAT, BODY, headers | {"content-type": "application/json"})
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["object"]) == (200, "chat.completion")
        assert secure.event(label)["end_reason"] == "complete"
    connection.close()


def test_http2(secure: Proxy, trusting: Path) -> None:
    """A name that is no provider's is the proxy's own, and routed by path."""
    label = uuid.uuid4().hex
    with connected(secure, trusting, "h2") as client:
        assert client.selected_alpn_protocol() == "h2"
        http2 = Http2Connection(client, f"localhost:{secure.port}", "https")
        headers = {"authorization": f"Bearer {secure.token}", "x-metrion-user": label}
        (answered,) = http2.read(http2.post(CHAT, headers | {"content-type": "application/json"}, BODY))
    assert (answered.status, json.loads(answered.body)["object"]) == (200, "chat.completion")
    assert secure.event(label)["end_reason"] == "complete"


def test_a_client_that_speaks_no_tls_gets_nothing(secure: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(100) == b""


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--tls-cert", "server.pem"], 2, "--tls-cert and --tls-key go together"),
        (["--tls-cert", "none.pem", "--tls-key", "server.key"], 1, "cannot read --tls-cert"),
        (["--tls-cert", "server.key", "--tls-key", "server.key"], 1, "server.key has no PEM certificate"),
    ],
)
def test_what_is_no_certificate(arguments: list[str], status: int, words: str, trusting: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*METRION, "serve", "--port", "0", *arguments],
        env=prepare_home(tmp_path / "home"),
        cwd=trusting,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr


def test_a_new_certificate_is_served_without_a_restart(road: Road, simulator: Simulator, tmp_path: Path) -> None:
    """A wrong pair changes nothing and is said once; connections that are open go on."""
    files, others = self_signed(tmp_path), self_signed(tmp_path, "other")
    arguments = ("--tls-cert", str(files[0]), "--tls-key", str(files[1]), "--workers", "2")
    with running_serve(tmp_path / "home", upstreams(simulator), arguments=arguments, environment=road) as proxy:
        first, second = (ssl.PEM_cert_to_DER_cert(each[0].read_text()) for each in (files, others))
        connection = http.client.HTTPConnection("localhost", proxy.port)
        connection.sock = connected(proxy, tmp_path, "http/1.1")
        assert (_asked(connection), _presented(proxy)) == (200, {first})

        files[0].write_bytes(others[0].read_bytes())  # with the key of another
        eventually(lambda: proxy.log.read_text(), until=lambda log: "The certificate from before stays in use" in log)
        assert _presented(proxy) == {first}

        files[1].write_bytes(others[1].read_bytes())
        eventually(lambda: _presented(proxy), until=lambda seen: seen == {second})
        eventually(lambda: proxy.log.read_text(), until=lambda log: "New connections get the new certificate" in log)
        assert proxy.log.read_text().count("stays in use") == 1
        assert _asked(connection) == 200
        connection.close()


def _asked(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/health")
    response = connection.getresponse()
    response.read()
    return response.status


def _presented(proxy: Proxy) -> set[bytes | None]:
    """The certificates of several new connections, which all workers accept."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    seen = set()
    for _ in range(8):
        plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            seen.add(client.getpeercert(binary_form=True))
    return seen
