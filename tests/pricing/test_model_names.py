from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from metrion.model import Usage
from metrion.pricing import PriceBook
from tests.pricing.books import book, cost


@pytest.mark.parametrize(
    ("provider", "model", "input_rate"),
    [
        # The names on Metrion's own pages.
        ("anthropic", "claude-opus-4-6", "5"),
        ("anthropic", "claude-sonnet-4-6", "3"),
        ("anthropic", "claude-haiku-4-5-20251001", "1"),
        ("openai", "gpt-4o", "2.5"),
        ("openai", "gpt-4o-mini", "0.15"),
        ("google", "gemini-2.5-flash", "0.3"),
        ("google", "gemini-2.5-pro", "1.25"),
        ("google", "gemini-4-argon", "2"),
        ("mistral", "mistral-small-latest", "0.15"),
        ("mistral", "mistral-large-latest", "0.5"),
        ("mistral", "codestral-latest", "0.3"),
        ("mistral", "mistral-small", "0.15"),
        ("mistral", "mistral-tiny", "0.25"),
        ("mistral", "mistral-embedding", "0.1"),
        ("xai", "grok-3", "3"),
        ("xai", "grok-3-mini", "0.3"),
        ("xai", "grok-2", "2"),
        ("xai", "grok-2-mini", None),  # never had a price
        # Dated and moving names.
        ("anthropic", "claude-haiku-4-5@20251001", "1"),
        ("anthropic", "claude-sonnet-4-20250514", "3"),
        ("anthropic", "claude-sonnet-4-5-20250929", "3"),
        ("anthropic", "claude-opus-5-20260901", "5"),
        ("openai", "gpt-4o-mini-2024-07-18", "0.15"),
        ("openai", "gpt-4o-2024-05-13", "5"),
        ("openai", "gpt-4o-20240513", "5"),
        ("openai", "gpt-5.2-20251211", "1.75"),
        ("openai", "gpt-5.2-2027-01-31", "1.75"),
        ("google", "gemini-2.5-flash-preview-09-2025", "0.3"),
        ("google", "gemini-2.0-flash-001", "0.1"),
        ("mistral", "mistral-small-2506", "0.1"),
        ("mistral", "mistral-large-2512", "0.5"),
        ("mistral", "ministral-3b-latest", "0.1"),
        ("mistral", "mistral-tiny-latest", "0.15"),
        ("xai", "grok-4.3-20260501", "1.25"),
        # As providers wrap them.
        ("google", "models/gemini-2.5-pro", "1.25"),
        ("google", "publishers/google/models/gemini-2.5-flash", "0.3"),
        ("openai", "openai/gpt-4o", "2.5"),
        ("xai", "x-ai/grok-4.3", "1.25"),
        ("openai", "GPT-4o", "2.5"),
        # What a customer calls a fine-tuned model says nothing of its price.
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme:pro-mini:9xyz", "0.3"),
        ("openai", "ft:gpt-4o-2024-08-06:acme::Bx1", "3.75"),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:acme:content-moderation:Bx1", "0.8"),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:acme:gpt-4o-2024-08-06:Bx1", "0.8"),
        ("openai", "ft:gpt-3.5-turbo-1106:acme::Bx1", "3"),
        ("openai", "ft:gpt-4-0613:acme:moderation:Bx1", "30"),
        ("openai", "ft:gpt-5-2027-01-01:acme:moderation:Bx1", None),
        ("openai", "acme-content-moderation", None),
        ("mistral", "ft:open-mistral-7b:587a6b29:20240514:7e773925", None),
        # A prefix is not enough: it may end inside a version, or before a word that changes the model.
        ("anthropic", "claude-opus-4-10", None),
        ("anthropic", "claude-opus-4-12-20270101", None),
        ("anthropic", "claude-haiku-4-5-nano", None),
        ("anthropic", "claude-haiku-4-50", None),
        ("anthropic", "claude-sonnet-4-6-mini", None),
        ("anthropic", "claude-2.1", "8"),
        ("anthropic", "claude-2.5", None),
        ("google", "claude-opus-4-8@default", "5"),
        ("google", "claude-opus-4-10@20270101", None),
        ("google", "publishers/anthropic/models/claude-3-5-sonnet-v2@20241022", "3"),
        ("google", "gemini-2.5-pro-deep-think", None),
        ("google", "gemini-2.5-pro-preview-06-05", "1.25"),
        ("google", "gemini-3.8-flash-2", None),
        ("google", "gemini-2.0-flash-thinking-exp-01-21", "0.1"),
        ("google", "gemma-3-27b-it", "0"),
        ("openai", "omni-moderation-2024-09-26", "0"),
        ("openai", "gpt-4o-audio-preview-mini", None),
        ("mistral", "magistral-small-2509", "0.5"),
        ("mistral", "magistral-small-latest", "0.15"),
        ("openai", "gpt-4o-2", None),
        ("openai", "gpt-4o-nano", None),
        ("openai", "gpt-4o-mini-next", None),
        ("openai", "gpt-5-2", "1.75"),
        ("openai", "gpt-5.2-pro", "21"),
        ("openai", "gpt-4", "30"),
        ("openai", "gpt-4-2026", None),
        ("openai", "gpt-40", None),
        ("openai", "o1-mini", "1.1"),
        ("openai", "Qwen/Qwen3-0.6B", None),
        ("google", "gemini-2.5-pro-lite", None),
        ("google", "gemini-2.5-pro-preview-tts", "1"),
        ("google", "gemini-2.5-flash-lite", "0.1"),
        ("google", "gemini-2.5-flash-lite-preview-09-2025", "0.1"),
        ("google", "gemini-3.6-flash-lite", None),
        ("google", "gemini-1.5-flash-8b", "0.0375"),
        ("google", "gemini-1.5-flash-002", "0.075"),
        ("mistral", "mistral-small-2402", None),
        ("mistral", "mistral-medium-2312-latest", None),
        ("xai", "grok-3-fast", "5"),
        ("xai", "grok-3-mini-fast", "0.6"),
        ("xai", "grok-3-nano", None),
        ("xai", "gpt-4o", None),
        ("my-vllm", "gpt-4o", None),
    ],
)
def test_names_in_the_shipped_file(shipped: PriceBook, provider: str, model: str, input_rate: str | None) -> None:
    got = cost(shipped, Usage(input_tokens=1000), provider=provider, model=model)
    assert got.usd == (None if input_rate is None else Decimal(input_rate) / 1000)


