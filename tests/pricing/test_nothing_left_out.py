"""Whatever a usage says, no cost is ``computed`` that leaves out a count, a tool or a tier which is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from metrion.model import CostSource, Usage
from metrion.pricing import PER_MILLION, PriceBook
from tests.pricing.books import cost

_NOW = datetime(2026, 11, 28)  # noqa: DTZ001 -- events have naive UTC times
_COUNTS = tuple(each.name for each in fields(Usage) if each.name.endswith("_tokens") and each.name[0] != "l")
_TOOLS = ("web_search_requests", "file_search_calls", "image_generation", "web_fetch_requests", "anything_else")
_FREE = {"web_fetch_requests"}

counts = st.one_of(st.none(), st.integers(0, 50), st.integers(1_000, 5_000))
tools = st.one_of(st.none(), st.dictionaries(st.sampled_from(_TOOLS), st.integers(0, 3), max_size=3))
usages = st.builds(
    Usage,
    **dict.fromkeys(_COUNTS, counts),
    server_tools=tools,
    audio_seconds=st.one_of(st.none(), st.just(7.0)),
    paused_seconds=st.one_of(st.none(), st.just(5.0)),
    modes=st.one_of(st.none(), st.just(("fast",))),
)


@st.composite
def priced(draw: st.DrawFn) -> dict[str, Any]:
    """A model with some rates, no two alike: what is billed as something else shows in the sum."""
    names = ["input", "output", *draw(st.lists(st.sampled_from(PER_MILLION[1:]), unique=True))]
    entry: dict[str, Any] = {name: str(2 ** PER_MILLION.index(name)) for name in names}
    entry |= draw(st.fixed_dictionaries({}, optional={"audio_hour": st.just("36"), "paused_hour": st.just("18")}))
    entry |= draw(st.fixed_dictionaries({}, optional={"fees": st.just({"web_search": "10", "file_search": "2.5"})}))
    return entry | draw(st.fixed_dictionaries({}, optional={"service_tiers": st.just({"fast": {"input": "99"}})}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prices")


def more_of(usage: Usage, name: str) -> Usage:
    more: dict[str, Any] = {name: (getattr(usage, name) or 0) + 1_000}
    return replace(usage, **more)


def book_of(folder: Path, entry: Mapping[str, Any]) -> PriceBook:
    path = folder / "prices.yaml"
    path.write_text(yaml.safe_dump({"p": {"m": entry}}))
    return PriceBook.load([path])


@given(entry=priced(), usage=usages, tier=st.sampled_from([None, "standard", "batch", "priority"]))
def test_a_computed_cost_has_a_part_for_all_that_was_used(
    folder: Path, entry: dict[str, Any], usage: Usage, tier: str | None
) -> None:
    got = cost(book_of(folder, entry), usage, tier=tier, when=_NOW)
    if got.source is not CostSource.COMPUTED:
        assert got.usd is None or got.source in (CostSource.ESTIMATED, CostSource.NOT_BILLED)
        return
    parts = got.parts or {}
    assert tier in (None, "standard")
    assert not usage.modes or "service_tiers" in entry
    for tool, count in (usage.server_tools or {}).items():
        fee = {"web_search_requests": "web_search", "file_search_calls": "file_search"}.get(tool)
        assert not count or tool in _FREE or fee in parts, tool
    for seconds, part in ((usage.audio_seconds, "audio"), (usage.paused_seconds, "paused")):
        assert not seconds or part in parts
    for tokens, part in (
        (usage.cache_write_1h_tokens, "cache_write_1h"),
        (usage.output_audio_tokens, "output_audio"),
        (usage.output_image_tokens, "output_image"),
    ):
        assert not tokens or part in parts
    assert not usage.cache_read_tokens or any(name.startswith("cache_read") for name in parts)
    assert not usage.input_audio_tokens or {"input_audio", "cache_read_audio", "audio"} & parts.keys()


@given(entry=priced(), usage=usages, name=st.sampled_from(["input_tokens", "output_tokens"]))
def test_more_tokens_cost_more(folder: Path, entry: dict[str, Any], usage: Usage, name: str) -> None:
    prices = book_of(folder, entry)
    got = cost(prices, usage, when=_NOW)
    more = cost(prices, more_of(usage, name), when=_NOW)
    if got.source is more.source is CostSource.COMPUTED:
        assert got.usd is not None
        assert more.usd is not None
        assert more.usd >= got.usd + Decimal("0.001")
