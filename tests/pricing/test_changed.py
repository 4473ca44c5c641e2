"""Recorded answers that cost something else since no price is guessed: each with what it cost before, and costs now."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal

import pytest

from metrion.pricing import PriceBook
from tests.corpus import exchanges
from tests.recordings import read, route

_DAY = datetime(2026, 11, 28)  # noqa: DTZ001 -- events have naive UTC times

_CHANGED: dict[str, tuple[str, str | None, str, str | None]] = {
    "google-generateContent-0f074d0257bc": ("computed", "0.014344", "estimated", "0.014344"),
    "google-generateContent-26a915d97853": ("computed", "0.04167875", "estimated", "0.04167875"),
    "google-generateContent-28e58a1923b9": ("computed", "0.03898875", "estimated", "0.03898875"),
    "google-generateContent-8f6eb9a3dc2b": ("computed", "0.162734", "estimated", "0.162734"),
    "google-generateContent-bc3cf7a8f8fd": ("computed", "0.0356203", "estimated", "0.0356203"),
    "google-generateContent-bef1a42441fe": ("computed", "0.04112", "estimated", "0.04112"),
    "google-generateContent-c61832508e19": ("computed", "0.03931", "estimated", "0.03931"),
    "google-generateContent-e878eca485a7": ("computed", "0.0353724", "estimated", "0.0353724"),
    "mistral-chat-06f718c457e1": ("computed", "0.000374", "computed", "0.00004895"),
    "mistral-chat-07d23bf30190": ("computed", "0.00038", "computed", "0.000095"),
    "mistral-chat-0ceb3b59d4a0": ("computed", "0.000212", "computed", "0.00002195"),
    "mistral-chat-0f3d04c7a880": ("computed", "0.000017", "computed", "0.0000054"),
    "mistral-chat-1eafafc04ca7": ("computed", "0.0000149", "computed", "0.00000914"),
    "mistral-chat-250d78beca5c": ("computed", "0.0001188", "computed", "0.000347966667"),
    "mistral-chat-25d61c7f04b2": ("computed", "0.000236", "computed", "0.000059"),
    "mistral-chat-2b2bd8ddaf07": ("computed", "0.000017", "computed", "0.0000054"),
    "mistral-chat-3699d676ee4b": ("computed", "0.00439", "computed", "0.00105925"),
    "mistral-chat-3dff555d034c": ("computed", "0.00013", "computed", "0.0000325"),
    "mistral-chat-4164092a6450": ("computed", "0.000618", "computed", "0.0001545"),
    "mistral-chat-564fd77d96b0": ("computed", "0.000418", "computed", "0.0001045"),
    "mistral-chat-569e0d7e0101": ("computed", "0.000335", "computed", "0.00048075"),
    "mistral-chat-94094661ffa8": ("computed", "0.000226", "computed", "0.0000223"),
    "mistral-chat-9879839dd087": ("computed", "0.000512", "computed", "0.000128"),
    "mistral-chat-a6f01f3a63af": ("computed", "0.00025", "computed", "0.0000625"),
    "mistral-chat-b36a23c5d9a5": ("computed", "0.000376", "computed", "0.00002605"),
    "mistral-chat-b7e3128e9168": ("computed", "0.000017", "computed", "0.0000054"),
    "mistral-chat-c3b2e1986cc5": ("computed", "0.001364", "computed", "0.00033695"),
    "mistral-chat-cd4334d903b5": ("computed", "0.000352", "computed", "0.000088"),
    "mistral-chat-dc62f708d5ca": ("computed", "0.000376", "computed", "0.000094"),
    "mistral-chat-e2341e07e421": ("computed", "0.000584", "computed", "0.0000677"),
    "mistral-chat-e4d6cad7ef3a": ("computed", "0.000017", "computed", "0.0000054"),
    "openai-chat-3cd1c31737d8": ("computed", "0.0000141", "computed", "0.0002469"),
    "openai-responses-514a8636379c": ("computed", "0.01385625", "unpriced", None),
    "openai-responses-773a6914e800": ("computed", "0.02036625", "unpriced", None),
    "openai-responses-8b24baa9a3cf": ("computed", "0.01509475", "unpriced", None),
    "openai-responses-c10040c189e7": ("computed", "0.0019206", "unpriced", None),
    "openai-responses-e22b5ee1e889": ("computed", "0.0121225", "unpriced", None),
    "openrouter-chat-79894e338879": ("provider", "0", "provider", "0.0000036"),
    "openrouter-chat-ed238030c58b": ("provider", "0", "provider", "0.0000063"),
    "vertex-generateContent-16d811ca222a": ("computed", "0.0161805", "estimated", "0.0161805"),
    "xai-responses-2432e57d1d4f": ("computed", "0.0024907", "unpriced", None),
    "xai-responses-26267ba309fa": ("computed", "0.00053765", "unpriced", None),
    "xai-responses-84f81e8ad9c1": ("computed", "0.0004858", "unpriced", None),
}
"""By the recording's id: source and cost as they were, source and cost as they are.

Mistral's rows are at today's rates of names that have moved, at the rate of cached tokens, or by the minute of audio;
Gemini's searches may be covered by an allowance; OpenAI's and xAI's call tools that have no fee or that the usage does
not name; OpenRouter's are paid with the caller's own key; one has audio at its own rate.
"""


def test_each_costs_what_it_does_now(shipped: PriceBook) -> None:
    found = {exchange.id: exchange for exchange in exchanges() if exchange.id in _CHANGED}
    if not found:
        pytest.skip("the recorded exchanges are not beside the project (../shared/corpus)")
    for name, (_, _, source, usd) in _CHANGED.items():
        exchange, reading = found[name], read(found[name])
        asked = json.loads(exchange.request_body).get("model") if exchange.request_body else None
        got = shipped.cost(
            provider=route(exchange).provider,
            model=reading.model,
            model_requested=asked or route(exchange).model,
            usage=reading.usage,
            when=_DAY,
            service_tier=reading.service_tier,
        )
        assert (got.source, got.usd) == (source, usd and Decimal(usd)), name