@pytest.mark.parametrize(
    ("served", "requested", "input_rate"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o", "0.15"),
        ("something-new", "gpt-4o", None),
        ("gpt-4o-2099-01-01", "gpt-4o", "2.5"),
        ("gpt-4.1-nano", "gpt-4-1-nano", "0.1"),
        ("gpt-4-1-nano", None, "0.1"),
        (None, "gpt-4o", "2.5"),
        ("", "gpt-4o", "2.5"),
        ("gpt-4o", None, "2.5"),
        ("something-new", "something-else", None),
        (None, None, None),
    ],
)
def test_the_model_served_comes_before_the_model_requested(
    shipped: PriceBook, served: str | None, requested: str | None, input_rate: str | None
) -> None:
    got = cost(shipped, Usage(input_tokens=1000), provider="openai", model=served, requested=requested)
    assert got.usd == (None if input_rate is None else Decimal(input_rate) / 1000)


@pytest.mark.parametrize(
    ("model", "input_rate"),
    [
        ("llama-3", "1"),
        ("llama-3-8b", "2"),
        ("llama-3-8b-instruct", "2"),
        ("llama-3-8b-instruct-awq", None),
        ("llama-3-70b", "3"),
        ("LLAMA-3-70B", "3"),
        ("llama-4", "4"),
        ("meta/llama-4", None),
        ("p/llama-4", "4"),
        ("llama-42", None),
        ("llama-5-x", "5"),
        ("llama-5-xy", None),
    ],
)
def test_the_most_particular_pattern_wins(tmp_path: Path, model: str, input_rate: str | None) -> None:
    prices = book(
        tmp_path,
        """
        p:
          any-3: {match: "llama-3*", not: "*-awq", input: 1}
          eights: {match: ["llama-3-8b*"], not: ["*-awq"], input: 2}
          llama-3-70b: {input: 3}
          llama-4: {input: 4}
          fives: {match: "llama-5-?", input: 5}
        """,
    )
    got = cost(prices, Usage(input_tokens=1_000_000), model=model)
    assert got.usd == (None if input_rate is None else Decimal(input_rate))


def test_the_names_that_the_files_have(tmp_path: Path) -> None:
    prices = book(tmp_path, "p: {a: {match: [b, 'c*'], input: 1, output: 1}}")
    assert prices.names("p") == {"a", "b"}
    assert prices.names("nobody") == set()
