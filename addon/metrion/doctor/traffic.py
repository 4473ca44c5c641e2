"""What the metered traffic shows: models without a price, streams without a usage, answers that nobody reads back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

from metrion.control.generations import Generations
from metrion.doctor.findings import Check, Finding, Subject, counted, warn
from metrion.endpoints import OPERATIONS
from metrion.errors import PricingError
from metrion.model import CostSource, Usage
from metrion.pricing import PriceBook
from metrion.settings import why_not_inject

_METERED = timedelta(days=30)
"""How far back a model without a price is reported."""
_STREAMED = timedelta(hours=24)
"""How far back a stream without a usage is reported: not longer, because its client may have been corrected since."""
_OVERDUE = timedelta(days=2)
"""A provider finishes a batch within a day; the caller has another day to read it back."""
_MODELS_NAMED = 10
_ASKING_FOR_USAGE = sorted(row.name for row in OPERATIONS.values() if row.asks_usage_in is not None)
"""Operations whose streams report a usage only if the request asks for it."""


def _models_without_a_price(subject: Subject) -> Iterator[Finding]:
    try:
        book = PriceBook.load(subject.settings.pricing, without_allowance=subject.settings.without_allowance)
    except PricingError:
        return  # the check of the price files reports it
    query = """
        SELECT provider, coalesce(model, model_requested), service_tier, count(*) FROM events
        WHERE cost_source = 'unpriced' AND started_at >= $since GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3"""
    rows = subject.ask(query, since=subject.now - _METERED)
    for provider, model, tier, count in rows[:_MODELS_NAMED]:
        name = f"{provider} {model}" + (f" ({tier})" if tier else "")
        probe = book.cost(
            provider=provider,
            model=model,
            model_requested=None,
            usage=Usage(input_tokens=1, output_tokens=1),
            when=subject.now,
            service_tier=tier,
        )
        has_price = probe.source is not CostSource.UNPRICED
        yield warn(
            f"prices: {name} was metered {counted(count, 'time')} in 30 days without a price",
            "there is one now: `metrion reprice`"
            if has_price
            else "give it one in a file of your own (docs/pricing.md), then `metrion reprice`",
        )
    if rows[_MODELS_NAMED:]:
        yield warn(
            f"prices: {len(rows) - _MODELS_NAMED} more models without one", "`metrion report unpriced` lists all"
        )


def _streams_without_a_usage(subject: Subject) -> Iterator[Finding]:
    query = """
        SELECT provider, count(*) FROM events
        WHERE streamed AND list_contains($operations, operation) AND end_reason = 'complete'
            AND usage_source <> 'reported' AND cost_source <> 'not_billed' AND started_at >= $since
        GROUP BY ALL ORDER BY 2 DESC, 1"""
    for name, count in subject.ask(query, since=subject.now - _STREAMED, operations=_ASKING_FOR_USAGE):
        provider = subject.settings.providers.get(name)
        if provider and not provider.inject_usage and not why_not_inject(provider.upstream, provider.like):
            yield warn(
                f"streams: {counted(count, 'stream')} of {name}'s in 24 hours did not report a usage",
                'have the clients ask with `"stream_options": {"include_usage": true}`, or Metrion with '
                f"`providers: {{{name}: {{include_usage: inject}}}}` (docs/configuration.md)",
            )


def generations(subject: Subject) -> Iterator[Finding]:
    """Report batches and background responses that nobody reads back: they have no cost."""
    with closing(Generations(subject.settings.generations_db)) as kept:
        overdue = kept.overdue(_OVERDUE)
    for provider, count in overdue.items():
        configured = subject.settings.providers.get(provider)
        if configured is not None and configured.like == "anthropic" and not subject.settings.rewrite_result_urls:
            yield warn(
                f"not read back: the results of {counted(count, 'batch', 'batches')} of {provider}'s, asked for over "
                f"{_OVERDUE.days} days ago, were not read through Metrion",
                "Anthropic's SDK fetches them from the `results_url` in the answer, past the proxy: set "
                "`rewrite_result_urls: true` (docs/configuration.md), or read them at "
                "/anthropic/v1/messages/batches/ID/results; until then, no row has their cost",
            )
            continue
        yield warn(
            f"not read back: {counted(count, 'generation')} of {provider}'s, asked for over {_OVERDUE.days} days ago",
            "no row has the cost of a batch or a background response until somebody reads it through Metrion "
            "(docs/requests.md)",
        )


QUESTIONS: tuple[Check, ...] = (_models_without_a_price, _streams_without_a_usage)
"""Checks that ask ``events``: they are run if the store answers."""
