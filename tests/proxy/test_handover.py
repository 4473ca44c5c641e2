"""Connections that have served a plain request and then ask for something else: it is done, on the same connection."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator

import pytest

from tests.credentials import UNKNOWN
from tests.http2 import Http2Connection
from tests.processes import STORED_KEYS, Proxy, Road, running_serve
from tests.rawclient import CHAT, MODELS, RawClient, connected, labelled, request
from tests.tls import tls_in_front_of
from tests.upstream import PLAIN, Upstream, answering
from tests.websocket import Client, EchoServer


def serve_plainly(client: RawClient, proxy: Proxy, times: int) -> None:
    for _ in range(times):
        client.send(request(proxy, method="GET", target=MODELS))
        assert client.read("GET").status == 200


REVERSE = "mitmproxy puts a reverse mode's target in place of the one that a client writes"
BEFORE = pytest.mark.parametrize("before", [0, 1, 3], ids=["first", "second", "fourth"])


@BEFORE
@pytest.mark.parametrize(
    ("token", "status"), [(None, 200), ("", 401), (UNKNOWN, 401)], ids=["token", "none", "unknown"]
)
def test_absolute_form(token: str | None, status: int, before: int, way: str, wired: Proxy, upstream: Upstream) -> None:
    """The target's authority decides, whatever ``Host`` says."""
    if way == "reverse":
        pytest.skip(REVERSE)
    script = upstream.script(answering(PLAIN))
    target = f"{upstream.url}/v1/chat/completions"
    with connected(wired.port) as client:
        serve_plainly(client, wired, before)
        client.send(request(wired, script, "Content-Length: 2", target=target, token=token) + b"{}")
        assert client.read().status == status
    heads = [(asked.target, asked.header(b"host")) for asked in upstream.asked(script)]
    assert heads == ([(b"/v1/chat/completions", [f"127.0.0.1:{upstream.port}".encode()])] if status == 200 else [])


@BEFORE
def test_absolute_form_to_a_stranger(before: int, way: str, wired: Proxy, upstream: Upstream) -> None:
    if way == "reverse":
        pytest.skip(REVERSE)
    with connected(wired.port) as client:
        serve_plainly(client, wired, before)
        came = upstream.total()
        client.send(request(wired, "Content-Length: 2", target="http://127.0.0.2/v1/chat/completions") + b"{}")
        answer = client.read()
    assert (answer.status, answer.headers[b"x-metrion-error"]) == (403, b"not_a_provider")
    assert upstream.total() == came


@pytest.fixture(scope="module")
def tunnelled(road: Road, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, int]]:
    """A proxy whose OpenAI speaks TLS, and the port where it does."""
    with tls_in_front_of(upstream.port, tmp_path_factory.mktemp("tls")) as tls:
        config = {"providers": {"openai": {"upstream": f"https://localhost:{tls.port}"}}}
        trust = {"SSL_CERT_FILE": str(tls.certificate)}
        with running_serve(tmp_path_factory.mktemp("hop") / "home", config, environment={**road, **trust}) as proxy:
            yield proxy, tls.port


@BEFORE
def test_connect(before: int, tunnelled: tuple[Proxy, int], upstream: Upstream) -> None:
    """Requests in the tunnel are metered by host; the token is the tunnel's."""
    proxy, port = tunnelled
    script = upstream.script(answering(PLAIN))
    credential = base64.b64encode(f"{proxy.token}:".encode()).decode()
    label, line = labelled()
    with connected(proxy.port) as client:
        serve_plainly(client, proxy, before)
        asked_for = f"CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n"
        client.send(f"{asked_for}Proxy-Authorization: Basic {credential}\r\n\r\n".encode())
        assert client.receive().startswith(b"HTTP/1.1 200 ")
        # The authority is made when it is first needed.
        trusting = ssl.create_default_context(cafile=str(proxy.home / "ca" / "mitmproxy-ca-cert.pem"))
        with trusting.wrap_socket(client.socket, server_hostname="localhost") as wrapped:
            inner = RawClient(wrapped)
            head = request(
                proxy, script, line, "Content-Length: 2", target="/v1/models", host=[f"localhost:{port}"], token=""
            )
            inner.send(head + b"{}")
            assert inner.read().status == 200
    (asked,) = upstream.asked(script)
    assert asked.header(b"authorization") == [f"Bearer {STORED_KEYS['openai']}".encode()]
    assert proxy.event(label)["token_name"] == "tests"


