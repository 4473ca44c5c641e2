"""CONNECT where it opens no tunnel: refused as everything else is, with a row where a provider is named."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator

import pytest

from tests.http2 import Http2Connection
from tests.processes import MITMDUMP, ROOT, Proxy, Road, eventually, free_port, running_proxy, running_serve
from tests.rawclient import RawClient, connected
from tests.tls import Terminator, tls_in_front_of
from tests.upstream import Upstream


@pytest.fixture(scope="module")
def tls(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminator]:
    with tls_in_front_of(upstream.port, tmp_path_factory.mktemp("tls")) as terminator:
        yield terminator


@pytest.fixture(scope="module")
def hop(road: Road, tls: Terminator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = {"providers": {"openai": {"upstream": f"https://localhost:{tls.port}"}}}
    trust = {"SSL_CERT_FILE": str(tls.certificate)}
    with running_serve(tmp_path_factory.mktemp("hop") / "home", config, environment={**road, **trust}) as proxy:
        yield proxy
        log = proxy.log.read_text()
        assert "crashed" not in log
        assert "Traceback" not in log


def connect(target: str, token: str = "") -> bytes:
    credential = base64.b64encode(f"{token}:".encode()).decode()
    own = f"Proxy-Authorization: Basic {credential}\r\n" if token else ""
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{own}\r\n".encode()


def tunnel(
    client: RawClient, proxy: Proxy, port: int, *, token: str | None = None, protocols: tuple[str, ...] = ()
) -> ssl.SSLSocket:
    """Open a tunnel to the provider, and begin TLS in it."""
    client.send(connect(f"localhost:{port}", proxy.token if token is None else token))
    assert client.receive().startswith(b"HTTP/1.1 200 ")
    trusting = ssl.create_default_context(cafile=str(proxy.home / "ca" / "mitmproxy-ca-cert.pem"))
    if protocols:
        trusting.set_alpn_protocols(list(protocols))
    return trusting.wrap_socket(client.socket, server_hostname="localhost")


def rows(proxy: Proxy) -> list[tuple[object, ...]]:
    query = "SELECT provider, method, status, error_type, end_reason, cost_usd FROM events WHERE method = 'CONNECT'"
    return [tuple(row.values()) for row in proxy.events(query)]


REFUSED = ("openai", "CONNECT", 400, "bad_request", "refused", "0.000000000000")


def test_what_is_within_a_tunnel_is_bound_by_its_tokens_budget(hop: Proxy, tls: Terminator) -> None:
    """With a key of the caller's own, too."""
    poor = hop.metrion("token", "create", "poor").strip()
    hop.metrion("budget", "set", "--token", "poor", "--usd", "0", "--per", "day")
    body = b'{"model": "gpt-4o", "messages": []}'
    for outer, inner in ((poor, "sk-my-own-key-0123456789"), ("", poor), (poor, poor)):
        with connected(hop.port) as client, tunnel(client, hop, tls.port, token=outer) as wrapped:
            within = RawClient(wrapped)
            within.send(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:{tls.port}\r\nAuthorization: Bearer {inner}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            answer = within.read()
        assert (answer.status, answer.headers[b"x-metrion-error"]) == (429, b"budget")
    hop.metrion("token", "revoke", "poor")


@pytest.mark.parametrize("target", ["localhost:{port}", "LocalHost:{port}"])
def test_to_a_provider_within_a_tunnel(target: str, hop: Proxy, tls: Terminator) -> None:
    before = len(rows(hop))
    with connected(hop.port) as client, tunnel(client, hop, tls.port) as wrapped:
        inner = RawClient(wrapped)
        inner.send(connect(target.format(port=tls.port), hop.token))
        answer = inner.read()
    assert (answer.status, answer.headers[b"x-metrion-error"]) == (400, b"bad_request")
    assert answer.headers[b"content-type"] == b"application/json"
    assert json.loads(answer.body)["error"]["code"] == "bad_request"
    assert eventually(lambda: rows(hop), until=lambda found: len(found) > before)[before:] == [REFUSED]


@pytest.mark.parametrize("inside", [True, False], ids=["within a tunnel", "at first"])
@pytest.mark.parametrize("target", ["example.com:443", "127.0.0.1:443", "localhost:1", "[::1]:443", "localhost.:443"])
def test_to_a_stranger(target: str, inside: bool, hop: Proxy, tls: Terminator) -> None:
    before = len(rows(hop))
    with connected(hop.port) as client:
        asking = RawClient(tunnel(client, hop, tls.port)) if inside else client
        asking.send(connect(target, hop.token))
        answer = asking.read()
        asking.socket.close()
    assert (answer.status, answer.headers[b"x-metrion-error"]) == (403, b"not_a_provider")
    assert json.loads(answer.body)["error"]["code"] == "not_a_provider"
    assert len(rows(hop)) == before


@pytest.mark.parametrize("inside", [True, False], ids=["within a tunnel", "at first"])
@pytest.mark.parametrize(
    "target",
    ["", ":443", "localhost", "localhost:0", "localhost:99999", "localhost:-1", "localhost:+1", "localhost:x",
     "[::1:443", "user@localhost:443", "http://localhost:443/", "localhost:443/path", "localhost:443?x", "a b:443",
     "ex%61mple.com:443", "b\u00fccher.example:443", "/v1/messages", "*", "localhost:443:443", "\x00:443"],
)  # fmt: skip
def test_odd_authorities(target: str, inside: bool, hop: Proxy, tls: Terminator) -> None:
    before = len(rows(hop))
    with connected(hop.port) as client:
        asking = RawClient(tunnel(client, hop, tls.port)) if inside else client
        asking.send(connect(target))
        answer = asking.read()
        asking.socket.close()
    assert (answer.status, answer.headers[b"x-metrion-error"]) == (400, b"bad_request")
    assert json.loads(answer.body)["error"]["code"] == "bad_request"
    assert len(rows(hop)) == before


@pytest.mark.parametrize("own", [True, False], ids=["token", "none"])
@pytest.mark.parametrize(
    ("authority", "status", "code"),
    [("localhost:{port}", 400, "bad_request"), ("example.com:443", 403, "not_a_provider")],
)
def test_in_http2(authority: str, status: int, code: str, own: bool, hop: Proxy, tls: Terminator) -> None:
    """The other requests on the connection are answered."""
    credential = base64.b64encode(f"{hop.token}:".encode()).decode()
    headers = [(":method", "CONNECT"), (":authority", authority.format(port=tls.port))]
    headers += [("proxy-authorization", f"Basic {credential}")] if own else []
    with connected(hop.port) as client, tunnel(client, hop, tls.port, protocols=("h2",)) as wrapped:
        http2 = Http2Connection(wrapped, f"localhost:{tls.port}", "https")
        number = http2.connect(headers)
        good = http2.post("/v1/models", {"x-metrion-token": hop.token}, b"{}")
        refused, answered = http2.read(number, good)
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (status, code)
    assert answered.status == 200


def test_in_reverse_mode(tls: Terminator, tmp_path_factory: pytest.TempPathFactory) -> None:
    home, port = tmp_path_factory.mktemp("reverse") / "home", free_port()
    config = {
        "providers": {"openai": {"upstream": f"https://localhost:{tls.port}"}},
        "intercept": {"others": "tunnel"},  # it changes nothing here
    }
    command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "--set", f"confdir={home / 'ca'}"]
    command += ["--mode", f"reverse:https://localhost:{tls.port}@127.0.0.1:{port}"]
    with running_proxy(home, command, config, ports=[port]) as proxy:
        for target, status in ((f"localhost:{tls.port}", 400), ("example.com:443", 403)):
            with connected(port) as client:
                client.send(connect(target, proxy.token))
                answer = client.read()
            assert (answer.status, answer.headers[b"content-type"]) == (status, b"application/json")
        assert eventually(lambda: rows(proxy)) == [REFUSED]
        assert "crashed" not in proxy.log.read_text()
