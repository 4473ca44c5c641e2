# ruff: noqa: DTZ001 -- times in events are naive UTC
"""Priced events, and homes in which they are priced again, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import yaml

from metrion.pricing import PriceBook
from metrion.repricing import Result, Selection, reprice
from metrion.settings import Settings, load_settings
from tests.store.events import Home

DAY = datetime(2026, 11, 5, 12)
PRICES: dict[str, Any] = {
    "openai": {
        "gpt-5": {"input": 2, "output": 10, "cache_read": 1, "service_tiers": {"batch": {"input": 1, "output": 5}}},
        "changed": {
            "rates": [{"until": "2026-10-10", "input": 7, "output": 7}, {"from": "2026-10-10", "input": 9, "output": 9}]
        },
        "changed-tier": {
            "input": 9,
            "output": 9,
            "service_tiers": {
                "batch": [
                    {"until": "2026-10-10", "input": 3, "output": 3},
                    {"from": "2026-10-10", "input": 4, "output": 4},
                ]
            },
        },
        "regional": {"input": 2, "output": 10, "regional": 1.1},
        "tts-1": {"fees": {"input_character": 0.02}},
        "dated": {"rates": [{"until": "2026-11-05", "input": 7}, {"from": "2026-11-05", "input": 9}]},
        "video": {"input": 1, "input_video": 100, "input_audio": 50, "cache_read_audio": 5, "cache_read": 0.5},
    },
    "anthropic": {
        "claude": {"input": 3, "output": 15, "service_tiers": {"fast": {"input": 6, "output": 30}}},
        "adviser": {"input": 5, "output": 25},
    },
    "google": {"gemini-3": {"input": 2, "output": 10, "fees": {"web_search": 14}}},
    "xai": {"grok": {"input": 4, "output": 8}},
    "gone": {"any": {"input": 1, "output": 1}},
}
OPENAI_USAGE = '{"prompt_tokens": 100, "completion_tokens": 20}'
USUAL: dict[str, Any] = {
    "started_at": DAY,
    "method": "POST",
    "path": "/v1/chat/completions",
    "usage": OPENAI_USAGE,
    "cost_usd": Decimal("0.5"),
    "computed_cost_usd": Decimal("0.5"),
    "cost_parts": {"input": Decimal("0.5")},
    "price_version": "old",
}
UNPRICED: dict[str, Any] = {
    "cost_usd": None,
    "computed_cost_usd": None,
    "cost_parts": None,
    "cost_source": "unpriced",
}
NEW = Decimal("0.0004")  # 100 tokens at $2 and 20 at $10 a million


def settings_of(home: Home, prices: Mapping[str, Any] = PRICES) -> Settings:
    (home.path / "prices.yaml").write_text(yaml.safe_dump(prices))
    (home.path / "metrion.yaml").write_text("pricing: [prices.yaml]\n")
    return load_settings(None, {"METRION_HOME": str(home.path)})


def run(home: Home, prices: Mapping[str, Any] = PRICES, *, dry_run: bool = False, **selection: Any) -> Result:
    settings = settings_of(home, prices)
    return reprice(settings, PriceBook.load(settings.pricing), Selection(**selection), dry_run=dry_run)


MONEY = ("cost_usd", "cost_source", "computed_cost_usd", "cost_parts", "price_version", "cost_at_least_usd")


def money(home: Home) -> list[dict[str, Any]]:
    rows = home.values(f"SELECT {', '.join(MONEY)} FROM events ORDER BY event_id")  # noqa: S608 -- names of columns
    return [dict(zip(MONEY, row, strict=True)) for row in rows]
