"""Counts what is spent of each budget from the events themselves, and puts that into the budgets' files.

In: the store, the journal's lines above its watermarks, and the budgets. Out: files that say exactly what ``events``
says, with what a batch's results or a new price changed, and without what dead processes held. While it counts, the
store is held for reading, so that no line moves from the journal into it. Lines that are written meanwhile are read at
the end, under the locks of all files: a writer counts an event only once it is in the journal, so what is not read then
is not counted there either.

One count at a time in a home, by lock.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from metrion import store
from metrion.admission.spans import QUARTER, Span, length, span
from metrion.budgets import ledger
from metrion.budgets.enforcement import RESERVED, cost_of, process_of
from metrion.budgets.figures import LAST, PERCENTILE, SEEDS
from metrion.budgets.page import Page
from metrion.errors import StoreError
from metrion.model import Budget, picodollars
from metrion.settings import Settings
from metrion.settings.timezones import zone
from metrion.store import locks, schema

LOCK = ".counting.lock"
_COLUMNS = {"token": "token_name", "account": "account", "user": "user_label", "provider": "provider"}
_HISTORY_DAYS = 7
_PATIENCE = 5.0
_NEW_SECONDS = 60.0
"""A budget's file is made before others know of the budget."""


def recount(settings: Settings, budgets: Sequence[Budget], clock: Callable[[], float] = time.time) -> bool:
    """Count, and put right what the files of ``budgets`` say; return whether nobody else was at it.

    Files of other budgets are left alone.

    :raises StoreError: the store cannot be read. Then nothing has changed.
    """
    folder = settings.budgets_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locks.alone(folder / LOCK) as mine:
            if mine:
                with suppress(FileNotFoundError):
                    (folder / ledger.RECOUNT).unlink()
                _recount(settings, budgets, int(clock()))
            return mine
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: budgets cannot be counted: {error.strerror or error}") from error


def tidy(folder: Path, budgets: Sequence[Budget]) -> None:
    """Remove the files of budgets that are none any more, and of processes that have ended and hold nothing."""
    known = {str(budget.id) for budget in budgets}
    holding = {slot.process for budget in budgets if (page := ledger.read(folder, budget.id)) for slot in page.slots()}
    for entry in list(os.scandir(folder)):
        with suppress(OSError):
            if (
                entry.name.isdecimal()
                and entry.name not in known
                and entry.stat().st_mtime < time.time() - _NEW_SECONDS
            ):
                os.unlink(entry.path)  # noqa: PTH108 -- an entry's own path
    for process in ledger.the_dead(folder):
        if process not in holding:
            ledger.bury(folder, process)


@dataclass(slots=True)
class _Sum:
    """What one budget comes to."""

    budget: Budget
    span: Span
    spent: int = 0
    first: int | None = None
    """When the oldest of it was spent."""

    def takes(self, event: Mapping[str, Any], at: float) -> bool:
        """Whether an event counts for it."""
        if event.get(_COLUMNS[self.budget.scope]) != self.budget.name:
            return False
        return at >= self.span.since and (self.span.until is None or at < self.span.until)

    @property
    def frees_at(self) -> int:
        """When the oldest leaves a span that moves."""
        seconds = length(self.budget.per)
        return 0 if seconds is None or self.first is None else self.first // QUARTER * QUARTER + seconds + QUARTER


def _recount(settings: Settings, budgets: Sequence[Budget], now: int) -> None:
    sums = [_Sum(each, span(each.per, now, zone(each.timezone or settings.timezone))) for each in budgets]
    try:
        with locks.reading(settings.store_path, _PATIENCE):
            watermarks, history = _from_store(settings, sums, now)
            _write_history(settings.budgets_dir, history)
            journal = _Journal(settings.journal_dir, watermarks)
            for event in journal.lines():
                _add(sums, event)
            with _locked(settings.budgets_dir, sums) as pages:
                dead = _dead(settings.budgets_dir, pages)
                for event in journal.lines():
                    _add(sums, event)
                for each, page in zip(sums, pages, strict=True):
                    _put(page, each, journal.seen, dead, now)
    except locks.Busy:
        raise StoreError(f"{settings.store_path} is being written for unusually long; try again") from None


def _put(page: Page, each: _Sum, seen: Mapping[int, int], dead: frozenset[int], now: int) -> None:
    """Put what a budget comes to into its file."""
    at = page.make(each.span.key)
    spent = each.spent
    for slot in page.slots():
        counted = max(slot.counted, seen.get(slot.process, 0))
        if slot.process in dead:
            page.free(slot.place)
        elif slot.last > counted:  # it has counted an event that no disk takes at this moment
            spent = max(spent, page.spent(at))
        else:
            page.set_counted(slot.place, counted)
    page.add_up()
    page.set_spent(at, spent)
    if spent + page.held < each.budget.limit:
        page.forgive(at)
    page.note_count(each.frees_at, now)


@contextmanager
def _locked(folder: Path, sums: Sequence[_Sum]) -> Iterator[list[Page]]:
    """Hold the files of all budgets, in the order of their ids."""
    with ExitStack() as held:
        pages = []
        for each in sums:
            file = ledger.File(folder, each.budget.id)
            held.callback(file.close)
            file.lock(time.monotonic() + _PATIENCE)
            pages.append(file.page)
        yield pages


def _dead(folder: Path, pages: Sequence[Page]) -> frozenset[int]:
    """Return which processes have ended. Whatever they wrote is in the journal by now."""
    processes = {slot.process for page in pages for slot in page.slots()}
    return frozenset(process for process in processes if ledger.is_dead(folder, process))


