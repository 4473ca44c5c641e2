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
from tests.processes import METRION, Proxy, Road, prepare_home, running_serve, upstreams
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
        (["--tls-cert", "none.pem", "--tls-key", "server.key"], 1, "No such file or directory"),
        (["--tls-cert", "server.key", "--tls-key", "server.key"], 1, "they are no PEM, or do not fit together"),
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
