# ruff: noqa: DTZ001 - times in events are naive UTC
"""Events and homes for the tests of journal, store and reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from metrion import store
from metrion.journal.writer import Journal
from metrion.model import Event
from metrion.store.ingester import Ingester
from metrion.store.query import Table

STARTED = datetime(2026, 11, 1, 10, 30, 15, 123456)
_numbers: Iterator[int] = count(1)


def event(**columns: Any) -> Event:
    """Return a plausible event; ``columns`` replace what it says."""
    number = next(_numbers)
    usual: dict[str, Any] = {
        "event_id": UUID(int=(0x019A << 112) | (0x7 << 76) | (0x2 << 62) | number),
        "request_id": f"request-{number}",
        "started_at": STARTED,
        "account": "default",
        "token_name": "laptop",
        "provider": "openai",
        "operation": "chat",
        "method": "POST",
        "model": "gpt-5",
        "status": 200,
        "input_tokens": 100,
        "output_tokens": 20,
        "usage_source": "reported",
        "cost_usd": Decimal("0.001234567890"),
        "cost_source": "computed",
    }
    return Event(**(usual | columns))


@dataclass(frozen=True)
class Home:
    """A journal and a store, as in ``$METRION_HOME``."""

    path: Path

    @property
    def journal_dir(self) -> Path:
        return self.path / "journal"

    @property
    def store_path(self) -> Path:
        return self.path / "usage.duckdb"

    def initialise(self) -> None:
        store.initialise(self.journal_dir, self.store_path)

    def record(self, *events: Event) -> None:
        """Write a whole, sealed segment."""
        journal = Journal(self.journal_dir)
        for one in events:
            journal.append(one)
        journal.close()

    def ingest(self) -> None:
        """Take everything in that is sealed."""
        ingester = Ingester(self.journal_dir, self.store_path)
        while batch := ingester.load():
            assert ingester.commit(batch)

    def ask(self, query: str, **parameters: Any) -> Table:
        return store.ask(self.journal_dir, self.store_path, query, parameters)

    def values(self, query: str) -> list[tuple[Any, ...]]:
        return self.ask(query).rows

    @property
    def segments(self) -> list[str]:
        return sorted(path.name for path in self.journal_dir.glob("*.ndjson") if not path.name.startswith("0-"))


def native(home: Home) -> list[tuple[Any, ...]]:
    """What is in the store alone."""
    return home.values("SELECT request_id FROM ingested ORDER BY ALL")


def everything(home: Home) -> list[str]:
    return [name for (name,) in home.values("SELECT request_id FROM events ORDER BY ALL")]
