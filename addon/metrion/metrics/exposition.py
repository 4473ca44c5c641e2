"""Renders what all processes of a proxy have counted, for Prometheus and OpenMetrics: tables and gauges in, text out.

Reads figures while others write them, and writes none. It runs on the event loop, so a line has to cost well under a
microsecond. Never: a user label, unless the settings say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS_TYPE
from prometheus_client.utils import floatToGoString

from metrion.metrics import definitions as defined
from metrion.metrics.tables import Board, Labels
from metrion.settings import MetricsSettings

__all__ = [
    "CONTENT_TYPE",
    "LIMIT_LABELS",
    "OPENMETRICS_TYPE",
    "REFUSAL_LABELS",
    "Gauge",
    "content_type_for",
    "latest_of",
    "render",
    "rows_of",
]

LIMIT_LABELS = ("provider", "kind")
REFUSAL_LABELS = ("provider", "code")

_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

type Rows = list[tuple[Labels, list[float]]]
type Values = Mapping[Labels, float]


@dataclass(frozen=True, slots=True)
class Gauge:
    """One figure of the proxy as a whole; ``value`` is ``None`` where it is not known."""

    name: str
    help: str
    value: float | None
    labels: tuple[tuple[str, str], ...] = ()
    counts: bool = False
    """It only grows."""


def content_type_for(accept: str) -> str:
    """Return the form that an ``Accept`` asks for, as Prometheus' own library reads it."""
    try:
        chosen = choose_encoder(accept)[1]
    except (TypeError, ValueError):  # a version that is none
        return CONTENT_TYPE
    return OPENMETRICS_TYPE if chosen.startswith("application/openmetrics-text") else CONTENT_TYPE


def render(board: Board, gauges: Iterable[Gauge], settings: MetricsSettings, content_type: str = CONTENT_TYPE) -> bytes:
    """Return the text, which is of this type."""
    lines = _lines(board, gauges, settings)
    return "\n".join([*(_openmetrics(lines) if content_type == OPENMETRICS_TYPE else lines), ""]).encode()


def rows_of(board: Board, table: int) -> Rows:
    """Return the rows of a table, those of all processes added up."""
    added = dict[Labels, list[float]]()
    for seat in board.of(table):
        for labels, place in seat.rows():
            figures, known = seat.read(place), added.get(labels)
            added[labels] = figures if known is None else list(map(_sum, known, figures))
    return list(added.items())


def latest_of(board: Board, table: int, *, at: int) -> Rows:
    """Return the rows of a table, of equal ones that with the latest time, which is the figure ``at``."""
    latest = dict[Labels, list[float]]()
    for seat in board.of(table):
        for labels, place in seat.rows():
            figures = seat.read(place)
            if labels not in latest or figures[at] > latest[labels][at]:
                latest[labels] = figures
    return list(latest.items())


def _sum(one: float, other: float) -> float:
    return other if math.isnan(one) else one if math.isnan(other) else one + other


# --- lines ------------------------------------------------------------------------------------------------------------


def _lines(board: Board, gauges: Iterable[Gauge], settings: MetricsSettings) -> Iterator[str]:
    requests, begun = rows_of(board, defined.REQUESTS), set[str]()
    for metric in defined.METRICS:
        if metric.old and not settings.old_names:
            continue
        if metric.of_mistral and not settings.mistral_names:
            continue
        rows = [row for row in requests if row[0][0] == "mistral"] if metric.of_mistral else requests
        if metric.distribution is None:
            yield from _counter(metric, rows)
            continue
        if metric.name not in begun:
            begun.add(metric.name)
            yield from _head(metric.name, "histogram", metric.help)
        yield from _histogram(metric, metric.distribution, rows)
    if settings.users:
        users = rows_of(board, defined.USERS)
        for metric in defined.USER_METRICS:
            yield from _counter(metric, users)
    refusals = {labels: figures[0] for labels, figures in rows_of(board, defined.REFUSALS)}
    yield from _head("metrion_refusals_total", "counter", "Requests that Metrion answered in a provider's place.")
    yield from _samples("metrion_refusals_total", REFUSAL_LABELS, refusals)
    yield from _limits(board)
    last = None
    for gauge in gauges:
        name = f"{gauge.name}_total" if gauge.counts else gauge.name
        if name != last:  # those of one name, with other labels, come one after the other
            yield from _head(name, "counter" if gauge.counts else "gauge", gauge.help)
        last = name
        names, values = [label for label, _ in gauge.labels], tuple(value for _, value in gauge.labels)
        if gauge.value is not None:
            yield from _samples(name, names, {values: gauge.value})


def _openmetrics(lines: Iterable[str]) -> Iterator[str]:
    """Return the same in OpenMetrics: the name of a counter has no ``_total`` at its head, and the text has an end."""
    for line in lines:
        yield line.replace("_total ", " ", 1) if line.startswith("# ") else line
    yield "# EOF"


def _counter(metric: defined.Metric, rows: Rows) -> Iterator[str]:
    sums = dict[Labels, float]()
    for row, figures in rows:
        own = metric.row_labels(row)
        for part in metric.parts:
            value = part.value(figures)
            if not math.isnan(value):
                labels = own + part.labels
                sums[labels] = sums.get(labels, 0.0) + value
    name = f"{metric.name}_total"
    yield from _head(name, "counter", metric.help)
    yield from _samples(name, metric.labels, sums)


def _histogram(metric: defined.Metric, distribution: int, rows: Rows) -> Iterator[str]:
    form, start = defined.DISTRIBUTIONS[distribution], defined.DISTRIBUTION_AT[distribution]
    sums = dict[Labels, list[float]]()
    for row, figures in rows:
        counts = figures[start : start + form.figures]
        if any(counts):
            labels = metric.row_labels(row) + metric.part
            known = sums.get(labels)
            sums[labels] = counts if known is None else [one + other for one, other in zip(known, counts, strict=True)]
    bounds = [f'le="{bound}"}} ' for bound in (*map(floatToGoString, form.bounds), "+Inf")]
    for labels, (*counts, total) in sums.items():
        text = _label_text(metric.labels, labels)
        prefix = f"{metric.name}_bucket{{{text}{',' if text else ''}"
        so_far = list(accumulate(counts))
        yield from (f"{prefix}{bound}{count}" for bound, count in zip(bounds, so_far, strict=True))
        yield f"{metric.name}_count{{{text}}} {so_far[-1]}"
        yield f"{metric.name}_sum{{{text}}} {total}"


def _limits(board: Board) -> Iterator[str]:
    rows = latest_of(board, defined.LIMITS, at=defined.REPORTED_AT)
    for name, figure, help_text in (
        ("metrion_provider_limit_remaining", defined.REMAINING, "What the last answer said is left of a limit."),
        ("metrion_provider_limit", defined.LIMIT, "The limit that the last answer named."),
    ):
        yield from _head(name, "gauge", help_text)
        values = {labels: figures[figure] for labels, figures in rows if not math.isnan(figures[figure])}
        yield from _samples(name, LIMIT_LABELS, values)


def _head(name: str, kind: str, help_text: str) -> tuple[str, str]:
    return f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"


def _samples(name: str, names: Sequence[str], values: Values) -> Iterator[str]:
    for labels, value in values.items():
        text = _label_text(names, labels)
        yield f"{name}{{{text}}} {float(value)}" if text else f"{name} {float(value)}"


def _label_text(names: Sequence[str], values: Labels) -> str:
    """Return labels as they are written. An empty one is the same as none."""
    return ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(names, values, strict=True) if value)
