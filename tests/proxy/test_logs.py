"""What must not be in the log: the bytes that mitmproxy quotes, and the words of our own exceptions."""

from __future__ import annotations

import http.client
import json
import logging
from pathlib import Path

import pytest

from metrion.faults import log_fault
from metrion.proxy.logs import UnparsedHeads
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
