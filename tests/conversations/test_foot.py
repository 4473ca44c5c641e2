"""What is said of a cost: the comment of a flow, and the foot of its view."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from metrion.conversations.foot import added, comment, foot
from metrion.model import Event

ID = UUID("01922222-2222-7222-8222-222222222222")


def event(**fields: Any) -> Event:
    common = {
        "event_id": ID,
        "request_id": "r",
        "started_at": datetime.fromisoformat("2026-11-20"),
        "provider": "openai",
    }
    return Event(**{**common, **fields})


PRICED = event(
    model="gpt-4o", model_requested="gpt-4o-latest", input_tokens=1200, output_tokens=5, cache_read_tokens=1000,
    cost_usd=Decimal("0.001234500000"), cost_source="computed", user_label="alice",
)  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (PRICED, f"$0.001234 · gpt-4o · 1,200 in (1,000 cached), 5 out · alice · {ID}"),
        (event(model="m", cost_source="unpriced", input_tokens=1), f"unpriced · m · 1 in, ? out · {ID}"),
        (event(model_requested="m", cost_source="unknown"), f"unknown · m · {ID}"),
        (event(cost_source="unknown", cost_at_least_usd=Decimal("0.5")), f"≥$0.5000 · {ID}"),
        (event(cost_source="subscription", cost_usd=Decimal(0), model="m"), f"subscription · m · {ID}"),
        (event(cost_source="estimated", cost_usd=Decimal("1.5"), output_tokens=3), f"~$1.500 · ? in, 3 out · {ID}"),
        (event(cost_source="not_billed", cost_usd=Decimal(0)), f"$0.00 · {ID}"),
        (replace(PRICED, user_label="a\n\x1b[1m", input_tokens=None, cache_read_tokens=None, output_tokens=None),
         f"$0.001234 · gpt-4o · a��[1m · {ID}"),
    ],
)  # fmt: skip
def test_the_comment_of_one_event(shown: Event, expected: str) -> None:
    assert comment(added(None, shown)) == expected


def test_a_session_has_a_running_total() -> None:
    total = added(added(None, PRICED), PRICED)
    assert comment(total) == f"$0.002469 · gpt-4o · 2,400 in (2,000 cached), 10 out · 2 rows · alice · {ID}"
    closed = added(added(total, event(cost_source="unknown")), event(cost_source="not_billed", cost_usd=Decimal(0)))
    assert comment(closed).startswith("$0.002469 + 1 without a known cost · gpt-4o · 2,400 in")


def test_the_foot_of_a_view() -> None:
    shown = replace(
        PRICED, cost_parts={"input": Decimal("0.001")}, first_byte_ms=12.4, latency_ms=1500.0, end_reason="timeout"
    )
    assert dict(foot(added(None, shown))) == {
        "cost": "$0.001234",
        "cost parts": "input $0.001000",
        "tokens": "1,200 in (1,000 cached), 5 out",
        "model": "gpt-4o-latest requested, gpt-4o served",
        "first byte": "12 ms",
        "whole": "1,500 ms",
        "ended": "timeout",
        "user": "alice",
        "event": str(ID),
    }
    assert dict(foot(added(None, event(model="m"))))["tokens"] == "not reported"