def _add(sums: Sequence[_Sum], event: Mapping[str, Any]) -> None:
    at = datetime.fromisoformat(event["started_at"]).replace(tzinfo=UTC).timestamp()
    for each in sums:
        if each.takes(event, at):
            cost = cost_of(
                event.get("cost_source"),
                _decimal(event.get("cost_usd")),
                _decimal(event.get("cost_at_least_usd")),
                _decimal((event.get("policy") or {}).get(RESERVED)),
            )
            each.spent += cost
            if cost and (each.first is None or at < each.first):
                each.first = int(at)


def _decimal(text: object) -> Decimal | None:
    with suppress(InvalidOperation):
        return None if text is None else Decimal(str(text))
    return None


# --- the journal ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Journal:
    """Reads every line that the store does not have, each once, however often it is asked."""

    folder: Path
    watermarks: Mapping[str, int]
    read: dict[str, int] = field(default_factory=dict)
    """How far each segment is read."""
    seen: dict[int, int] = field(default_factory=dict)
    """The number of the last event of each process that is counted."""

    def __post_init__(self) -> None:
        self.seen = {process_of(writer): seq for writer, seq in self.watermarks.items()}

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """Give what has come since the last time."""
        for path in sorted(self.folder.glob(schema.SEGMENTS)):
            if path.name != schema.SENTINEL:
                yield from self._segment(path)

    def _segment(self, path: Path) -> Iterator[Mapping[str, Any]]:
        done = self.read.get(path.name, 0)
        with path.open("rb") as file:
            file.seek(done)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self.read[path.name] = done + len(whole)
        for line in whole.splitlines():
            with suppress(ValueError, LookupError, TypeError, AttributeError):
                event = json.loads(line)
                writer, seq = event["writer"], event["seq"]
                if event["event_id"] and seq > self.watermarks.get(writer, 0):
                    process = process_of(writer)
                    self.seen[process] = max(seq, self.seen.get(process, 0))
                    yield event


# --- the store --------------------------------------------------------------------------------------------------------


def _from_store(settings: Settings, sums: Sequence[_Sum], now: int) -> tuple[dict[str, int], list[tuple[Any, ...]]]:
    """Add what the store has of each budget; return its watermarks, and what requests cost lately."""
    if not store.is_there(settings.store_path):
        return {}, []
    import duckdb

    try:
        with closing(duckdb.connect(str(settings.store_path), read_only=True, config=schema.CONFIG)) as connection:
            for number, spent, first in connection.execute(_query(sums)).fetchall() if sums else ():
                sums[number].spent += picodollars(spent or Decimal(0))
                sums[number].first = None if first is None else int(first.replace(tzinfo=UTC).timestamp())
            watermarks = dict(connection.execute("SELECT writer, seq FROM watermarks").fetchall())
            since = {"since": datetime.fromtimestamp(now - _HISTORY_DAYS * 86_400, UTC).replace(tzinfo=None)}
            return watermarks, connection.execute(_HISTORY, since).fetchall()
    except duckdb.Error as error:
        raise StoreError(f"{settings.store_path} cannot be read: {error}") from error


def _query(sums: Sequence[_Sum]) -> str:
    """Return the query for what each budget comes to: of the sums what is known, of the rows what is not."""
    from metrion.store import rollups

    unknown = "(FROM ingested WHERE cost_usd IS NULL AND started_at >= TIMESTAMP '{since}')"
    reserved = f"TRY_CAST(policy['{RESERVED}'] AS DECIMAL(18, 12))"
    queries = []
    for number, each in enumerate(sums):
        since = _timestamp(each.span.since)
        until = "'infinity'" if each.span.until is None else f"'{_timestamp(each.span.until)}'"
        chosen = f"{_COLUMNS[each.budget.scope]} = {schema.literal(each.budget.name)} AND billed"
        billing = rollups.billing(unknown.format(since=since), "settling")
        queries.append(
            f"SELECT {number}, sum(usd), min(began) FROM ("  # noqa: S608 -- written here, or a literal
            f"SELECT cost_usd AS usd, quarter AS began FROM rollups WHERE {chosen} AND cost_usd > 0 "
            f"AND quarter >= TIMESTAMP '{since}' AND quarter < TIMESTAMP {until} "
            f"UNION ALL SELECT greatest(coalesce(cost_at_least_usd, 0), coalesce({reserved}, 0)), started_at "
            f"FROM ({billing}) WHERE {chosen} AND started_at < TIMESTAMP {until})"
        )
    return " UNION ALL ".join(queries)


_HISTORY = f"""
SELECT account, token_name, provider, model_requested,
    quantile_disc(cost_usd, {PERCENTILE})::VARCHAR, quantile_disc(input, {PERCENTILE})::VARCHAR
FROM (
    SELECT *, cost_usd - coalesce(list_sum([
        part.value FOR part IN map_entries(cost_parts) IF starts_with(part.key, 'output') OR part.key = 'reasoning'
    ]), 0) AS input, row_number() OVER (PARTITION BY account, token_name, provider, model_requested
        ORDER BY started_at DESC) AS place
    FROM ingested WHERE started_at >= $since AND cost_usd > 0 AND cost_source <> 'subscription'
    AND NOT regexp_matches(coalesce(policy::VARCHAR, ''), '(cheaper|fallback): to ')
)
WHERE place <= {LAST} GROUP BY ALL"""  # noqa: S608 -- all of it is written here


def _write_history(folder: Path, rows: list[tuple[Any, ...]]) -> None:
    """Write what requests cost lately, whole or not at all."""
    found = [[*who, picodollars(Decimal(cost)), picodollars(Decimal(input_))] for *who, cost, input_ in rows]
    draft = folder / f"{SEEDS}.new"
    draft.write_text(json.dumps(found), "utf-8")
    draft.chmod(0o600)
    draft.replace(folder / SEEDS)


def _timestamp(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}"
