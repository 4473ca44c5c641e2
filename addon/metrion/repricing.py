"""Price again what was metered: the store and a price book in, the difference out, and in the store where asked to.

Every event is priced at the rates that hold at its own time. What changes is what Metrion computed:
``computed_cost_usd``, ``cost_parts`` and ``price_version``, and ``cost_usd`` and ``cost_source`` where they came from
there. What never changes: tokens; ``cost_usd`` that a provider reported; what is ``not_billed`` or ``unknown``.
``estimated`` stays so, ``unpriced`` may become ``computed``. A price that cannot be computed as well as it was recorded
stays as it was, and is counted.

The store is written once, in one transaction, with the lock of every writer of it: killed at any moment, either all of
it has happened or nothing. What is still in the journal is ingested first, by the ingester that is at work, else here.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from metrion.admission.routing import Router
from metrion.dialects import FORMATS
from metrion.dialects.dialect import WireFormat
from metrion.dialects.reading.finish import check
from metrion.errors import StoreError
from metrion.model import EVENT_COLUMNS, Cost, CostSource, Inbound, Route, Usage
from metrion.pricing import PriceBook
from metrion.pricing.bill import REGIONAL
from metrion.settings import Settings
from metrion.store import database, locks, schema
from metrion.store.intake import Ingester

SETTLING_SECONDS = 30.0
"""How long what is in the journal may take to be ingested."""
WRITING_SECONDS = 60.0
"""How long to try to get hold of the store."""
TURN_SECONDS = 0.5
"""How long readers are kept out while waiting for those inside, and how long they then have before the next try."""
ROWS_AT_ONCE = 5000

_VERSIONED = re.compile(r"/v\d[^/]*/.*")

NO_PRICE = "no_price"
"""Kept: the price files have no price any more for what has one recorded."""
NO_USAGE = "no_usage"
"""Kept: what the price depends on beside the columns cannot be read again."""

NO_DAY = "no_day"
"""Kept: a batch is priced at the day on which it was done. No column has that day, and prices changed about then."""
_BATCH_DAYS = 30
"""So long before its results are read, a batch may have been done."""

_WRITTEN = ("cost_usd", "cost_source", "computed_cost_usd", "cost_parts", "price_version", "cost_at_least_usd")
_COUNTED = tuple(each.name for each in fields(Usage) if each.name in EVENT_COLUMNS)
_UNSTORED = tuple(
    each.name
    for each in fields(Usage)
    if each.name not in EVENT_COLUMNS and each.name not in ("raw", "provider_cost_usd")
)
"""What a usage has and an event has no column for: modes, and parts of the cache and of video."""
_READ = (
    *("event_id", "started_at", "provider", "method", "path", "model_requested", "model", "service_tier", "operation"),
    *_COUNTED,
    *("usage", "usage_source"),
    *_WRITTEN,
)  # fmt: skip
_PRICED = (CostSource.PROVIDER, CostSource.COMPUTED, CostSource.ESTIMATED, CostSource.UNPRICED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events are priced again: all of ``None``."""

    since: datetime | None = None
    """Naive UTC, as is ``until``, which is not in it."""
    until: datetime | None = None
    model: str | None = None
    """The name of a model, served or requested; ``*`` is anything."""


@dataclass(slots=True)
class Line:
    """What becomes of one model of one provider. Money in US dollars; ``None``: no cost is known."""

    events: int = 0
    changed: int = 0
    before_usd: Decimal | None = None
    after_usd: Decimal | None = None
    unpriced_before: int = 0
    unpriced_after: int = 0


@dataclass(slots=True)
class Result:
    """What was changed, or would be."""

    lines: dict[tuple[str, str | None], Line] = field(default_factory=dict)
    """By provider and model."""
    kept: Counter[str] = field(default_factory=Counter)
    """How many events keep their recorded price, by :data:`NO_PRICE`, :data:`NO_USAGE` and :data:`NO_DAY`."""
    waiting: int = 0
    """Segments of the journal that could not be ingested in time; their events are as they were."""

    @property
    def events(self) -> int:
        """How many events have a price or could have one."""
        return sum(line.events for line in self.lines.values())

    @property
    def changed(self) -> int:
        """How many of them get another one."""
        return sum(line.changed for line in self.lines.values())


def reprice(settings: Settings, prices: PriceBook, selection: Selection, *, dry_run: bool) -> Result:
    """Price the selected events again; with ``dry_run`` only say what would change.

    Raises :class:`StoreError` when the store cannot be read, or not be had for writing; then nothing has changed.
    """
    journal_dir, store_path = settings.journal_dir, settings.store_path
    database.initialise(journal_dir, store_path)
    if dry_run:
        return _difference(settings, prices, selection, "events", lambda _: None)
    with locks.alone(store_path.with_name(f".{store_path.name}.reprice")) as mine:
        if not mine:
            raise StoreError("another `metrion reprice` is at work on this store; try again when it is done")
        waiting = _settle(journal_dir, store_path)
        with tempfile.TemporaryDirectory() as place:
            changes = Path(place) / "changes.ndjson"
            with changes.open("w", encoding="utf-8") as file:
                result = _difference(settings, prices, selection, "ingested", lambda change: _note(file.write, change))
            result.waiting = waiting
            if result.changed:
                _write(store_path, changes, result.changed)
        return result


