"""Estimates against what providers counted: recorded exchanges whose usage is hidden from the tap.

``pytest -rP`` prints the tables that docs/estimates.md has.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from metrion.estimates import Sample, estimate, estimate_input
from metrion.estimates.families import FAMILIES, family
from metrion.estimates.tokenizers import is_available
from metrion.metering.tap import Tap
from metrion.model import EndReason, Usage
from metrion.parsing.json_stream import BOM
from metrion.parsing.sse import EventReader
from tests.corpus import Exchange, exchanges, needs_corpus
from tests.pages import ROOT, text_of

pytestmark = [
    needs_corpus,
    pytest.mark.skipif(not is_available(), reason="there is no tokenizer: pip install 'metrion[estimates]'"),
]

DIALECT_OF_KIND = {
    "chat": "openai_chat",
    "completions": "openai_chat",
    "generateContent": "gemini",
    "messages": "anthropic_messages",
    "responses": "openai_responses",
}
USAGES = {"usage", "usageMetadata", "x_groq"}

FITS: Mapping[str, tuple[float, float]] = {
    "GPT-4o, 4.1": (0.02, 0.01),
    "GPT-3.5, 4": (0.02, 0.01),
    "GPT-5.2, 5.4": (0.03, 0.01),
    "Claude, before": (0.03, 0.10),
    "Claude, since Opus 4.7 and Sonnet 5": (0.03, 0.08),
    "Gemini 2.0 and before": (0.03, 0.08),
    "Gemini 2.5 and later": (0.06, 0.02),
    "Mistral": (0.02, 0.05),
    "Grok, not thinking": (0.03, 0.02),
    "DeepSeek": (0.03, 0.06),
    "Llama, Qwen, Kimi": (0.03, 0.03),
}
"""How far the estimated output of a family may be off: in the sum, and at the median."""

FITTING = {"deepseek", "google", "groq", "mistral", "openai", "openrouter"}
"""Providers whose output the tokenizer fits."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One recorded exchange: what was estimated of it, and what its provider counted."""

    exchange: Exchange
    family: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Fit:
    """How estimates of one side compare; shares of 1."""

    count: int
    sum: float
    median: float

    def __str__(self) -> str:
        return f"{self.count} | {self.sum:+.1%} | {self.median:.1%}" if self.count else "0 | |"


def hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: hidden(member) for name, member in value.items() if name not in USAGES}
    return [hidden(each) for each in value] if isinstance(value, list) else value


def without_usage(exchange: Exchange) -> bytes | None:
    """The response as a server would send it that reports none; ``None`` where it is no JSON."""
    try:
        if not exchange.streamed:
            return json.dumps(hidden(json.loads(exchange.response_body.removeprefix(BOM)))).encode()
        return b"".join(
            b"data: %b\n\n" % (data if data == b"[DONE]" else json.dumps(hidden(json.loads(data))).encode())
            for data in events(exchange.response_body)
        )
    except ValueError:
        return None


def events(body: bytes) -> Iterator[bytes]:
    data = b""
    for part in EventReader().feed(body):
        data += part.data
        if part.last:
            yield data
            data = b""


def estimated(exchange: Exchange, body: bytes) -> Usage | None:
    asked, answered = Sample(), Sample()
    asked.add(exchange.request_body)
    dialect = DIALECT_OF_KIND[exchange.kind]
    content_type = "text/event-stream" if exchange.streamed else "application/json"
    tap = Tap(dialect, content_type=content_type, content_encoding=None, status=200, sample=answered)
    for start in range(0, len(body), 5000):
        tap.feed(body[start : start + 5000])
    tap.finish()
    reading = tap.reading
    assert reading.usage is None, exchange.id
    wanted = estimate_input(
        dialect=dialect,
        reading=reading,
        end_reason=EndReason.COMPLETE,
        model_requested=exchange.expected["model_requested"],
        streamed=tap.is_stream,
        request=asked,
        response=answered,
    )
    return estimate(wanted) if wanted is not None else None


@cache
def measured() -> tuple[Measured, ...]:
    found = []
    for exchange in exchanges(DIALECT_OF_KIND):
        if exchange.provenance != "recorded" or exchange.elided or exchange.method != "POST":
            continue
        if not exchange.expected["has_usage"] or not exchange.expected["output_tokens_total"]:
            continue
        if (body := without_usage(exchange)) is not None:
            kind = family(exchange.expected["model"] or exchange.expected["model_requested"])
            found.append(Measured(exchange, kind.name if kind else "", estimated(exchange, body)))
    return tuple(found)


