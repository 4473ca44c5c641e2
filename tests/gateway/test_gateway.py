"""What the gateway decides when something is wrong, and which events it keeps, without mitmproxy."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from metrion.control import ControlStore
from metrion.gateway import gateway as module
from metrion.gateway.gateway import Gateway
from metrion.gateway.scoreboard import STRANGERS_EVENTS_PER_MINUTE, Scoreboard
from metrion.model import EndReason, ErrorShape, Forward, Inbound, Refusal
from metrion.settings import Settings, load_settings
from tests.processes import eventually, prepare_home

KEY = b"sk-proj-0123456789abcdefghij"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(None, prepare_home(tmp_path / "home"))


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Gateway]:
    running = Gateway(settings, Scoreboard().take(0, os.getpid()))
    yield running
    running.close()


def post(path: bytes) -> Inbound:
    return Inbound(b"POST", path, ((b"host", b"127.0.0.1"), (b"authorization", b"Bearer " + KEY)))


def record(gateway: Gateway, inbound: Inbound) -> None:
    decision = gateway.decide(inbound)
    assert isinstance(decision, Refusal)
    attempt = gateway.begin(object(), inbound, decision, began=time.perf_counter())
    gateway.finish(attempt, EndReason.REFUSED)


def recorded_providers(settings: Settings) -> list[str]:
    segments = sorted(settings.journal_dir.glob("*.ndjson"))
    return [json.loads(line)["provider"] for segment in segments for line in segment.read_text().splitlines()]


@pytest.mark.parametrize(
    ("fails", "path", "provider", "shape"),
    [
        ("admit", b"/openai/v1/chat/completions", "openai", ErrorShape.OPENAI),
        ("admit", b"/v1/messages", "anthropic", ErrorShape.ANTHROPIC),
        ("admit", b"/gemini/v1beta/models/gemini-2.5-flash:generateContent", "google", ErrorShape.GOOGLE),
        ("preflight", b"/v1/messages", None, ErrorShape.OPENAI),
    ],
)
def test_a_fault_refuses_in_the_shape_of_whom_the_request_was_for(
    fails: str,
    path: bytes,
    provider: str | None,
    shape: ErrorShape,
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise ValueError(KEY)

    monkeypatch.setattr(module, fails, fault)
    refusal = gateway.decide(post(path))
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.provider, refusal.error_shape) == (500, "internal", provider, shape)
    assert "ValueError" in caplog.text
    assert KEY.decode() not in caplog.text + refusal.message


def test_requests_that_name_no_provider_take_no_events_from_those_that_do(settings: Settings, gateway: Gateway) -> None:
    for _ in range(STRANGERS_EVENTS_PER_MINUTE + 1):
        record(gateway, post(b"/nowhere"))
    for _ in range(STRANGERS_EVENTS_PER_MINUTE + 1):
        record(gateway, post(b"/openai/v1/models"))
    assert recorded_providers(settings) == ["openai"] * STRANGERS_EVENTS_PER_MINUTE


CHANGES: list[tuple[str, Callable[[ControlStore], None], str]] = [
    ("the token is revoked", lambda control: control.revoke_token("laptop"), "invalid_token"),
    ("the key is removed", lambda control: control.remove_key("openai"), "no_provider_key"),
    ("the key is another", lambda control: control.set_key("openai", "another-key"), "Bearer another-key 600"),
    ("the plan is another", lambda control: control.set_plan("default", "free"), "Bearer first-key 30"),
]


def said_of(decision: object) -> str:
    if isinstance(decision, Refusal):
        return decision.code
    assert isinstance(decision, Forward)
    timeout = decision.caller.timeout or 0
    return f"{dict(decision.wire.headers)[b'authorization'].decode()} {timeout:g}"


@pytest.mark.parametrize(("change", "then"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_change_holds_for_the_very_next_request(
    change: Callable[[ControlStore], None], then: str, settings: Settings, gateway: Gateway
) -> None:
    with closing(ControlStore.open(settings)) as control:
        control.set_key("openai", "first-key")
        token = control.create_token("laptop").secret.encode()
        inbound = Inbound(b"POST", b"/openai/v1/chat/completions", ((b"authorization", b"Bearer " + token),))
        assert [said_of(gateway.decide(inbound)) for _ in range(3)] == ["Bearer first-key 600"] * 3
        change(control)
        assert said_of(gateway.decide(inbound)) == then


def test_a_token_expires_between_two_requests(settings: Settings, gateway: Gateway) -> None:
    with closing(ControlStore.open(settings)) as control:
        control.set_key("openai", "first-key")
        expires_at = datetime.now(UTC) + timedelta(seconds=3)
        token = control.create_token("laptop", expires_at=expires_at).secret.encode()
    inbound = Inbound(b"POST", b"/openai/v1/chat/completions", ((b"authorization", b"Bearer " + token),))
    assert said_of(gateway.decide(inbound)) == "Bearer first-key 600"
    assert eventually(lambda: said_of(gateway.decide(inbound)) == "invalid_token", timeout=10)
    assert datetime.now(UTC) >= expires_at.replace(microsecond=0)
