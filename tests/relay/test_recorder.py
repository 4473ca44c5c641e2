"""Sessions of agents, whose usage only grows: each answer, in order, and the row that it gets."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion.admission.routing import Router
from metrion.control.generations import Generations
from metrion.metering.outcome import Outcome
from metrion.metering.tap import Tap
from metrion.model import CostSource, EndReason, Event, Inbound, Route, Usage
from metrion.model.event_id import uuid7
from metrion.pricing import PriceBook
from metrion.relay.recorder import Recorder
from metrion.relay.request import Request
from metrion.repricing.rows import COUNTED
from metrion.repricing.usages import Usages
from metrion.settings import Settings
from tests.relay.ways import forward

NOW = datetime(2026, 11, 28)  # noqa: DTZ001 -- events have naive UTC times
SETTINGS = Settings(home=Path("/nowhere"))
SESSION = "/anthropic/v1/sessions/sesn_1"
DREAM = "/anthropic/v1/dreams/drm_1"
AGENT = "/openai/v1/agents/sessions/sess_1"

M = 1_000_000
RATES = "{input: 3, cache_read: 0.3, cache_write: 3.75, cache_write_1h: 6, output: 15, fees: {web_search: 10}}"


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    prices = tmp_path / "prices.yaml"
    prices.write_text(f"anthropic: {{claude-x: {RATES}}}\nopenai: {{gpt-x: {{input: 2, cache_read: 1, output: 8}}}}\n")
    return Recorder(PriceBook.load([prices]), lambda *_: None, Generations(tmp_path / "generations.db"))


def row(recorder: Recorder, method: str, path: str, body: dict[str, Any]) -> Event:
    inbound = Inbound(method.encode(), path.encode(), ())
    route = Router(SETTINGS).route(inbound)
    assert isinstance(route, Route)
    tap = Tap(route.dialect, content_type="application/json", content_encoding=None, status=200)
    tap.feed(json.dumps(body).encode())
    tap.finish()
    outcome = Outcome(
        event_id=uuid7(), request_id="r", started_at=NOW, end_reason=EndReason.COMPLETE, status=200,
        reached_upstream=True,
    )  # fmt: skip
    request = Request(inbound, replace(forward(), route=route), began=0.0)
    event = recorder.event(request, outcome, tap.reading, in_session=False)
    assert event is not None
    return event


def session(status: str, usage: dict[str, Any], *, several: bool = False) -> dict[str, Any]:
    several_agents = {"type": "coordinator"} if several else None
    agent = {"id": "agent_1", "model": {"id": "claude-x"}, "multiagent": several_agents}
    return {"id": "sesn_1", "type": "session", "status": status, "agent": agent, "usage": usage}


def used(tokens_in: int, tokens_out: int, cents: int | None = None, **more: Any) -> dict[str, Any]:
    cost = {} if cents is None else {"list_cost": {"amount": str(cents), "currency": "USD"}}
    return {"input_tokens": tokens_in, "output_tokens": tokens_out, **cost, **more}


def agent(status: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    usage = {"input_tokens": tokens_in, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": tokens_out}
    return {
        "id": "sess_1", "object": "agent.session", "status": status, "agent": {"model": "gpt-x"}, "usage": usage,
    }  # fmt: skip


def dream(status: str, usage: dict[str, Any]) -> dict[str, Any]:
    ended = "2026-11-20T12:10:00Z" if status == "completed" else None
    return {
        "id": "drm_1", "type": "dream", "status": status, "model": {"id": "claude-x"}, "ended_at": ended,
        "usage": usage,
    }  # fmt: skip


NOTHING = CostSource.NOT_BILLED, Decimal(0), None
UNKNOWN = CostSource.UNKNOWN, None, None

WAYS: dict[str, list[tuple[str, str, dict[str, Any], tuple[CostSource, Decimal | None, int | None]]]] = {
    "a session with the list cost": [
        ("POST", "/anthropic/v1/sessions", session("idle", used(0, 0)), (CostSource.NOT_BILLED, Decimal(0), 0)),
        ("POST", f"{SESSION}/events", {"data": []}, UNKNOWN),
        ("GET", SESSION, session("running", used(100, 10)), NOTHING),
        ("GET", SESSION, session("idle", used(1000, 100, 5)), (CostSource.PROVIDER, Decimal("0.05"), 1000)),
        ("GET", SESSION, session("idle", used(1000, 100, 5)), NOTHING),
        ("POST", f"{SESSION}/events", {"data": []}, UNKNOWN),
        ("GET", SESSION, session("terminated", used(1600, 150, 9)), (CostSource.PROVIDER, Decimal("0.04"), 600)),
        ("GET", SESSION, session("idle", used(1000, 100, 5)), NOTHING),
    ],
    "a session that begins at once": [
        ("POST", "/anthropic/v1/sessions", session("running", used(0, 0)), UNKNOWN),
        ("GET", SESSION, session("idle", used(M, 0, 301)), (CostSource.PROVIDER, Decimal("3.01"), M)),
    ],
    "tokens alone are priced, and what was active is not": [
        ("GET", SESSION, session("idle", used(M, M)), (CostSource.COMPUTED, Decimal(18), M)),
        ("GET", SESSION, session("idle", used(2 * M, M)), (CostSource.COMPUTED, Decimal(3), M)),
        ("GET", SESSION, session("idle", used(3 * M, M, active_seconds=1)), (CostSource.UNPRICED, None, M)),
    ],
    "several agents may have several models": [
        ("GET", SESSION, session("idle", used(M, M), several=True), (CostSource.UNPRICED, None, M)),
    ],
    "another currency is no dollars": [
        (
            "GET", SESSION, session("idle", used(M, 0, list_cost={"amount": "5", "currency": "EUR"})),
            (CostSource.COMPUTED, Decimal(3), M),
        ),
    ],
    "a count that falls": [
        ("GET", SESSION, session("idle", used(1000, 100)), (CostSource.COMPUTED, Decimal("0.0045"), 1000)),
        ("GET", SESSION, session("idle", used(900, 300)), (CostSource.UNKNOWN, None, None)),
    ],
    "a run of a deployment": [
        (
            "POST", "/anthropic/v1/deployments/depl_1/run",
            {"id": "drun_1", "type": "deployment_run", "session_id": "sesn_1"}, UNKNOWN,
        ),
    ],
    "a dream": [
        ("POST", "/anthropic/v1/dreams", dream("pending", used(0, 0)), UNKNOWN),
        ("GET", DREAM, dream("running", used(10, 1)), NOTHING),
        ("GET", DREAM, dream("completed", used(M, 0)), (CostSource.COMPUTED, Decimal(3), M)),
        ("GET", DREAM, dream("completed", used(M, 0)), NOTHING),
    ],
    "a dream that wrote to caches of either lifetime": [
        (
            "GET", DREAM, dream("completed", used(0, 0, cache_creation_input_tokens=M)),
            (CostSource.ESTIMATED, Decimal("3.75"), M),
        ),
    ],
    "an agent of OpenAI's": [
        ("POST", "/openai/v1/agents/sessions", agent("in_progress", 0, 0) | {"usage": None}, UNKNOWN),
        ("GET", AGENT, agent("idle", M, 0), (CostSource.ESTIMATED, Decimal(2), M)),
        ("GET", AGENT, agent("idle", M, M), (CostSource.ESTIMATED, Decimal(8), 0)),
        ("GET", AGENT, agent("idle", M, M), NOTHING),
    ],
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_each_answer_is_billed_for_what_it_adds(
    recorder: Recorder, way: list[tuple[str, str, dict[str, Any], tuple[CostSource, Decimal | None, int | None]]]
) -> None:
    for number, (method, path, body, expected) in enumerate(way):
        event = row(recorder, method, path, body)
        assert (event.cost_source, event.cost_usd, event.input_tokens) == expected, number


def test_a_request_that_has_a_session_go_on_names_it(recorder: Recorder) -> None:
    assert row(recorder, "POST", f"{SESSION}/events", {"data": []}).generation_id == "sesn_1"
    assert row(recorder, "POST", f"{AGENT}/events", {"object": "list"}).generation_id == "sess_1"


def test_what_was_added_can_be_priced_again_from_the_row(recorder: Recorder) -> None:
    row(recorder, "GET", SESSION, session("idle", used(1000, 100, server_tool_use={"web_search_requests": 2})))
    event = row(recorder, "GET", SESSION, session("idle", used(3000, 100, server_tool_use={"web_search_requests": 5})))
    assert event.server_tools == {"web_search_requests": 3}
    stored = {name: getattr(event, name) for name in (*COUNTED, "usage", "usage_source", "wire_format", "model")}
    usage, whole = Usages(SETTINGS).rebuilt(stored | {"cost_usd": None, "cost_source": "computed"})
    assert (whole, usage.input_tokens, usage.averaged) == (True, 2000, True)
    assert isinstance(usage, Usage)
