"""What must not be in the log: the bytes that mitmproxy quotes, and the words of our own exceptions."""

from __future__ import annotations

import http.client
import json
import logging
import sys
from pathlib import Path

import pytest

from metrion.faults import log_fault
from metrion.proxy.logs import UnparsedHeads, without_quotes
from tests.processes import STORED_KEYS, eventually, running_mitmdump
from tests.simulated import Simulator

SECRET = "sk-metrion-" + "s" * 43


@pytest.mark.parametrize(
    "message",
    [
        f"127.0.0.1:1: Bad HTTP request line: b'GET {SECRET}'",
        f"Client closed connection before completing request headers: b'x-api-key: {SECRET}'",
        f"Unexpected data from server: b'{SECRET}'",
        f"Invalid header line: b'{SECRET}'",
        f" << unexpected server response: b'{SECRET}'",
        f"127.0.0.1:1: HTTP/2 protocol error: Illegal character in header value: b'{SECRET}'",
        f"HTTP/2 connection closed: <ConnectionTerminated additional_data:{SECRET}>",
        f"127.0.0.1:1: Invalid HTTP/2 request headers: Unknown pseudo headers: {{b':x': b'{SECRET}'}}",
        f"Client TLS handshake failed. Cannot parse ClientHello: {SECRET}",
        f"Lowercased '{SECRET}' header as uppercase is not allowed with HTTP/2.",
    ],
)
def test_unparsed_bytes_are_withheld(message: str) -> None:
    record = logging.LogRecord("mitmproxy.proxy.server", logging.INFO, __file__, 1, message, (), None)
    assert UnparsedHeads().filter(record)
    assert SECRET not in record.getMessage()
    assert record.getMessage().endswith("(bytes withheld)")


def test_a_crash_is_reported_without_its_words() -> None:
    try:
        dict[str, str]().pop(SECRET)
    except KeyError:
        record = logging.LogRecord("mitmproxy.proxy.server", logging.ERROR, __file__, 1, "crashed!", (), sys.exc_info())
    assert UnparsedHeads().filter(record)
    said = logging.Formatter().format(record)
    assert said.startswith("crashed!: KeyError at ")
    assert SECRET not in said


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        ("server closed connection", "server closed connection"),
        ("Client disconnected.", "Client disconnected."),
        ("Connection killed.", "Connection killed."),
        ("stream reset by client (CANCEL)", "stream reset by client (CANCEL)"),
        ("[Errno 111] Connect call failed ('127.0.0.1', 1)", "[Errno 111] Connect call failed ('127.0.0.1', 1)"),
        ("HTTP/1 protocol error: The body ended.", "HTTP/1 protocol error: The body ended."),
        ("Request body exceeds mitmproxy's body_size_limit.", "Request body exceeds mitmproxy's body_size_limit."),
        (f"unexpected server response: b'{SECRET}'", "unexpected server response (bytes withheld)"),
        (f"Received unexpected HTTP coding b'{SECRET}' for x", "Received unexpected HTTP coding (bytes withheld)"),
        (f"HTTP/2 connection closed: <x {SECRET}>", "HTTP/2 connection closed (bytes withheld)"),
        (f"Cannot parse QUIC header ({SECRET})", "Cannot parse QUIC header (bytes withheld)"),
    ],
)
def test_what_a_flow_says_of_a_failure(failure: str, shown: str) -> None:
    assert without_quotes(failure) == shown


def test_a_fault_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    try:
        dict[str, str]().pop(SECRET)
    except KeyError as error:
        log_fault(logging.getLogger("metrion"), "A request was refused", error)
    assert "A request was refused: KeyError at " in caplog.text
    assert __file__ in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "access", "decisions"),
    [((), 0, 0), (("--set", "metrion_access_log=true"), 2, 0), (("-v",), 0, 4)],
    ids=["as it comes", "access log", "verbose"],
)
def test_mitmdump_says_what_serve_says(
    simulator: Simulator, tmp_path: Path, arguments: tuple[str, ...], access: int, decisions: int
) -> None:
    with running_mitmdump(tmp_path / "home", simulator, arguments=arguments) as proxy:
        for token, status in ((proxy.token, 200), ("nobody", 401)):
            connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["openai"], timeout=20)
            body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]})
            connection.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {token}"})
            response = connection.getresponse()
            response.read()
            assert response.status == status
            connection.close()
        eventually(lambda: "401 missing_token" in proxy.log.read_text())
        proxy.stop()
        text = proxy.log.read_text()
    assert text.count("First request of token tests (account default): openai chat, status 200.") == 1
    assert text.count("A request to openai was refused: 401 missing_token") == 1
    assert text.count('"duration_ms":') == access
    assert (
        sum(text.count(f"chat/completions: {word}") for word in ("forwarded", "refused with", "complete")) == decisions
    )
    assert proxy.token not in text
    assert STORED_KEYS["openai"] not in text
