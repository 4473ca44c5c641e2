"""What must not be in the log: the bytes that mitmproxy quotes, and the words of our own exceptions."""

from __future__ import annotations

import logging

import pytest

from metrion.faults import log_fault
from metrion.proxy.logs import UnparsedHeads

SECRET = "sk-metrion-" + "s" * 43


@pytest.mark.parametrize(
    "message",
    [
        f"127.0.0.1:1: Bad HTTP request line: b'GET {SECRET}'",
        f"Client closed connection before completing request headers: b'x-api-key: {SECRET}'",
        f"Unexpected data from server: b'{SECRET}'",
        f"Invalid header line: b'{SECRET}'",
    ],
)
def test_unparsed_bytes_are_withheld(message: str) -> None:
    record = logging.LogRecord("mitmproxy.proxy.server", logging.INFO, __file__, 1, message, (), None)
    assert UnparsedHeads().filter(record)
    assert SECRET not in record.getMessage()
    assert record.getMessage().endswith("(bytes withheld)")


def test_a_fault_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    try:
        dict[str, str]().pop(SECRET)
    except KeyError as error:
        log_fault(logging.getLogger("metrion"), "A request was refused", error)
    assert "A request was refused: KeyError at " in caplog.text
    assert __file__ in caplog.text
    assert SECRET not in caplog.text
