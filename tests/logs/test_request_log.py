"""The shell that writes: nothing where nothing is wanted, and no fault of its own in the traffic."""

from __future__ import annotations

import json
import logging
from ipaddress import ip_network
from typing import Any

import pytest

from metrion.admission.codes import MISSING_TOKEN
from metrion.logs import request_log
from metrion.logs.output import LogOptions
from metrion.logs.request_log import RequestLog
from metrion.model import Answer, EndReason, Event, Inbound, Refusal
from metrion.relay.attempt import Attempt
from metrion.settings import load_settings
from tests.relay.ways import Gate, inbound
from tests.store.events import event

PROVIDERS = load_settings(None, {"METRION_HOME": "/nonexistent"}).providers
ROW = event(streamed=False, end_reason=EndReason.COMPLETE, latency_ms=12.34)


def log(**options: Any) -> RequestLog:
    return RequestLog.of(PROVIDERS, LogOptions(**options))


def attempt(refusal: Refusal | None = None) -> Attempt:
    gate = Gate()
    made = gate.begin("key", inbound(), refusal or gate.decision, began=0.0)  # type: ignore[arg-type]  # it forwards
    if refusal is not None:
        made.own_response(refusal, 10)
    return made


def messages(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == name]


def everything(one: RequestLog, row: Event | None = ROW) -> None:
    one.decided(inbound(), Gate().decision)  # type: ignore[arg-type]  # it forwards
    one.finished(attempt(), row)
    one.finished(attempt(Refusal(MISSING_TOKEN, "No token.", "openai")), None)
    one.answered(inbound(), Answer(200, (), b""), began=0.0)
    one.unreadable(400, "No Host.", ("192.0.2.9", 4711))


@pytest.mark.parametrize(
    ("options", "notices", "access", "decisions"),
    [
        ({}, 3, 0, 0),
        ({"level": "warning"}, 3, 0, 0),
        ({"level": "error"}, 0, 0, 0),
        ({"level": "debug"}, 3, 0, 4),
        ({"access": True}, 3, 4, 0),
        ({"level": "error", "access": True}, 0, 4, 0),
    ],
)
def test_what_is_wanted_is_written(
    caplog: pytest.LogCaptureFixture, options: dict[str, Any], notices: int, access: int, decisions: int
) -> None:
    caplog.set_level(logging.DEBUG, "metrion")
    everything(log(**options))
    counts = [len(messages(caplog, f"metrion.{name}")) for name in ("notices", "access", "decisions")]
    assert counts == [notices, access, decisions]


def test_a_gateway_without_a_log_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "metrion")
    everything(RequestLog())
    assert not caplog.records


def test_a_line_of_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "metrion")
    log(level="error", access=True).finished(attempt(), ROW)
    (line,) = messages(caplog, "metrion.access")
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "method": "POST",
        "path": "/openai/v1/chat/completions",
        "provider": "openai",
        "model": "gpt-5",
        "operation": "chat",
        "status": None,
        "duration_ms": 12.3,
        "address": None,
        "token": "tests",
        "event_id": str(ROW.event_id),
    }


def test_a_fault_in_a_line_is_logged_and_goes_no_further(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise ValueError("sk-secret")

    for name in ("access_line", "decided", "ended"):
        monkeypatch.setattr(request_log, name, fail)
    everything(log(level="debug", access=True))
    assert "A line of the log could not be written: ValueError" in caplog.text
    assert "sk-secret" not in caplog.text


@pytest.mark.parametrize(("trusted", "address"), [([], "10.0.0.1"), (["10.0.0.0/8"], "192.0.2.7")])
def test_the_access_log_has_the_address_behind_trusted_proxies(
    caplog: pytest.LogCaptureFixture, trusted: list[str], address: str
) -> None:
    caplog.set_level(logging.INFO, "metrion")
    headers = ((b"x-forwarded-for", b"127.0.0.1, 192.0.2.7"),)
    networks = [ip_network(each) for each in trusted]
    asked = Inbound(b"GET", b"/health", headers, peer=("10.0.0.1", 1), trusted_proxies=networks)
    log(access=True).answered(asked, Answer(200, (), b""), began=0.0)
    (line,) = messages(caplog, "metrion.access")
    assert json.loads(line)["address"] == address
