# ruff: noqa: DTZ001 - times in events are naive UTC
from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from metrion.cli.event_lines import columns_that_fit

EVENT: dict[str, Any] = {
    "started_at": datetime(2026, 11, 1, 10, 30, 15),
    "user_label": "alice",
    "provider": "anthropic",
    "model": "claude-haiku-4-5-20251001-with-a-long-name",
    "model_requested": None,
    "status": 200,
    "input_tokens": 12345,
    "output_tokens": 6,
    "cache_read_tokens": None,
    "cost_usd": Decimal("0.012345678901"),
    "cost_at_least_usd": None,
    "cost_source": "computed",
    "latency_ms": 1234.5,
    "token_name": "run-20261128-181502-3f2a",
    "account": "default",
    "tags": {"team": "support", "feature": "search"},
    "session_id": "01a2234f-e00a-7151-b1d8-e3c41a24a551",
    "client": "claude-cli/2.1.197",
    "end_reason": "complete",
    "error_type": None,
}


@pytest.mark.parametrize("width", range(20, 300))
def test_a_line_is_no_wider_than_the_terminal(width: int) -> None:
    layout = columns_that_fit(width)
    assert len(layout.heading()) <= max(width, 24)
    assert len(layout.line(EVENT)) <= max(width, 24)


@pytest.mark.parametrize(
    ("width", "heading", "line"),
    [
        (
            80,
            "UTC user provider model status cost end",
            "10:30:15 alice anthropic claude-haiku-4-5… 200 $0.01235 complete",
        ),
        (
            120,
            "UTC user provider model status in out cost took token end",
            "10:30:15 alice anthropic claude-haiku-4-5… 200 12,345 6 $0.01235 1,234 ms run-20261… complete",
        ),
        (
            250,
            "time (UTC) user provider model status in out cached cost took token account tags session client end",
            "2026-11-01 10:30:15 alice anthropic claude-haiku-4-5-20251001-w… 200 12,345 6 - $0.01235 1,234 ms "
            "run-20261128-181502-3f2a default team=support,f… 01a2234f-… claude-cli/2.1.197 "
            "complete",
        ),
    ],
)
def test_a_wider_terminal_has_more_columns(width: int, heading: str, line: str) -> None:
    layout = columns_that_fit(width)
    assert " ".join(layout.heading().split()) == heading
    assert " ".join(layout.line(EVENT).split()) == line


def test_without_a_terminal_there_is_everything() -> None:
    layout = columns_that_fit(None)
    for name in ("model", "session_id", "token_name", "client"):
        assert EVENT[name] in layout.line(EVENT)
    assert "team=support,feature=search" in layout.line(EVENT)


@pytest.mark.parametrize(
    ("columns", "cost"),
    [
        ({}, "$0.01235"),
        ({"cost_usd": Decimal("0E-12"), "cost_source": "not_billed"}, "$0"),
        ({"cost_usd": Decimal("0E-12"), "cost_source": "subscription"}, "subscription"),
        ({"cost_usd": Decimal("1234.5")}, "$1234.50"),
        ({"cost_usd": Decimal("0.000000123456")}, "$0.0000001235"),
        ({"cost_usd": Decimal("0.5"), "cost_source": "estimated"}, "~$0.5000"),
        ({"cost_usd": None, "cost_source": "unpriced"}, "unpriced"),
        ({"cost_usd": None, "cost_source": None}, "unknown"),
        ({"cost_usd": None, "cost_source": "unknown", "cost_at_least_usd": Decimal("0.2")}, "≥$0.2000"),
    ],
)
def test_costs_are_to_be_read(columns: dict[str, Any], cost: str) -> None:
    assert f" {cost} " in columns_that_fit(None).line(EVENT | columns)


def test_what_a_caller_chose_steers_no_terminal() -> None:
    line = columns_that_fit(None).line(EVENT | {"tags": {"a": "\x1b[31m"}, "session_id": "\n", "client": "\x07"})
    assert "\x1b" not in line
    assert "\n" not in line
    assert r"a=\x1b[31m" in line
