"""The other roads in: through the proxy by host, tunnels, reverse modes of any target, WebSockets, browsers."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.credentials import UNKNOWN
from tests.processes import (
    MITMDUMP,
    PROVIDERS,
    ROOT,
    STORED_KEYS,
    Proxy,
    eventually,
    free_port,
    running_proxy,
    running_serve,
    upstreams,
)
from tests.simulated import Simulator
from tests.tls import Terminator, tls_in_front_of
from tests.websocket import Client, EchoServer

BODY = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]})


@pytest.fixture(scope="module")
def tls(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminator]:
    """The simulator as OpenAI, behind TLS."""
    with tls_in_front_of(simulator.ports["openai"], tmp_path_factory.mktemp("tls")) as terminator:
        yield terminator


@pytest.fixture(scope="module", params=["serve", "mitmdump"])
def hop(
    request: pytest.FixtureRequest, simulator: Simulator, tls: Terminator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """A proxy on one port, in regular mode: OpenAI with TLS, Mistral without."""
    home = tmp_path_factory.mktemp("hop") / "home"
    config = {
        "providers": {
            "openai": {"upstream": f"https://localhost:{tls.port}"},
            "mistral": {"upstream": simulator.upstream_by_port("mistral")},
        }
    }
    trust = {"SSL_CERT_FILE": str(tls.certificate)}
    if request.param == "serve":
        with running_serve(home, config, environment=trust) as proxy:
            yield proxy
        return
    port = free_port()
    command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "-p", str(port), "--listen-host", "127.0.0.1"]
    command += ["--set", f"confdir={home / 'ca'}", "--set", f"ssl_verify_upstream_trusted_ca={tls.certificate}"]
    with running_proxy(home, command, config, ports=[port]) as proxy:
        proxy.port = port
        yield proxy


def curl(proxy: Proxy, url: str, *arguments: str, user: str | None = None) -> tuple[int, str]:
    """Call through the proxy, as ``HTTPS_PROXY`` would; returns status (of the tunnel, if that failed) and body."""
    through = f"http://{user + '@' if user else ''}127.0.0.1:{proxy.port}"
    command = [
        "curl",
        "-sS",
        "--max-time",
        "20",
        "-x",
        through,
        "--noproxy",
        "",
        "-w",
        "\n%{http_code} %{http_connect}",
    ]
    command += ["--cacert", str(proxy.home / "ca" / "mitmproxy-ca-cert.pem"), *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    body, _, statuses = done.stdout.rpartition("\n")
    answered, tunnel = map(int, statuses.split())
    return answered or tunnel, body


def post(label: str, *headers: str) -> list[str]:
    arguments = ["-d", BODY, "-H", "content-type: application/json", "-H", f"x-metrion-user: {label}"]
    for header in headers:
        arguments += ["-H", header]
    return arguments


@pytest.mark.parametrize("own_key", [False, True], ids=["stored", "pass_through"])
@pytest.mark.parametrize("where", ["tunnel", "request"])
def test_through_a_tunnel(where: str, own_key: bool, hop: Proxy, tls: Terminator, simulator: Simulator) -> None:
    """The token comes with the CONNECT, or with each request in the tunnel."""
    label = uuid.uuid4().hex
    headers = ["authorization: Bearer the-callers-own"] if own_key else []
    if where == "request":
        headers.append(f"x-metrion-token: {hop.token}")
    url = f"https://localhost:{tls.port}/v1/chat/completions?a=b%20c"
    user = hop.token if where == "tunnel" else None
    status, body = curl(hop, url, *post(label, *headers), user=user)
    assert (status, json.loads(body)["object"]) == (200, "chat.completion")
    (received,) = simulator.received(1)
    assert received.target == b"/v1/chat/completions?a=b%20c"
    key = "the-callers-own" if own_key else STORED_KEYS["openai"]
    assert received.header("authorization") == [f"Bearer {key}".encode()]
    assert received.header("host") == [f"localhost:{tls.port}".encode()]
    assert not [name for name, value in received.headers if b"proxy" in name.lower() or b"sk-metrion" in value]
    event = hop.event(label)
    assert (event["provider"], event["path"], event["status"]) == ("openai", "/v1/chat/completions", 200)
    assert event["credential"] == ("pass_through" if own_key else "stored")


def test_by_host_without_tls(hop: Proxy, simulator: Simulator) -> None:
    label = uuid.uuid4().hex
    url = f"{simulator.upstream_by_port('mistral')}/v1/chat/completions"
    assert curl(hop, url, *post(label), user=hop.token)[0] == 200
    (received,) = simulator.received(1)
    assert received.header("authorization") == [f"Bearer {STORED_KEYS['mistral']}".encode()]
    assert received.target == b"/v1/chat/completions"
    assert hop.event(label)["provider"] == "mistral"


def test_by_path_on_the_same_port(hop: Proxy, simulator: Simulator) -> None:
    label = uuid.uuid4().hex
    connection = http.client.HTTPConnection("127.0.0.1", hop.port, timeout=20)
    headers = {"authorization": f"Bearer {hop.token}", "x-metrion-user": label}
    connection.request("POST", "/mistral/v1/chat/completions", BODY, headers)
    assert connection.getresponse().status == 200
    assert simulator.received(1)[0].target == b"/v1/chat/completions"
    assert hop.event(label)["provider"] == "mistral"


@pytest.mark.parametrize(
    ("url", "user", "status"),
    [
        ("https://example.com/v1/models", "{token}", 403),
        ("https://localhost:1/v1/models", "{token}", 403),
        ("http://example.com/v1/models", "{token}", 403),
        ("https://localhost:{port}/v1/models", UNKNOWN, 401),
        ("https://localhost:{port}/v1/models", None, 401),
        ("https://localhost:{port}/v1/models", "somebody:else", 401),
    ],
)
def test_refused_roads(
    url: str, user: str | None, status: int, hop: Proxy, tls: Terminator, simulator: Simulator
) -> None:
    """No open relay, and no road without a token."""
    user = user.format(token=hop.token) if user else None
    assert curl(hop, url.format(port=tls.port), user=user)[0] == status
    assert simulator.received() == []


def test_a_tunnels_token_and_another_conflict(hop: Proxy, tls: Terminator) -> None:
    other = hop.metrion("token", "create", f"other-{uuid.uuid4().hex[:8]}").strip()
    url = f"https://localhost:{tls.port}/v1/models"
    status, body = curl(hop, url, "-H", f"x-metrion-token: {other}", user=hop.token)
    assert (status, json.loads(body)["error"]["code"]) == (401, "conflicting_tokens")


def test_bytes_that_are_no_http_in_a_tunnel(hop: Proxy, tls: Terminator, simulator: Simulator) -> None:
    """They never reach the provider."""
    token = base64.b64encode(f"{hop.token}:".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", hop.port, timeout=10)
    connection.set_tunnel("localhost", tls.port, {"Proxy-Authorization": f"Basic {token}"})
    connection.connect()
    connection.sock.sendall(b"\x05\x01\x00 no http at all\r\n\r\n")
    answer = connection.sock.recv(65536)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    connection.close()
    assert simulator.received() == []


def test_reverse_mode_of_another_target_routes_by_path(simulator: Simulator, tmp_path: Path) -> None:
    port = free_port()
    command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "--set", f"confdir={tmp_path / 'ca'}"]
    command += ["--mode", f"reverse:http://127.0.0.1:{free_port()}@127.0.0.1:{port}"]
    with running_proxy(tmp_path / "home", command, upstreams(simulator), ports=[port]) as proxy:
        for provider in PROVIDERS:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", f"/{provider}/v1/models", headers={"x-metrion-token": proxy.token})
            assert connection.getresponse().status == 200, provider
            assert simulator.received(1)[0].provider == provider


def test_transparent_mode() -> None:
    """In a network namespace; local mode shares this path, and redirects in the kernel instead."""
    tools = ("unshare", "ip", "iptables", "curl")
    if os.geteuid() != 0 or not all(map(shutil.which, tools)):
        pytest.skip(f"transparent mode needs root and {', '.join(tools)}")
    if subprocess.run(["unshare", "--net", "iptables", "-t", "nat", "-L"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel redirects nothing in a network namespace")
    command = ["unshare", "--net", sys.executable, "-m", "tests.transparent"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- WebSockets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "headers", "subprotocols", "place"),
    [
        ("/openai/v1/realtime?model=gpt-realtime", {"authorization": "Bearer {token}"}, [], "authorization"),
        ("/grok/v1/realtime", {"authorization": "Bearer {token}"}, [], "authorization"),
        ("/openai/v1/realtime", {}, ["realtime", "openai-insecure-api-key.{token}"], "authorization"),
        ("/gemini/ws/google.ai.generativelanguage.v1beta.Live?key={token}&alt=x", {}, [], "x-goog-api-key"),
    ],
    ids=["openai", "grok", "subprotocol", "gemini"],
)
def test_websocket_session(
    target: str, headers: dict[str, str], subprotocols: list[str], place: str, realtime: Proxy, echo: EchoServer
) -> None:
    label = uuid.uuid4().hex
    token = realtime.token
    own = [(name.encode(), value.format(token=token).encode()) for name, value in headers.items()]
    own.append((b"x-metrion-user", label.encode()))
    chosen = [protocol.format(token=token) for protocol in subprotocols]
    client = Client(realtime.port, target.format(token=token), own, subprotocols=chosen)
    assert client.status == 101
    assert [client.ask(text) for text in ("one", "two " * 5000)] == ["ONE", "TWO " * 5000]
    client.close()

    target, received = echo.heads[-1]
    assert token not in target
    assert token.encode() not in b"".join(value for _, value in received)
    key = STORED_KEYS[next(p for p in ("openai", "xai", "google") if p in _provider_of(realtime, label))]
    assert [value for name, value in received if name.lower() == place.encode()] == [
        key.encode() if place == "x-goog-api-key" else f"Bearer {key}".encode()
    ]
    event = realtime.event(label)
    assert (event["status"], event["operation"], event["end_reason"]) == (101, "realtime", "complete")
    assert (event["usage_source"], event["input_tokens"]) == ("none", None)
    assert event["request_bytes"] > 20_000
    assert event["response_bytes"] > 20_000


def _provider_of(proxy: Proxy, label: str) -> str:
    return str(proxy.event(label)["provider"])


def test_each_response_of_a_session_has_its_row(realtime: Proxy) -> None:
    usage = {"total_tokens": 30, "input_tokens": 20, "output_tokens": 10}
    said = [
        {"type": "response.done", "response": {"id": f"resp_{n}", "status": "completed", "usage": usage}}
        for n in (1, 2)
    ]
    rows = session(realtime, "/openai/v1/realtime?model=gpt-realtime", said)
    by_id = {row["generation_id"]: row for row in rows}
    assert [by_id[name]["input_tokens"] for name in ("resp_1", "resp_2", None)] == [20, 20, None]
    assert [by_id[name]["cost_source"] for name in ("resp_1", "resp_2", None)] == ["computed", "computed", "not_billed"]


def test_each_turn_of_a_live_session_has_its_row(realtime: Proxy) -> None:
    usage = {"promptTokenCount": 20, "responseTokenCount": 10, "totalTokenCount": 30}
    said: list[dict[str, Any]] = [
        {"setup": {"model": "models/gemini-2.5-flash"}},
        *[{"serverContent": {"turnComplete": True}, "usageMetadata": usage}] * 2,
    ]
    rows = session(realtime, "/gemini/ws/google.ai.generativelanguage.v1beta.Live", said)
    assert sorted(row["input_tokens"] or 0 for row in rows) == [0, 20, 20]


USED = {"total_tokens": 30, "input_tokens": 20, "output_tokens": 10}


@pytest.mark.parametrize(
    ("target", "messages", "costs"),
    [
        pytest.param(
            "/openai/v1/responses",
            [{"type": "response.completed", "response": {"id": f"resp_{n}", "model": "gpt-4o", "status": "completed",
                                                         "output": [], "usage": USED}} for n in (1, 2)],
            ["0.00015", "0.00015"],
            id="responses",
        ),
        pytest.param(
            "/openai/v1/live/sessions",
            [{"type": "session.started", "session": {"id": "live_1", "model": "gpt-live-1"}},
             {"type": "session.usage.updated", "usage": {"seconds": 6}},
             {"type": "session.closed", "usage": {"seconds": 18}}],
            ["0.005", "0.01"],
            id="Live, by the second",
        ),
        pytest.param(
            "/mistral/v1/audio/transcriptions/realtime?model=voxtral-mini-transcribe-realtime-2602",
            [{"type": "transcription.done", "model": "voxtral-mini-transcribe-realtime-2602", "text": "x",
              "usage": {"prompt_audio_seconds": 36, "prompt_tokens": 1, "total_tokens": 460}}] * 2,
            ["0.0036", "0.0036"],
            id="Mistral's transcriptions",
        ),
    ],
)  # fmt: skip
def test_a_session_of_any_kind_is_billed_as_it_goes(
    realtime: Proxy, target: str, messages: list[dict[str, Any]], costs: list[str]
) -> None:
    rows = session(realtime, target, messages)
    assert [(row["cost_source"], Decimal(str(row["cost_usd"]))) for row in rows if row["usage"] is not None] == [
        ("computed", Decimal(cost)) for cost in costs
    ]


def session(proxy: Proxy, target: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hold a session in which the provider says these messages; returns its rows."""
    label = uuid.uuid4().hex
    headers = [(b"x-metrion-token", proxy.token.encode()), (b"x-metrion-user", label.encode())]
    client = Client(proxy.port, target, headers)
    for message in messages:
        client.ask(json.dumps(message))
    client.close()
    query = f"SELECT * FROM events WHERE user_label = '{label}' ORDER BY event_id"  # noqa: S608 -- our own
    rows = eventually(lambda: proxy.events(query), until=lambda found: len(found) == 3)
    assert len({row["request_id"] for row in rows}) == 1
    assert {(row["status"], row["operation"]) for row in rows} == {(101, "realtime")}
    return rows