def fit(measurements: Iterable[Measured], ours: str, theirs: str) -> Fit:
    pairs = [
        (count, each.exchange.expected[theirs])
        for each in measurements
        if each.usage is not None
        and (count := getattr(each.usage, ours)) is not None
        and each.exchange.expected[theirs]
    ]
    if not pairs:
        return Fit(0, 0, 0)
    total = sum(count for count, _ in pairs) / sum(true for _, true in pairs) - 1
    return Fit(len(pairs), total, statistics.median(abs(count - true) / true for count, true in pairs))


def output_fit(measurements: Iterable[Measured]) -> Fit:
    return fit(measurements, "output_tokens", "output_tokens_total")


def input_fit(measurements: Iterable[Measured]) -> Fit:
    return fit(measurements, "input_tokens", "input_tokens_total")


def fits(found: Fit) -> bool:
    """Whether a tokenizer fits: within 2 % in the sum, and 5 % at the median."""
    return bool(found.count) and abs(found.sum) <= 0.02 and found.median <= 0.05


def by_provider() -> dict[str, list[Measured]]:
    groups = defaultdict(list)
    for each in measured():
        groups[each.exchange.provider].append(each)
    return dict(sorted(groups.items()))


def rows() -> Iterator[str]:
    """The tables of the page: by provider, by family, and by provider and kind."""
    for provider, group in by_provider().items():
        found = output_fit(group)
        yield f"| {provider} | {len(group)} | {found} | {'yes |' if fits(found) else 'no |' if found.count else '|'}"
    for name in [each.name for each in FAMILIES]:
        group = [each for each in measured() if each.family == name]
        yield row(name, group)
    groups = defaultdict(list)
    for each in measured():
        exchange = each.exchange
        groups[exchange.provider, exchange.kind, "stream" if exchange.streamed else "plain"].append(each)
    for key, group in sorted(groups.items()):
        yield row(" ".join(key), group)


def row(name: str, group: list[Measured]) -> str:
    return f"| {name} | {len(group)} | {output_fit(group)} | {input_fit(group)} |"


def test_the_page_has_these_figures() -> None:
    print(*rows(), sep="\n")  # noqa: T201  # for pytest -rP
    page = text_of(ROOT / "docs" / "estimates.md")
    if f"{len(measured()):,} recorded exchanges" not in page:
        pytest.skip("the page was measured with other recordings")
    assert [line for line in rows() if line not in page] == []


@pytest.mark.parametrize("kind", ["chat", "completions", "responses"])
def test_openais_output_is_within_two_percent_in_the_sum_and_five_at_the_median(kind: str) -> None:
    group = [each for each in measured() if each.exchange.provider == "openai" and each.exchange.kind == kind]
    for streamed in (False, True):
        found = output_fit(each for each in group if each.exchange.streamed == streamed)
        assert found.count
        assert abs(found.sum) <= 0.02, found
        assert found.median <= 0.05, found


def test_openais_input_is_within_two_percent_in_the_sum_and_five_at_the_median() -> None:
    found = input_fit(each for each in measured() if each.exchange.provider == "openai")
    assert found.count > 300
    assert abs(found.sum) <= 0.02, found
    assert found.median <= 0.01, found


def test_the_providers_that_the_tokenizer_fits() -> None:
    assert {provider for provider, group in by_provider().items() if fits(output_fit(group))} == FITTING


@pytest.mark.parametrize("name", FITS)
def test_a_family_fits_as_well_as_it_is_said_to(name: str) -> None:
    found = output_fit(each for each in measured() if each.family == name)
    most_in_sum, most_at_median = FITS[name]
    assert found.count >= 10
    assert abs(found.sum) <= most_in_sum, found
    assert found.median <= most_at_median, found


def test_every_family_with_figures_is_held_to_them_or_has_too_few_recordings() -> None:
    for kind in FAMILIES:
        if kind.output is not None and kind.name not in FITS:
            assert output_fit(each for each in measured() if each.family == kind.name).count < 10, kind.name


def test_where_thoughts_are_hidden_nothing_is_estimated() -> None:
    hiding = {kind.name for kind in FAMILIES if not kind.shows_thoughts} | {""}
    thinking = [each for each in measured() if each.family in hiding and each.exchange.expected["reasoning_tokens"]]
    assert len(thinking) > 300
    assert [each.exchange.id for each in thinking if each.usage is not None] == []
