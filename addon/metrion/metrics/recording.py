"""Counts what happens in one process: events and refusals in, figures of its seat moved. Never raises, never waits.

An event costs a few microseconds: one look for the row of its labels, and an addition for each figure.
"""

from __future__ import annotations

import logging
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from msgspec import DecodeError, json

from metrion.admission.codes import TIMEOUT, UPSTREAM_UNREACHABLE
from metrion.faults import log_fault
from metrion.metrics import definitions as defined
from metrion.metrics.labels import Names, error_of, is_inference, status_class
from metrion.metrics.tables import OTHER, Labels, Table
from metrion.model import CostSource, EndReason, Event, Refusal
from metrion.settings import MetricsSettings

logger = logging.getLogger(__name__)

_MOST_REMEMBERED = 4096
_MOST_HEADERS = 256
_NO_PROVIDER = ""

_ROW_COLUMNS: Callable[[Event], tuple[Any, ...]] = attrgetter(
    "provider", "operation", "model_requested", "model", "status", "end_reason", "error_type", "cost_source"
)
_OPTIONAL: Callable[[Event], tuple[Any, ...]] = attrgetter(*defined.OPTIONAL)
_USER_OPTIONAL: Callable[[Event], tuple[Any, ...]] = attrgetter(*defined.USER_OPTIONAL)
_PRICED = frozenset({CostSource.COMPUTED, CostSource.ESTIMATED})
_CHARGED = frozenset({CostSource.PROVIDER, CostSource.SUBSCRIPTION})

_LIMIT_FIELD = re.compile(
    r"anthropic-ratelimit-(?P<kind>[a-z-]{1,40})-(?P<what>remaining|limit)"
    r"|x-ratelimit-(?P<what_>remaining|limit)-(?P<kind_>[a-z-]{1,40})"
)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_decode = json.Decoder(dict[str, Any]).decode


class Recording:
    """See the module. ``tables``: those of the process's seat, in the order of :data:`defined.LAYOUTS`."""

    def __init__(self, tables: Sequence[Table], settings: MetricsSettings) -> None:
        self._requests, self._refusals, self._users, self._limits, self._reach = tables
        self._counts_users = settings.users
        self._models = Names(settings.models)
        self._user_names = Names(settings.models)
        self._remembered = dict[tuple[Any, ...], tuple[int, Labels, bool]]()
        """The row of each combination of columns that came before, its labels, and whether it was an inference."""
        self._limit_fields = dict[str, tuple[str, int] | None]()

    def event(self, event: Event) -> Labels:
        """Count an event; return the labels of its row, as :data:`defined.REQUEST_LABELS`."""
        try:
            place, labels, inferred = self._row(event)
            self._count(event, place, inferred=inferred)
            self._note_provider(event)
            if self._counts_users and event.user_label:
                self._count_user(event, event.user_label)
        except Exception as error:  # noqa: BLE001 -- a metric must not reach the traffic
            log_fault(logger, "A metric could not be counted; its request went through undisturbed", error)
            return (OTHER,) * len(defined.REQUEST_LABELS)
        return labels

    def refused(self, refusal: Refusal) -> None:
        """Count a refusal, whether it has an event or not."""
        try:
            labels = (refusal.provider or _NO_PROVIDER, refusal.code)
            self._refusals.figures[self._refusals.place(labels, labels)] += 1
        except Exception as error:  # noqa: BLE001 -- as above
            log_fault(logger, "A refusal could not be counted; it was answered all the same", error)

    def _row(self, event: Event) -> tuple[int, Labels, bool]:
        columns = _ROW_COLUMNS(event)
        if (found := self._remembered.get(columns)) is not None:
            return found
        provider, operation, requested, model, status, end_reason, _, cost_source = columns
        succeeded = status is not None and status < 300
        asked = self._models.label(requested, succeeded=succeeded)
        served = self._models.label(model, succeeded=succeeded)
        after = (status_class(status), end_reason or "", error_of(event), cost_source or "")
        labels = (provider, operation or "", asked, served, *after)
        coarse = (provider, operation or "", OTHER, OTHER, *after)
        inferred = is_inference(labels[1]) and end_reason != EndReason.REFUSED
        row = self._requests.place(labels, coarse), labels, inferred
        if len(self._remembered) < _MOST_REMEMBERED and OTHER not in (asked, served):
            self._remembered[columns] = row
        return row

    def _count(self, event: Event, place: int, *, inferred: bool) -> None:
        figures = self._requests.figures
        figures[place + defined.EVENTS] += 1
        source = event.cost_source
        if source == CostSource.UNKNOWN:
            figures[place + defined.USAGE_MISSING] += 1
        elif source in _PRICED or (source in _CHARGED and event.computed_cost_usd is not None):
            figures[place + defined.PRICE_FOUND] += 1
        elif source == CostSource.UNPRICED or source in _CHARGED:
            figures[place + defined.PRICE_MISSING] += 1
        _add(figures, place + defined.FIRST_OPTIONAL, _OPTIONAL(event))
        for form, at in zip(defined.DISTRIBUTIONS, defined.DISTRIBUTION_AT, strict=True):
            if (inferred or not form.inference_only) and (value := form.value(event)) is not None:
                scaled, start = value * form.scale, place + at
                figures[start + bisect_left(form.bounds, scaled)] += 1
                figures[start + form.figures - 1] += scaled

    def _count_user(self, event: Event, user: str) -> None:
        label = self._user_names.label(user)
        place = self._users.place((label,), (OTHER,))
        self._users.figures[place] += 1
        _add(self._users.figures, place + 1, _USER_OPTIONAL(event))

    def _note_provider(self, event: Event) -> None:
        """Keep whether the provider answered, and what is left of its limits."""
        if event.end_reason == EndReason.REFUSED:
            return
        failed = event.error_type == UPSTREAM_UNREACHABLE.code
        if failed or (event.first_byte_ms is not None and event.error_type != TIMEOUT.code):
            place = self._reach.place((event.provider,), (OTHER,))
            self._reach.figures[place + (defined.FAILED_AT if failed else defined.ANSWERED_AT)] = time.time()
        if event.provider_limits is not None:
            self._note_limits(event.provider, event.provider_limits)

    def _note_limits(self, provider: str, limits: str) -> None:
        try:
            fields = _decode(limits)
        except DecodeError:
            return
        for name, text in fields.items():
            field = self._limit_fields[name] if name in self._limit_fields else self._read_limit_field(name)
            if field is not None and isinstance(text, str) and _NUMBER.fullmatch(text):
                kind, figure = field
                place = self._limits.place((provider, kind), (provider, OTHER))
                self._limits.figures[place + figure] = float(text)
                self._limits.figures[place + defined.REPORTED_AT] = time.time()

    def _read_limit_field(self, name: str) -> tuple[str, int] | None:
        found = _LIMIT_FIELD.fullmatch(name)
        field = None
        if found is not None:
            what, kind = found["what"] or found["what_"], found["kind"] or found["kind_"]
            field = kind.replace("-", "_"), defined.REMAINING if what == "remaining" else defined.LIMIT
        if len(self._limit_fields) < _MOST_HEADERS:
            self._limit_fields[name] = field
        return field


def _add(figures: Any, start: int, values: Sequence[Any]) -> None:
    """Add values where they are known, from ``start`` on; the first that is known takes the place of NaN."""
    for at, value in enumerate(values, start):
        if value is not None:
            known = figures[at]
            figures[at] = float(value) if known != known else known + float(value)  # NaN is unequal to itself
