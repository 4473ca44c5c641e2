"""What the gateway decides when something is wrong, and which events it keeps, without mitmproxy."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrion.gateway import gateway as module
from metrion.gateway.board import STRANGERS_EVENTS_PER_MINUTE, Board
from metrion.gateway.gateway import Gateway
from metrion.model import EndReason, ErrorShape, Inbound, Refusal
from metrion.settings import Settings, load_settings
from tests.processes import prepare_home

KEY = b"sk-proj-0123456789abcdefghij"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(None, prepare_home(tmp_path / "home"))


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Gateway]:
    running = Gateway(settings, Board().take(0, os.getpid()))
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