@BEFORE
def test_connect_to_a_stranger(before: int, wired: Proxy) -> None:
    with connected(wired.port) as client:
        serve_plainly(client, wired, before)
        client.send(b"CONNECT 127.0.0.2:443 HTTP/1.1\r\nHost: 127.0.0.2:443\r\n\r\n")
        assert client.rest().startswith(b"HTTP/1.1 403 ")


@BEFORE
def test_websocket_upgrade(before: int, realtime: Proxy, echo: EchoServer) -> None:
    headers = [(b"authorization", f"Bearer {realtime.token}".encode())]
    with connected(realtime.port) as client:
        for _ in range(before):
            client.send(request(realtime, method="GET", target="/health"))
            assert client.read("GET").status == 200
        session = Client(0, "/openai/v1/realtime?model=gpt-realtime", headers, connection=client.socket)
        assert session.status == 101
        assert session.ask("hello") == "HELLO"
        session.close()
    _, head = echo.heads[-1]
    assert (b"authorization", f"Bearer {STORED_KEYS['openai']}".encode()) in [(k.lower(), v) for k, v in head]


@BEFORE
def test_websocket_upgrade_without_a_token(before: int, realtime: Proxy, echo: EchoServer) -> None:
    upgrades = len(echo.heads)
    with connected(realtime.port) as client:
        for _ in range(before):
            client.send(request(realtime, method="GET", target="/health"))
            assert client.read("GET").status == 200
        session = Client(0, "/openai/v1/realtime?model=gpt-realtime", connection=client.socket)
    assert session.status == 401
    assert len(echo.heads) == upgrades


@BEFORE
def test_http2_in_clear(before: int, way: str, wired: Proxy, upstream: Upstream) -> None:
    """By the preface that clients send who know; an authority that is ours is routed by path."""
    if before and way != "lane":
        pytest.skip("a connection that mitmproxy reads as HTTP/1.1 from its first byte stays HTTP/1.1")
    script = upstream.script(answering(PLAIN))
    name, _, value = script.partition(": ")
    label, _ = labelled()
    own = {name: value, "authorization": f"Bearer {wired.token}", "x-metrion-user": label}
    with connected(wired.port) as client:
        serve_plainly(client, wired, before)
        http2 = Http2Connection(client.socket, f"127.0.0.1:{wired.port}", "http")
        good = http2.post(CHAT, own, b"{}")
        bad = http2.post(CHAT, {name: value}, b"{}")
        answered, refused = http2.read(good, bad)
    assert (answered.status, answered.body) == (200, b"{}")
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (401, "missing_token")
    assert len(upstream.asked(script)) == 1
    assert wired.event(label)["status"] == 200


@pytest.mark.parametrize("method", ["BREW", "get", "M-SEARCH"])
def test_unknown_methods(method: str, wired: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN))
    with connected(wired.port) as client:
        serve_plainly(client, wired, 1)
        client.send(request(wired, script, method=method, target=MODELS))
        assert client.read("GET").status == 200
    assert [asked.method for asked in upstream.asked(script)] == [method.encode()]


def test_bytes_beyond_ascii_in_a_target(wired: Proxy, upstream: Upstream) -> None:
    """They are refused, or go out as they came; this provider, which is strict, does not answer them."""
    with connected(wired.port) as client:
        serve_plainly(client, wired, 1)
        client.send(request(wired, method="GET", target="/openai/v1/models/caf\u00e9"))
        status = client.read("GET").status
    heads = [head[:31] for head in upstream.malformed]
    upstream.malformed.clear()
    assert (status, heads) in [(400, []), (502, [b"GET /v1/models/caf\xe9 HTTP/1.1\r\n"])]
