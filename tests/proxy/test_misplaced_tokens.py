"""A Metrion token where none may be: 400 in the provider's own words, and nothing keeps or shows it."""

from __future__ import annotations

import json
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.credentials import UNKNOWN
from tests.processes import MITMDUMP, ROOT, Proxy, free_port, running_mitmdump, running_proxy, upstreams
from tests.simulated import Simulator

ENCODED = "".join(f"%{ord(each):02X}" for each in UNKNOWN)
TWICE = ENCODED.replace("%", "%25")
LINES = {
    "method": (f"{UNKNOWN} PATH HTTP/1.1", ""),
    "path": (f"POST PATH/{UNKNOWN} HTTP/1.1", ""),
    "encoded path": (f"POST PATH/{ENCODED} HTTP/1.1", ""),
    "path encoded twice": (f"POST PATH/{TWICE}/x HTTP/1.1", ""),
    "encoded query": (f"POST PATH?a={ENCODED} HTTP/1.1", ""),
    "query encoded twice": (f"POST PATH?{TWICE}&b=1 HTTP/1.1", ""),
    "key encoded twice": (f"POST PATH?key={TWICE} HTTP/1.1", ""),
    "name": ("POST PATH HTTP/1.1", f"{UNKNOWN}: 1\r\n"),
    "name of a tag": ("POST PATH HTTP/1.1", f"x-metrion-tag-{UNKNOWN}: 1\r\n"),
    "encoded name": ("POST PATH HTTP/1.1", f"x-{ENCODED}: 1\r\n"),
}
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "mistral": "/v1/chat/completions"}


def send(proxy: Proxy, provider: str, line: str, fields: str) -> tuple[int, dict[str, Any]]:
    port = proxy.ports.get(provider, proxy.port)
    prefix = "" if proxy.ports else f"/{provider}"
    head = f"{line.replace('PATH', prefix + PATHS[provider])}\r\nhost: 127.0.0.1:{port}\r\n{fields}"
    head += f"authorization: Bearer {proxy.token}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head.encode())
        received = b""
        while piece := client.recv(65536):
            received += piece
    status, _, body = received.partition(b"\r\n\r\n")
    assert b"x-metrion-error: bad_request" in status.lower(), received
    assert b"x-should-retry: false" in status.lower()
    return int(status.split(b" ")[1]), json.loads(body)


def check(proxy: Proxy, simulator: Simulator, provider: str) -> None:
    for line, fields in LINES.values():
        label = uuid.uuid4().hex
        status, body = send(proxy, provider, line, f"x-metrion-user: {label}\r\n{fields}")
        assert status == 400
        assert ("type" in body) == (provider in ("anthropic", "mistral"))
        event = proxy.event(label)
        assert (event["status"], event["error_type"], event["provider"]) == (400, "bad_request", provider)
        row = json.dumps(event)
        assert UNKNOWN[11:40] not in row
        assert ENCODED[60:] not in row
        assert TWICE[60:] not in row
    assert simulator.received() == []


@pytest.mark.parametrize("provider", PATHS)
def test_a_misplaced_token(provider: str, serve: Proxy, simulator: Simulator) -> None:
    check(serve, simulator, provider)
    log = serve.log.read_text()
    assert UNKNOWN[11:40] not in log
    assert ENCODED[60:] not in log


def test_no_flow_shows_it(simulator: Simulator, tmp_path: Path) -> None:
    arguments = ["-w", str(tmp_path / "flows.mitm"), "--set", f"hardump={tmp_path / 'flows.har'}", "--flow-detail", "4"]
    with running_mitmdump(tmp_path / "home", simulator, arguments=arguments, program=MITMDUMP) as proxy:
        check(proxy, simulator, "openai")
        assert proxy.stop() == 0
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes().lower()
            for secret in (UNKNOWN[11:40], ENCODED[60:], TWICE[60:]):
                assert secret.lower().encode() not in content, path


def test_a_token_in_a_label_is_masked_and_passes(serve: Proxy, simulator: Simulator) -> None:
    for spelled in (UNKNOWN, ENCODED, TWICE):
        label = uuid.uuid4().hex
        with socket.create_connection(("127.0.0.1", serve.port), timeout=20) as client:
            client.sendall(
                f"GET /openai/v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {serve.token}\r\n"
                f"x-metrion-user: {label}\r\nx-metrion-tag-job: of {spelled}\r\nconnection: close\r\n\r\n".encode()
            )
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
        row = json.dumps(serve.event(label))
        assert spelled[-30:] not in row
        assert UNKNOWN[11:40] not in row
    for received in simulator.received(3):
        assert b"x-metrion" not in b"".join(name for name, _ in received.headers).lower()


def test_a_token_as_a_host_is_shown_nowhere(simulator: Simulator, tmp_path: Path) -> None:
    port = free_port()
    command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "--set", f"confdir={tmp_path / 'mitmproxy'}"]
    command += ["-p", str(port), "-w", str(tmp_path / "flows.mitm"), "--flow-detail", "4"]
    with running_proxy(tmp_path / "home", command, upstreams(simulator), ports=[port]) as proxy:
        for line in (f"CONNECT {UNKNOWN}:443 HTTP/1.1", f"GET http://{UNKNOWN}/v1 HTTP/1.1"):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(f"{line}\r\nhost: {UNKNOWN}\r\nconnection: close\r\n\r\n".encode())
                answer = b""
                while piece := client.recv(65536):
                    answer += piece
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert UNKNOWN[11:40].encode() not in answer
        assert proxy.stop() == 0
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or UNKNOWN[11:40].encode() not in path.read_bytes(), path
