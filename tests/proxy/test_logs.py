"""What must not be in the log: the bytes that mitmproxy quotes, and the words of our own exceptions."""

from __future__ import annotations

import logging
import sys

import pytest

from metrion.faults import log_fault
from metrion.proxy.logs import UnparsedHeads, without_quotes

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
