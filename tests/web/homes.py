"""A home that looks like a month of a small team, for the tests of the pages."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from metrion.control import ControlStore
from metrion.model import Event
from metrion.settings import Settings
from tests.store.events import Home, event

HOSTILE = ("<script>alert(1)</script>", "🙂 emoji", "tab\there\x07\x1b[31m", "עברית \u202eעל", "x" * 10_000, "=cmd()")
_MODELS = (
    ("anthropic", "claude-sonnet-4-5", "messages", 3, 15),
    ("anthropic", "claude-opus-4-1", "messages", 15, 75),
    ("openai", "gpt-5", "responses", 1.25, 10),
    ("openai", "gpt-5-mini", "chat", 0.25, 2),
    ("google", "gemini-2.5-pro", "generate_content", 1.25, 10),
    ("mistral", "mistral-large-latest", "chat", 2, 6),
    ("xai", "grok-4", "chat", 3, 15),
)
_WEIGHTS = (30, 8, 22, 18, 10, 6, 6)
_LIMITS = json.dumps({"x-ratelimit-remaining-requests": "412"})
_AFTERNOON = datetime(2026, 11, 26, 14, 40)  # noqa: DTZ001 -- naive UTC
"""What now is taken for: a Thursday, so that a home is not emptier on a Sunday morning."""
_USERS = ("ann", "bob", "chloe", "deniz", "eve", None)


def filled(path: Path, events: int = 2500, days: float = 16, seed: int = 7, now: datetime | None = None) -> Settings:
    """Fill a home at ``path``, ingested but for its last events, and return its settings. ``now``: when they end."""
    settings = Settings(home=path, timezone="Europe/Zurich")
    ControlStore.open(settings).close()
    home = Home(path)
    home.initialise()
    made = metered(events, days, seed, now or datetime.now(UTC))
    home.record(*made[:-20])
    home.ingest()
    home.record(*made[-20:])
    return settings


def metered(events: int, days: float, seed: int, now: datetime) -> list[Event]:
    """Return events up to now, more of them by day than by night: as many in each hour back, whenever now is."""
    chance = random.Random(seed)
    now = now.replace(tzinfo=None)
    found: list[Event] = []
    while len(found) < events:
        at = now - timedelta(days=days * chance.random() ** 1.15)
        clock = _AFTERNOON - (now - at)
        if chance.random() > (0.25 if clock.hour < 7 or clock.weekday() > 4 else 1):
            continue
        found.append(_one(chance, at, len(found)))
    return sorted(found, key=lambda each: each.started_at)


def _one(chance: random.Random, at: datetime, number: int) -> Event:
    provider, model, operation, dear_in, dear_out = chance.choices(_MODELS, _WEIGHTS)[0]
    tokens, out = int(chance.lognormvariate(8.2, 1.1)) + 20, int(chance.lognormvariate(6, 1)) + 5
    read = int(tokens * chance.choice((0, 0, 0.4, 0.8)))
    parts = {
        "input": _dollars(dear_in, tokens - read),
        "cache_read": _dollars(dear_in / 10, read),
        "output": _dollars(dear_out, out),
    }
    latency = chance.lognormvariate(7.6, 0.6)
    columns: dict[str, Any] = {
        "event_id": UUID(int=(int((at - datetime(1970, 1, 1)).total_seconds() * 1000) << 80)  # noqa: DTZ001 -- naive UTC
                         | (0x7 << 76) | (0x2 << 62) | number),
        "started_at": at, "provider": provider, "model": model, "model_requested": model, "operation": operation,
        "path": f"/v1/{operation}", "user_label": chance.choice(_USERS),
        "token_name": chance.choice(("laptop", "ci", "backend")),
        "input_tokens": tokens, "cache_read_tokens": read, "output_tokens": out, "cost_usd": sum(parts.values()),
        "computed_cost_usd": sum(parts.values()), "cost_parts": parts,
        "price_version": "4fe1c09b7a52", "end_reason": "complete", "attempt": 1,
        "latency_ms": latency, "first_byte_ms": latency * 0.3, "overhead_ms": chance.lognormvariate(-1.4, 0.4),
        "client": "claude-cli" if provider == "anthropic" else "OpenAI/Python",
        "session_id": f"session-{int(at.timestamp()) // 7200}" if provider == "anthropic" else None,
        "provider_limits": _LIMITS if provider == "openai" else None,
        "tags": {"team": "web", "env": "test"} if number % 3 == 0 else {"team": "search"} if number % 3 == 1 else None,
    }  # fmt: skip
    if chance.random() < 0.04:
        status, error, end = chance.choice(
            (
                (429, "rate_limit_error", "complete"),
                (529, "overloaded_error", "complete"),
                (401, "invalid_token", "refused"),
            )
        )
        columns |= {"status": status, "error_type": error, "end_reason": end, "cost_usd": Decimal(0),
                    "cost_parts": None, "cost_source": "not_billed", "input_tokens": None, "output_tokens": None,
                    "cache_read_tokens": None, "computed_cost_usd": None}  # fmt: skip
    elif chance.random() < 0.02:
        columns |= {"cost_usd": None, "cost_parts": None, "cost_source": chance.choice(("unknown", "unpriced")),
                    "computed_cost_usd": None}  # fmt: skip
    return event(**columns)


def _dollars(per_million: float, tokens: int) -> Decimal:
    return (Decimal(str(per_million)) * tokens / 1_000_000).quantize(Decimal("1E-12"))