def _note(write: Callable[[str], object], change: Mapping[str, Any]) -> None:
    write(json.dumps(change, default=str) + "\n")


# --- what changes -----------------------------------------------------------------------------------------------------


def _difference(
    settings: Settings,
    prices: PriceBook,
    selection: Selection,
    source: str,
    note: Callable[[Mapping[str, Any]], None],
) -> Result:
    result = Result()
    rebuilt = _Rebuilt(settings)
    for row in _rows(settings.store_path, selection, source):
        line = result.lines.setdefault((row["provider"], row["model"] or row["model_requested"]), Line())
        line.events += 1
        before = row["cost_usd"]
        change = _change(row, prices, rebuilt)
        if isinstance(change, str):
            result.kept[change] += 1
            change = None
        after = change["cost_usd"] if change else before
        line.before_usd, line.after_usd = _sum(line.before_usd, before), _sum(line.after_usd, after)
        line.unpriced_before += row["cost_source"] == CostSource.UNPRICED
        line.unpriced_after += (change or row)["cost_source"] == CostSource.UNPRICED
        if change:
            line.changed += 1
            note({"event_id": row["event_id"], **change})
    return result


def _rows(store_path: Path, selection: Selection, source: str) -> Iterator[dict[str, Any]]:
    parameters = {"since": selection.since, "until": selection.until, "model": selection.model}
    query = f"""
        SELECT {", ".join(_READ)} FROM {source}
        WHERE cost_source IN ({", ".join(map(schema.literal, _PRICED))})
            AND started_at >= coalesce($since::TIMESTAMP, '-infinity')
            AND started_at < coalesce($until::TIMESTAMP, 'infinity')
            AND ($model IS NULL OR coalesce(model GLOB $model, false) OR coalesce(model_requested GLOB $model, false))
    """  # noqa: S608 (all of it is written here)
    with database.opened(store_path) as connection:
        try:
            answer = connection.execute(query, parameters)
            while rows := answer.fetchmany(ROWS_AT_ONCE):
                for row in rows:
                    yield dict(zip(_READ, row, strict=True))
        except duckdb.Error as error:
            raise StoreError(f"{store_path} cannot be read: {error}") from error


def _change(row: Mapping[str, Any], prices: PriceBook, rebuilt: _Rebuilt) -> dict[str, Any] | str | None:
    """Return the new values of an event; ``None``: they are the old ones; a word: why the recorded ones are kept."""
    usage, whole = rebuilt.usage(row)
    cost = _cost(row, prices, usage, row["started_at"])
    if _is_recorded(row, cost):
        return None
    if "batch" in (row["operation"], row["service_tier"]):
        days = (row["started_at"] - timedelta(days=ago) for ago in range(1, _BATCH_DAYS + 1))
        if any(_cost(row, prices, usage, day) != cost for day in days):
            return NO_DAY
    if cost.computed_usd is None:
        return NO_PRICE if row["computed_cost_usd"] is not None else None
    if not whole:
        return NO_USAGE
    return {
        "cost_usd": cost.usd,
        "cost_source": cost.source,
        "computed_cost_usd": cost.computed_usd,
        "cost_parts": dict(cost.parts) if cost.parts else None,
        "price_version": cost.price_version,
        "cost_at_least_usd": None,
    }


def _cost(row: Mapping[str, Any], prices: PriceBook, usage: Usage, when: datetime) -> Cost:
    """Price an event as on a day. Whether it went to a regional endpoint is known by a part of its cost."""
    parts = row["cost_parts"] or {}
    return prices.cost(
        provider=row["provider"],
        model=row["model"],
        model_requested=row["model_requested"],
        usage=usage,
        when=when,
        service_tier=row["service_tier"],
        regional=any(name.rpartition(":")[2] == REGIONAL for name in parts),
        estimated=CostSource.ESTIMATED in (row["cost_source"], row["usage_source"]),
    )


def _is_recorded(row: Mapping[str, Any], cost: Cost) -> bool:
    return (row["cost_usd"], row["cost_source"], row["computed_cost_usd"], row["cost_parts"] or {}) == (
        cost.usd,
        cost.source,
        cost.computed_usd,
        cost.parts or {},
    )


