"""Reports how a proxy is: the figures of its scoreboard in, the answer of ``GET /health`` and gauges out. No secret.

``status`` is ``ok``, ``degraded`` (it serves, and ``reasons`` says what is wrong) or ``draining``. A provider that
cannot be reached is information, and makes nobody degraded.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import metrion
from metrion.budgets.standing import Standing
from metrion.gateway.scoreboard import Scoreboard
from metrion.metrics import definitions as defined
from metrion.metrics.exposition import Gauge, latest_of
from metrion.model import dollars

LAG_SECONDS = 120.0
"""An ingester that leaves something for longer is too slow, or cannot open the store."""
JOURNAL_BYTES = 1 << 30
DEATHS = 3
"""So many ingesters in a row that ended soon after their start cannot use the store."""


def health(scoreboard: Scoreboard, *, now: float) -> dict[str, object]:
    """Return what ``GET /health`` reports. ``now``: seconds since the epoch."""
    report: Mapping[str, Any] = scoreboard.report(metrion.__version__)
    lag = scoreboard.ingest_lag(now)
    reasons = list(_reasons(scoreboard, report, lag))
    is_draining = report["status"] == "draining"
    status = report["status"] if is_draining or not reasons else "degraded"
    return {
        **report,
        "status": status,
        "live": True,
        "ready": not is_draining,
        "reasons": reasons,
        "waiting_events": scoreboard.waiting_events,
        "ingest_lag_seconds": None if lag is None else round(lag, 3),
        "unreachable_providers": sorted(_unreachable(scoreboard)),
    }


def _reasons(scoreboard: Scoreboard, report: Mapping[str, Any], lag: float | None) -> Iterator[str]:
    if lost := report["lost_events"]:
        yield f"lost events: {lost} since the start; the disk took nothing for too long"
    if waiting := scoreboard.waiting_events:
        yield f"disk: {waiting} events wait in memory, since the journal's disk does not take them"
    if scoreboard.ingester_deaths >= DEATHS:
        yield f"store: {scoreboard.ingester_deaths} ingesters in a row ended at once; the log says why"
    elif lag is not None and not report["ingester"]["alive"]:
        yield "ingester: none is at work; the journal keeps everything until one is"
    if lag is not None and lag > LAG_SECONDS:
        yield f"ingest: the journal has waited for {lag:.0f} seconds"
    if (size := report["journal"]["bytes"]) is not None and size > JOURNAL_BYTES:
        yield f"journal: {size} bytes wait for the ingester"


def _unreachable(scoreboard: Scoreboard) -> Iterator[str]:
    """Return the providers whose last request reached nobody."""
    last = {
        labels[0]: (figures[defined.ANSWERED_AT], 0.0)
        for labels, figures in latest_of(scoreboard.metrics, defined.REACH, at=defined.ANSWERED_AT)
    }
    for labels, figures in latest_of(scoreboard.metrics, defined.REACH, at=defined.FAILED_AT):
        if figures[defined.FAILED_AT] > last[labels[0]][0]:
            yield labels[0]


def budget_gauges(standings: Collection[Standing], *, users: bool) -> Iterator[Gauge]:
    """Return how budgets stand, as figures of ``GET /metrics``; those of user labels only with ``users``."""
    shown = [each for each in standings if users or each.budget.scope != "user"]
    figures: tuple[tuple[str, str, Callable[[Standing], int | None]], ...] = (
        ("metrion_budget_usd", "How much may be spent.", lambda each: each.budget.limit),
        ("metrion_budget_spent_usd", "How much is spent in the present span.", lambda each: each.spent),
        ("metrion_budget_held_usd", "How much is held for requests under way.", lambda each: each.held),
    )
    for name, text, figure in figures:
        for each in shown:
            own = each.budget
            labels = (("scope", own.scope), ("name", own.name), ("per", own.per))
            yield Gauge(name, text, _usd(figure(each)), labels)


def _usd(amount: int | None) -> float | None:
    return None if amount is None else float(dollars(amount))


def gauges(scoreboard: Scoreboard, *, now: float, mistral_names: bool = False) -> Iterator[Gauge]:
    """Return the figures of ``GET /metrics`` that belong to no request."""
    report: Mapping[str, Any] = scoreboard.report(metrion.__version__)
    alive, journal = report["ingester"]["alive"], report["journal"]
    yield Gauge("metrion_requests_in_flight", "Requests that are not over.", report["in_flight"])
    if mistral_names:
        yield Gauge("mistral_active_requests", "Number of active requests.", report["in_flight"])
    yield Gauge("metrion_workers", "Processes that serve requests.", len(report["workers"]))
    yield Gauge("metrion_journal_segments", "Segments of the journal that are not in the store.", journal["segments"])
    yield Gauge("metrion_journal_bytes", "Their size.", journal["bytes"])
    yield Gauge("metrion_ingester_up", "1 while the ingester is at work.", int(alive))
    yield Gauge(
        "metrion_ingest_lag_seconds", "How long the oldest finished segment has waited.", scoreboard.ingest_lag(now)
    )
    yield Gauge("metrion_lost_events", "Events that no disk took.", report["lost_events"], counts=True)
    yield Gauge("metrion_waiting_events", "Events that wait for the disk in memory.", scoreboard.waiting_events)
    yield Gauge(
        "metrion_unrecorded_refusals",
        "Requests without a valid token that have no row.",
        report["unrecorded_refusals"],
        counts=True,
    )
    yield Gauge(
        "metrion_unknown_addresses", "Requests that name no provider.", report["unknown_addresses"], counts=True
    )
    build = (("version", metrion.__version__), ("python_version", platform.python_version()))
    yield Gauge("metrion_build_info", "Which Metrion this is.", 1, build)
