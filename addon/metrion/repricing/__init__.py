"""Price again what was metered: the store and a price book in, the difference out, and in the store where asked to.

Every event is priced at the rates that hold at its own time. What changes is what Metrion computed:
``computed_cost_usd``, ``cost_parts`` and ``price_version``, and ``cost_usd`` and ``cost_source`` where they came from
there. What never changes: tokens; ``cost_usd`` that a provider reported; what is ``not_billed`` or ``unknown``.
``estimated`` stays so, ``unpriced`` may become ``computed`` and then no longer has a floor (``cost_at_least_usd``). A
price that cannot be computed as well as it was recorded stays as it was, and is counted.

The store is written once, in one transaction, with the lock of every writer of it: killed at any moment, either all of
it has happened or nothing. What is still in the journal is ingested first, by the ingester that is at work, else here.

``rows`` reads the selected events, ``usages`` rebuilds what each one used, ``changes`` prices it, and ``turn`` writes
all changes once the journal is in the store.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from metrion.budgets.ledger import ask_for_recount
from metrion.errors import StoreError
from metrion.model import Cost, CostSource
from metrion.pricing import PriceBook
from metrion.repricing.changes import Kept, change_of, columns_of
from metrion.repricing.rows import Row, Selection, priced_rows
from metrion.repricing.turn import settle, write
from metrion.repricing.usages import Usages
from metrion.settings import Settings
from metrion.store import database, locks

__all__ = ["Kept", "Line", "Result", "Selection", "reprice"]


@dataclass(slots=True)
class Line:
    """What becomes of one model of one provider. Money in US dollars; ``None``: no cost is known."""

    events: int = 0
    changed: int = 0
    before_usd: Decimal | None = None
    after_usd: Decimal | None = None
    unpriced_before: int = 0
    unpriced_after: int = 0

    def add(self, row: Row, new: Cost | None) -> None:
        """Count an event; ``new`` is ``None`` where it stays as it was."""
        after, source = (new.usd, new.source) if new else (row["cost_usd"], row["cost_source"])
        self.events += 1
        self.changed += new is not None
        self.before_usd = _sum(self.before_usd, row["cost_usd"])
        self.after_usd = _sum(self.after_usd, after)
        self.unpriced_before += row["cost_source"] == CostSource.UNPRICED
        self.unpriced_after += source == CostSource.UNPRICED


@dataclass(slots=True)
class Result:
    """What was changed, or would be."""

    lines: dict[tuple[str, str | None], Line] = field(default_factory=dict)
    """By provider and model."""
    kept: Counter[Kept] = field(default_factory=Counter)
    """How many events keep their recorded price, by the reason."""
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

    :raises StoreError: the store cannot be read, or not be had for writing. Then nothing has changed.
    """
    journal_dir, store_path = settings.journal_dir, settings.store_path
    database.initialise(journal_dir, store_path)
    if dry_run:
        return _difference(settings, prices, selection, "events", lambda _: None)
    with locks.alone(store_path.with_name(f".{store_path.name}.reprice")) as mine:
        if not mine:
            raise StoreError("another `metrion reprice` is at work on this store; try again when it is done")
        waiting = settle(journal_dir, store_path)
        with tempfile.TemporaryDirectory() as place:
            changes = Path(place) / "changes.ndjson"
            with changes.open("w", encoding="utf-8") as file:
                result = _difference(
                    settings,
                    prices,
                    selection,
                    "ingested",
                    lambda change: file.write(json.dumps(change, default=str) + "\n"),
                )
            result.waiting = waiting
            if result.changed:
                write(store_path, changes, result.changed)
                if settings.budgets_dir.is_dir():
                    ask_for_recount(settings.budgets_dir)
        return result


def _difference(
    settings: Settings,
    prices: PriceBook,
    selection: Selection,
    source: str,
    record: Callable[[Mapping[str, Any]], object],
) -> Result:
    """Compare recorded costs with today's prices; ``record`` gets the new columns of each event that changes."""
    result = Result()
    usages = Usages(settings)
    for row in priced_rows(settings.store_path, selection, source):
        line = result.lines.setdefault((row["provider"], row["model"] or row["model_requested"]), Line())
        new = change_of(row, prices, usages)
        if isinstance(new, Kept):
            result.kept[new] += 1
            new = None
        line.add(row, new)
        if new:
            record({"event_id": row["event_id"], **columns_of(new)})
    return result


def _sum(total: Decimal | None, amount: Decimal | None) -> Decimal | None:
    return total if amount is None else amount + (total or 0)
