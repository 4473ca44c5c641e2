"""Which events are priced again, and what is read of them.

In: the store, a selection and the table or view to read. Out: one mapping of columns for each event that has a price or
could have one. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from metrion.errors import StoreError
from metrion.model import EVENT_COLUMNS, CostSource, Usage
from metrion.store import database, schema

type Row = Mapping[str, Any]
"""An event, as far as its price depends on it or is part of it."""

WRITTEN = ("cost_usd", "cost_source", "computed_cost_usd", "cost_parts", "price_version", "cost_at_least_usd")
"""The columns that repricing changes."""
COUNTED = tuple(each.name for each in fields(Usage) if each.name in EVENT_COLUMNS)
"""The columns that are counts of a usage."""

_READ = (
    *("event_id", "started_at", "provider", "method", "path", "model_requested", "model", "service_tier", "operation"),
    *COUNTED,
    *("usage", "usage_source", "wire_format"),
    *WRITTEN,
)  # fmt: skip
_PRICED = (CostSource.PROVIDER, CostSource.COMPUTED, CostSource.ESTIMATED, CostSource.UNPRICED)
_ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events are priced again: all of ``None``."""

    since: datetime | None = None
    """Naive UTC, as is ``until``, which is not in it."""
    until: datetime | None = None
    model: str | None = None
    """The name of a model, served or requested; ``*`` is anything."""


def priced_rows(store_path: Path, selection: Selection, source: str) -> Iterator[Row]:
    """Give the selected events of ``source``, a table or view of the store.

    :raises StoreError: the store cannot be read.
    """
    parameters = {"since": selection.since, "until": selection.until, "model": selection.model}
    query = f"""
        SELECT {", ".join(_READ)} FROM {source}
        WHERE cost_source IN ({", ".join(map(schema.literal, _PRICED))})
            AND started_at >= coalesce($since::TIMESTAMP, '-infinity')
            AND started_at < coalesce($until::TIMESTAMP, 'infinity')
            AND ($model IS NULL OR coalesce(model GLOB $model, false) OR coalesce(model_requested GLOB $model, false))
    """  # noqa: S608 -- all of it is written here
    with database.opened(store_path) as connection:
        try:
            answer = connection.execute(query, parameters)
            while rows := answer.fetchmany(_ROWS_AT_ONCE):
                for row in rows:
                    yield dict(zip(_READ, row, strict=True))
        except duckdb.Error as error:
            raise StoreError(f"{store_path} cannot be read: {error}") from error