class _Rebuilt:
    """Usages as they were read from the responses, out of the events' columns."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._router = Router(settings)
        self._format = cache(self._format_of)

    def usage(self, row: Mapping[str, Any]) -> tuple[Usage, bool]:
        """Return the usage, and whether all of it is known that a price may depend on."""
        unstored = self._unstored(row)
        counted = {name: row[name] for name in _COUNTED}
        charged = row["cost_usd"] if row["cost_source"] == CostSource.PROVIDER else None
        return Usage(**counted, **(unstored or {}), provider_cost_usd=charged), unstored is not None

    def _unstored(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what has no column, from the provider's own usage; ``None``: that cannot be read any more."""
        if row["usage_source"] == "estimated" and row["usage"] is None:
            return {}  # there was nothing to read
        form = self._format(row["provider"], row["method"], row["path"])
        if form is None or row["usage"] is None:
            return None
        try:
            document = json.loads(row["usage"], parse_float=Decimal)
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict):
            return None
        checked = check(document, form, model=row["model"])
        if checked.is_unreadable:  # the counts themselves are in columns: one that is missing here is no loss
            return None
        return {name: getattr(checked.usage, name) for name in _UNSTORED}

    def _format_of(self, provider: str, method: str | None, path: str | None) -> WireFormat | None:
        """Return the format of what came back from this path, as routing says today."""
        configured = self._settings.providers.get(provider)
        if configured is None or not method or not path:
            return None
        # Then from its version on: the upstream may have had another prefix when the event was recorded.
        for own in (path.removeprefix(configured.prefix), *_VERSIONED.findall(path)):
            route = self._router.route(Inbound(method.encode(), f"/{provider}{own}".encode(), ()))
            if isinstance(route, Route) and (form := FORMATS.get(route.dialect or "")):
                return form
        return None


def _sum(total: Decimal | None, amount: Decimal | None) -> Decimal | None:
    return total if amount is None else amount + (total or 0)


# --- the store's turn -------------------------------------------------------------------------------------------------


def _settle(journal_dir: Path, store_path: Path) -> int:
    """Have all that is in the journal now moved into the store; returns how many segments could not be."""
    segments = [path for path in journal_dir.glob(schema.SEGMENTS) if path.name != schema.SENTINEL]
    deadline = time.monotonic() + SETTLING_SECONDS
    while left := [path for path in segments if path.exists()]:
        if time.monotonic() >= deadline:
            return len(left)
        with locks.alone(journal_dir / ".ingester.lock") as mine:
            if mine:  # no proxy runs here, or it comes up just now and waits its turn
                _ingest(Ingester(journal_dir, store_path), deadline)
        time.sleep(0.05)  # a writer seals its segment within a second, and the ingester takes it by itself
    return 0


def _ingest(ingester: Ingester, deadline: float) -> None:
    while batch := ingester.stage():
        try:
            while not ingester.commit(batch):
                if time.monotonic() >= deadline:
                    return
                time.sleep(TURN_SECONDS)  # somebody reads
        finally:
            batch.release()


def _write(store_path: Path, changes: Path, count: int) -> None:
    """Commit the changes, all or nothing."""
    kinds = {name: schema.COLUMN_TYPES[name] for name in ("event_id", *_WRITTEN)}
    columns = ", ".join(f"{name}: {schema.literal(kind)}" for name, kind in kinds.items())
    assignments = ", ".join(f"{name} = changes.{name}" for name in _WRITTEN)
    with closing(duckdb.connect(config=schema.WRITER_CONFIG)) as connection:
        connection.execute(
            f"CREATE TABLE memory.changes AS FROM read_json({schema.segments([changes])}, "
            f"format = 'newline_delimited', hive_partitioning = false, columns = {{{columns}}})"
        )
        for _ in _turns(store_path):
            try:
                with locks.writing(store_path, TURN_SECONDS):
                    database.attach(connection, store_path)
                    _commit(connection, assignments, count)
                    break
            except locks.Busy:
                continue
            except duckdb.Error as error:
                if not database.locked_out(error):
                    raise StoreError(f"{store_path} cannot be written: {error}; nothing was changed") from error


def _commit(connection: duckdb.DuckDBPyConnection, assignments: str, count: int) -> None:
    try:
        connection.execute("BEGIN")
        ((changed,),) = connection.execute(
            f"UPDATE store.ingested SET {assignments} FROM memory.changes AS changes "  # noqa: S608 (all of it is written here)
            "WHERE ingested.event_id = changes.event_id"
        ).fetchall()
        if changed != count:
            connection.execute("ROLLBACK")
            raise StoreError(f"{count} events were to change and {changed} are there; nothing was changed, try again")
        connection.execute("COMMIT")
    finally:
        connection.execute("DETACH store")


def _turns(store_path: Path) -> Iterator[None]:
    """Give one try after the other to get the store for writing, with room for readers in between."""
    deadline = time.monotonic() + WRITING_SECONDS
    while time.monotonic() < deadline:
        yield
        time.sleep(TURN_SECONDS)
    raise StoreError(
        f"{store_path} was in use for {WRITING_SECONDS:g} s by readers that do not let go; nothing was changed. "
        "Try again, or close what has it open (`metrion doctor` says which process)."
    )
