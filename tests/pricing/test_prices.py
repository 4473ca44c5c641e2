from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from metrion.model import CostSource, Usage
from tests.pricing.books import DATED, NOW, SERVED, book, cost, texts

TIERED = """
p:
  m:
    input: 1
    cache_read: 0.1
    output: 10
    above:
      200000: {input: 2, output: 15}
      500000: {input: 4}
"""


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [
        (200_000, {"input": "0.1", "cache_read": "0.01", "output": "0.00001"}),
        (200_001, {"input": "0.200002", "cache_read": "0.01", "output": "0.000015"}),
        (500_000, {"input": "0.8", "cache_read": "0.01", "output": "0.000015"}),
        (500_001, {"input": "1.600004", "cache_read": "0.01", "output": "0.000015"}),
    ],
)
def test_above_a_threshold_the_whole_request_pays_the_higher_rate(
    tmp_path: Path, tokens: int, parts: dict[str, str]
) -> None:
    usage = Usage(input_tokens=tokens, cache_read_tokens=100_000, output_tokens=1)
    assert texts(cost(book(tmp_path, TIERED), usage).parts) == parts


@pytest.mark.parametrize(
    ("model", "when", "rate"),
    [
        ("m", datetime(2020, 1, 1, tzinfo=UTC), "1"),
        ("m", datetime(2026, 3, 12, 23, 59, 59, tzinfo=UTC), "1"),
        ("m", datetime(2026, 3, 13, tzinfo=UTC), "2"),
        ("m", datetime(2026, 3, 13, 1, tzinfo=timezone(timedelta(hours=2))), "1"),
        ("m", datetime(2026, 3, 12, 23, tzinfo=timezone(timedelta(hours=-2))), "2"),
        ("m", datetime(2026, 6, 15), None),  # noqa: DTZ001 -- events have naive UTC times
        ("m", datetime(2026, 7, 1), "4"),  # noqa: DTZ001 -- the same
        ("m", datetime(2026, 8, 1, 12), "3"),  # noqa: DTZ001 -- the same
        ("m", datetime(2030, 1, 1), "4"),  # noqa: DTZ001 -- the same
        ("single", datetime(2025, 12, 31), None),  # noqa: DTZ001 -- the same
        ("single", datetime(2026, 1, 1), "7"),  # noqa: DTZ001 -- the same
    ],
)
def test_the_day_decides_the_rate(tmp_path: Path, model: str, when: datetime, rate: str | None) -> None:
    got = cost(book(tmp_path, DATED), Usage(input_tokens=1_000_000), model=model, when=when)
    assert got.usd == (None if rate is None else Decimal(rate))
    assert got.source is (CostSource.UNPRICED if rate is None else CostSource.COMPUTED)


@pytest.mark.parametrize(
    ("tier", "modes", "tokens", "when", "usd"),
    [
        *((tier, None, 1_000_000, NOW, "9.111") for tier in (None, "", "default", "standard", "auto")),
        *((tier, None, 1_000_000, NOW, "9.111") for tier in ("on_demand", "ON_DEMAND", "Standard", "unspecified")),
        ("batch", None, 1_000_000, NOW, "4.6105"),
        ("BATCH", (), 1_000_001, NOW, "9.11101"),
        ("flex", None, 1_000_000, NOW, "6.411"),
        ("flex", None, 1_000_001, NOW, "7.312008"),
        ("flex", None, 1_000_000, datetime(2026, 2, 1), "5.511"),  # noqa: DTZ001 -- events have naive UTC times
        ("flex", None, 1_000_000, datetime(2025, 2, 1), None),  # noqa: DTZ001 -- the same
        ("priority", None, 1_000_000, NOW, None),
        (None, ("batch",), 1_000_000, NOW, "4.6105"),
        ("standard", ("us",), 1_000_000, NOW, None),
        ("batch", ("us",), 1_000_000, NOW, None),
        (None, ("us", "eu"), 1_000_000, NOW, "1.1104"),
        ("EU", ("us",), 1_000_000, NOW, "1.1104"),
    ],
)
def test_service_tier(
    tmp_path: Path, tier: str | None, modes: tuple[str, ...] | None, tokens: int, when: datetime, usd: str | None
) -> None:
    usage = Usage(
        input_tokens=tokens,
        cache_read_tokens=100_000,
        output_tokens=10,
        server_tools={"web_search.num_requests": 1},
        modes=modes,
    )
    got = cost(book(tmp_path, SERVED), usage, tier=tier, when=when)
    if usd is None:
        assert (got.source, got.usd) == (CostSource.UNPRICED, None)
    else:
        # 0.1 for the cache and 0.01 for the search, whatever the tier; 0.002 or less for the output.
        assert got.parts is not None
        assert (got.parts["cache_read"], got.parts["web_search"]) == (Decimal("0.1"), Decimal("0.01"))
        assert got.usd == Decimal(usd)