def test_websocket_session_without_a_token(realtime: Proxy, echo: EchoServer) -> None:
    before = len(echo.heads)
    client = Client(realtime.port, "/openai/v1/realtime", [(b"authorization", b"Bearer sk-proj-x")])
    assert client.status == 401
    assert len(echo.heads) == before


def test_websocket_client_that_drops(realtime: Proxy) -> None:
    label = uuid.uuid4().hex
    headers = [(b"x-api-key", realtime.token.encode()), (b"x-metrion-user", label.encode())]
    client = Client(realtime.port, "/openai/v1/realtime", headers)
    client.ask("one")
    client.drop()
    assert realtime.event(label)["end_reason"] == "client_abort"


# --- browsers ---------------------------------------------------------------------------------------------------------


def test_preflight_is_answered_for_named_origins_only(simulator: Simulator, tmp_path: Path) -> None:
    config = upstreams(simulator) | {"cors": {"origins": ["https://app.example"]}}
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-metrion-user"}
    with running_serve(tmp_path / "home", config) as proxy:
        for origin, status in (("https://app.example", 200), ("https://other.example", 401)):
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
            connection.request("OPTIONS", "/openai/v1/chat/completions", headers=asked | {"origin": origin})
            response = connection.getresponse()
            assert response.status == status
            allowed = response.headers["access-control-allow-origin"]
            assert allowed == (origin if status == 200 else None)
        assert simulator.received() == []
        headers = {"authorization": f"Bearer {proxy.token}", "origin": "https://app.example"}
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        connection.request("POST", "/openai/v1/chat/completions", BODY, headers)
        assert connection.getresponse().headers["access-control-allow-origin"] == "https://app.example"
        eventually(lambda: len(proxy.events()) == 2)


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("", True)])
def test_mitmdump_warns_where_others_can_read_the_traffic(
    simulator: Simulator, tmp_path: Path, host: str, *, warns: bool
) -> None:
    port = free_port()
    command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "--set", f"confdir={tmp_path / 'ca'}"]
    command += ["--mode", f"regular@{host}:{port}" if host else f"regular@{port}"]
    with running_proxy(tmp_path / "home", command, upstreams(simulator), ports=[port]) as proxy:
        eventually(lambda: "listening at" in proxy.log.read_text())
        assert proxy.stop() == 0
        assert ("Others on the network can reach this proxy" in proxy.log.read_text()) is warns
