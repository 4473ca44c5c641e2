"""What a rule can watch: one row for each measure, with its unit, its usual span, and how its figure is made of sums.

Pure: SQL as text. A figure is an aggregate over rows of ``sums`` (or of ``times``, for latency); ``{chosen}`` in it is
the condition of one rule's filters. NULL means that nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from metrion.metering.served_model import MODEL_NOT_ALLOWED

_FAILED = "(coalesce(status >= 400, true) OR error_type IS NOT NULL OR coalesce(end_reason, '') <> 'complete')"
_LAST = "end_reason IS DISTINCT FROM 'retried'"


def _requests(condition: str) -> str:
    """Return the SQL that counts the requests of one rule under a condition."""
    where = f"WHERE {{chosen}} AND {condition}"
    return (
        f"(coalesce(sum(requests) FILTER ({where}), 0) + "
        f"coalesce(len(list_distinct(flatten(list(shared) FILTER ({where} AND shared IS NOT NULL)))), 0))::BIGINT"
    )


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of :data:`MEASURES`."""

    unit: str
    """``usd``, ``percent``, ``ms``, ``requests``, ``responses`` or ``days``."""
    what: str
    """What it is, as it begins a sentence."""
    usual_span: str
    figure: str = ""
    """The aggregate; empty: it is made elsewhere."""
    of: str = ""
    """An aggregate that counts what the figure is of; where it is under ``least``, the figure says nothing yet."""
    least: int = 0
    unpriced: bool = False
    """Whether responses without a known cost are missing in the figure, and are counted beside it."""
    top: str = ""
    """What whoever leads in this measure is ordered by; empty: nobody is named."""
    top_keys: tuple[str, ...] = ("user_label", "token_name")
    calendar: bool = True
    """Whether its span may be a day, a month, or all the time since the rule was made."""
    mark: str = ""
    """The entry of the column ``policy`` of the rows that are counted, one by one: the sums know of none."""
    per_minute: bool = False
    """Whether the figure is divided by the minutes of the span."""
    way_out: str = ""


MEASURES: Mapping[str, Measure] = {
    "spend": Measure(
        "usd",
        "Spend",
        "month",
        figure="coalesce(sum(cost_usd) FILTER (WHERE {chosen}), 0)",
        unpriced=True,
        top="sum(cost_usd)",
        way_out="`metrion report costs --since month --by user --by token` shows who spends; `metrion token set NAME "
        "--monthly-budget USD` bounds a token, `metrion token revoke NAME` stops it",
    ),
    "spend-rate": Measure(
        "usd",
        "Spend per minute",
        "10m",
        figure="coalesce(sum(cost_usd) FILTER (WHERE {chosen}), 0)",
        unpriced=True,
        top="sum(cost_usd)",
        calendar=False,
        per_minute=True,
        way_out="an agent may be running away: `metrion tail` shows its requests, `metrion token revoke NAME` stops "
        "its token",
    ),
    "budget": Measure(
        "percent",
        "The share of the budget that is spent",
        "month",
        way_out="`metrion budget list` shows how it stands and when it turns; `metrion budget set` changes it",
    ),
    "errors": Measure(
        "percent",
        "The share of requests that failed",
        "15m",
        figure=f"(100.0 * {_requests(f'{_LAST} AND {_FAILED}')} / nullif({_requests(_LAST)}, 0))::DECIMAL(9, 4)",
        of=_requests(_LAST),
        least=20,
        top=f"sum(responses) FILTER ({_FAILED})",
        top_keys=("provider", "status", "error_type"),
        way_out="`metrion report errors --since 24h` shows what failed and where",
    ),
    "latency": Measure(
        "ms",
        "The 95th percentile of the latency",
        "1h",
        of="coalesce(sum(responses) FILTER (WHERE {chosen}), 0)::BIGINT",
        least=20,
        top="sum(latency_ms) / sum(timed)",
        top_keys=("provider", "model"),
        way_out="`metrion report latency --since 24h` shows it by model, with Metrion's own share of it",
    ),
    "requests": Measure(
        "requests",
        "The number of requests",
        "day",
        figure=_requests(_LAST),
        top="sum(responses)",
        way_out="`metrion report users --since 24h` shows who sends them; `metrion token set NAME --rate N` bounds a "
        "token",
    ),
    "unpriced": Measure(
        "responses",
        "The number of responses whose model has no price",
        "day",
        figure="coalesce(sum(responses) FILTER (WHERE {chosen} AND billed AND cost_source = 'unpriced'), 0)::BIGINT",
        top="sum(responses) FILTER (billed AND cost_source = 'unpriced')",
        top_keys=("provider", "model"),
        way_out="give the model a price in a file of your own (docs/pricing.md), then run `metrion reprice`",
    ),
    "model-not-allowed": Measure(
        "responses",
        "The number of responses by a model that the token may not ask for",
        "day",
        mark=MODEL_NOT_ALLOWED,
        top="count(*)",
        top_keys=("token_name", "model"),
        way_out="the provider chose the model, and its answers passed: `metrion token list` shows what a token may ask "
        "for, `metrion token set NAME --allow-model MODEL` allows one more, `metrion token revoke NAME` stops it",
    ),
    "silence": Measure(
        "days",
        "The time since anything was taken into the store",
        "rule",
        way_out="`metrion doctor` says whether the proxy and its ingester run; `metrion tail` shows what comes",
    ),
}
"""What can be watched, by name."""

ELSEWHERE = ("budget", "silence")
"""Those whose figures are not made of the sums."""

WARNING_SHARE = Decimal("0.9")
"""The share of a limit at which a rule warns."""
