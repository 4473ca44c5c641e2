"""A home with a journal, a store, and budgets in it, all in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from metrion import store
from metrion.admission.budgets import Budgets
from metrion.budgets import ledger
from metrion.budgets.enforcement import Enforcement
from metrion.budgets.recount import recount
from metrion.endpoints import OPERATIONS
from metrion.journal.writer import Journal
from metrion.model import (
    Asked,
    Budget,
    Caller,
    CredentialPlace,
    ErrorShape,
    Event,
    Forward,
    Head,
    Inbound,
    Origin,
    Refusal,
    Route,
    picodollars,
)
from metrion.model.event_id import uuid7
from metrion.pricing import PriceBook
from metrion.settings import Settings
from metrion.store.ingester import Ingester

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PRICES = """
openai:
  priced:
    input: 1
    output: 10
"""
"""A token in costs 1 millionth of a dollar, one out ten."""


def budget(
    usd: str, number: int = 1, scope: str = "token", name: str = "ci", per: str = "month", **more: Any
) -> Budget:
    return Budget(number, scope, name, picodollars(Decimal(usd)), per, **more)


@dataclass
class Process:
    """What one process of the proxy has."""

    home: Home
    journal: Journal
    enforcement: Enforcement

    def admit(
        self, model: str | None = "priced", body_bytes: int = 400, most_output: int | None = None, **caller: Any
    ) -> Forward | Refusal:
        route = Route(
            "openai",
            Origin("https", "api.openai.com", 443),
            b"/v1/chat/completions",
            OPERATIONS["chat"],
            "openai_chat",
            CredentialPlace.BEARER,
            ErrorShape.OPENAI,
        )
        who: dict[str, Any] = {"account": "default", "token_name": "ci", "credential": "stored", **caller}
        forward = Forward(route, Caller(**who), Head(b"/", ()), Head(b"/", ()))
        bound = Budgets(self.home.budgets).bind(forward, Inbound(b"POST", b"/openai/v1/chat/completions", ()))
        assert isinstance(bound, Forward)
        asked = Asked(b"x" * body_bytes, () if model is None else (model,), most_output_tokens=most_output)
        return self.enforcement.admit(bound, asked)

    def end(self, forward: Forward | None, cost: str | None = None, **columns: Any) -> None:
        """Write the event of a request, and count it."""
        event = self.home.event(cost, **columns)
        event = self.enforcement.stamped(event, forward)
        number = self.journal.append(event)
        self.enforcement.count(event, number, Budgets(self.home.budgets), forward, is_last=True)


@dataclass
class Home:
    """A home whose clock stands still until it is set."""

    settings: Settings
    budgets: list[Budget] = field(default_factory=list)
    now: datetime = NOW

    @contextmanager
    def process(self) -> Iterator[Process]:
        journal = Journal(self.settings.journal_dir)
        prices = PriceBook.load([self.settings.home / "prices.yaml"])
        enforcement = Enforcement(
            self.settings.budgets_dir,
            journal.writer,
            prices,
            self.settings.timezone,
            clock=lambda: self.now.timestamp(),
        )
        try:
            yield Process(self, journal, enforcement)
        finally:
            journal.close()
            enforcement.close()

    def event(self, cost: str | None = None, **columns: Any) -> Event:
        values: dict[str, Any] = {
            "started_at": self.now.replace(tzinfo=None),
            "account": "default",
            "token_name": "ci",
            "provider": "openai",
            "operation": "chat",
            "method": "POST",
            "path": "/v1/chat/completions",
            "model_requested": "priced",
            "status": 200,
            "end_reason": "complete",
            "cost_usd": None if cost is None else Decimal(cost),
            "cost_source": "unknown" if cost is None else "computed",
        }
        return Event(event_id=uuid7(), request_id=uuid7().hex, **(values | columns))

    def count(self) -> None:
        assert recount(self.settings, self.budgets, lambda: self.now.timestamp())

    def ingest(self) -> None:
        """Move what is sealed of the journal into the store."""
        store.initialise(self.settings.journal_dir, self.settings.store_path)
        ingester = Ingester(self.settings.journal_dir, self.settings.store_path)
        while batch := ingester.load():
            assert ingester.commit(batch)
        ingester.connection.close()

    def state(self, number: int = 1) -> tuple[Any, Any]:
        """What is spent in the present span, and held, in dollars."""
        from metrion.budgets.standing import standings

        (own,) = (each for each in self.budgets if each.id == number)
        (found,) = standings(self.settings.budgets_dir, [own], self.settings.timezone, self.now.timestamp())
        spent = None if found.spent is None else Decimal(found.spent).scaleb(-12).normalize()
        return spent, Decimal(found.held).scaleb(-12).normalize()

    def pass_time(self, **length: float) -> None:
        self.now += timedelta(**length)


def home(folder: Path, *budgets: Budget) -> Home:
    settings = Settings(home=folder / "home")
    settings.home.mkdir(mode=0o700)
    (settings.home / "prices.yaml").write_text(PRICES)
    store.initialise(settings.journal_dir, settings.store_path)
    made = Home(settings, list(budgets))
    made.count()
    assert ledger.read(settings.budgets_dir, 1) is not None or not budgets
    return made
