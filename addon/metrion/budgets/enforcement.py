"""What one process does about budgets: holds what a request may cost before it goes out, counts what it cost.

In: a request that is admitted and bound by budgets, with what its body asks for; later its events. Out: the request
with what is held for it, or a refusal. A budget fails closed: while its file cannot be used, or it is not known what is
spent, nothing passes that it binds (unless it is only to warn). Counting an event never raises: it is in the journal
already, and the next count over the events finds it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from metrion.admission.budgets import Budgets, over, shown, uncounted, without_model, without_price
from metrion.admission.paths import parameter
from metrion.admission.spans import Span, span
from metrion.budgets.figures import Figures
from metrion.budgets.ledger import Bound, Held, Ledger, Short, ask_for_recount
from metrion.budgets.standing import Standing, standings
from metrion.faults import log_fault
from metrion.model import (
    Asked,
    Budget,
    Event,
    Forward,
    Headers,
    Refusal,
    Reservation,
    Route,
    dollars,
    picodollars,
)
from metrion.pricing import PriceBook
from metrion.settings.timezones import zone

logger = logging.getLogger(__name__)

FREE = frozenset({"not_billed", "subscription"})
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- events have naive UTC times
_MOST_SHOWN = 200
_UNKNOWN_BYTES = 8_000
"""What the body of a request is taken for that nobody had to look at."""
RESERVED = "reserved_usd"
"""The entry of the column ``policy`` that says what was held for a request whose cost nobody knows."""
REMAINING = b"x-metrion-budget-remaining"
WARNING = b"x-metrion-budget-warning"
CHEAPER = "cheaper"

type Cheaper = tuple[Forward, Asked]
"""A request as it goes out in another way, and what its body asks for there."""


class _Known(NamedTuple):
    """A budget with a span, and the moments whose span that is."""

    bound: Bound
    since: float
    until: float


class Enforcement:
    """See the module. ``writer``: the id of the journal's writer, which ends in twelve hexadecimal digits."""

    def __init__(
        self,
        folder: Path,
        writer: str,
        prices: PriceBook,
        timezone: str,
        *,
        shows_remaining: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._ledger = Ledger(folder, process_of(writer))
        self._figures = Figures(prices, folder, clock)
        self._timezone = timezone
        self._shows_remaining = shows_remaining
        self._clock = clock
        self._bounds = dict[int, _Known]()
        """Of each budget, by its id, the span that was last asked for."""
        self._is_failing = False

    def use(self, prices: PriceBook, *, shows_remaining: bool) -> None:
        """Work by other prices and another option from the next request on."""
        self._figures.use(prices)
        self._shows_remaining = shows_remaining

    # --- before

    def admit(
        self,
        forward: Forward,
        asked: Asked | None = None,
        *,
        cheaper: Callable[[], Iterable[Cheaper]] = tuple,
        instead: Reservation | None = None,
    ) -> Forward | Refusal:
        """Hold what a request may cost, of every budget that binds it; or refuse it, and change nothing.

        ``asked``: what its body asks for; ``None``: that need not be known. ``cheaper``: as what else it may go out
        where a budget says so; the first that there is room for does. ``instead``: what was held for it elsewhere, and
        is let go of.
        """
        if instead is not None and not instead.is_held:
            instead = None
        if (reservation := forward.reservation) is None:
            if instead is not None:
                self._settle((), 0, 0, instead)
            return forward
        try:
            return self._admit(forward, reservation, asked, cheaper, instead)
        except Exception as error:  # noqa: BLE001 -- a budget fails closed, whatever the fault is
            if not self._is_failing:
                self._is_failing = True
                log_fault(logger, "Budgets cannot be counted, and what they bind is refused", error)
            if (strict := _strict(reservation)) is not None:
                return uncounted(forward, strict)
            if instead is not None:
                self._settle((), 0, 0, instead)
            return forward

    def release(self, forward: Forward) -> None:
        """Let go of what is still held for a request."""
        if (held := forward.reservation) is not None and held.is_held:
            self._settle((), 0, 0, held)

    def _admit(
        self,
        forward: Forward,
        reservation: Reservation,
        asked: Asked | None,
        cheaper: Callable[[], Iterable[Cheaper]],
        instead: Reservation | None,
    ) -> Forward | Refusal:
        found = self._likely(forward, asked)
        if isinstance(found, str) and (strict := _strict(reservation)) is not None:
            return without_price(forward, strict, found) if found else without_model(forward, strict, asked or Asked())
        amount = found if isinstance(found, int) else 0
        now = self._clock()
        bounds = [self._bound(budget, now) for budget in reservation.budgets]
        if instead is None:
            held = self._ledger.hold(bounds, amount)
        else:
            held = self._ledger.hold(bounds, amount, [budget.id for budget in instead.budgets], instead.amount)
        self._is_failing = False
        if isinstance(held, Short):
            within = self._cheaper(held, cheaper()) if held.budget.then == CHEAPER else None
            return within or self._refused(forward, held, now)
        if instead is not None:
            instead.is_held = False
        reservation.amount, reservation.is_held = amount, True
        reservation.model = asked.model if asked is not None else None
        return self._with_fields(forward, held) if held.over or self._shows_remaining else forward

    def _cheaper(self, short: Short, others: Iterable[Cheaper]) -> Forward | None:
        """Return a request as the first that its budgets have room for; ``None``: there is none."""
        for other, asked in others:
            within = self.admit(other, asked)
            if isinstance(within, Forward):
                told = f"no room left in the budget of {shown(short.budget)}; this went out as what is cheaper"
                return replace(within, adds=(*within.adds, (WARNING, told.encode("ascii", "replace"))))
        return None

    def _likely(self, forward: Forward, asked: Asked | None) -> int | str:
        """Return what a request may cost; or a model without a price, which is empty where the model is not known."""
        route, caller = forward.route, forward.caller
        models: tuple[str | None, ...] = asked.models if asked is not None else ()
        if route.model is not None:
            put_in = forward.policies.model if forward.policies is not None else None
            models = (put_in or route.model,)
        elif not models:
            if not caller.takes_unread:
                return ""
            models = (self._model_of_session(route),)
        body_bytes, most = _UNKNOWN_BYTES, None
        if asked is not None:
            body_bytes, most = len(asked.body), asked.most_output_tokens
            if most is not None and asked.answers:
                most *= asked.answers
        amount = 0
        for model in models:
            rates = self._figures.rates(route.provider, model) if model is not None else None
            if rates is None and model is not None and not caller.takes_unpriced:
                return model
            who = (caller.account, caller.token_name, route.provider, model)
            amount = max(amount, self._figures.likely(who, rates, body_bytes, most))
        return amount

    @staticmethod
    def _model_of_session(route: Route) -> str | None:
        return parameter(route.target.partition(b"?")[2], b"model") if route.operation.session else None

    def _with_fields(self, forward: Forward, held: Held) -> Forward:
        """Return a request whose answer says how its budgets stand."""
        adds: Headers = tuple(each for each in forward.adds if each[0] not in (REMAINING, WARNING))
        if held.over:
            first = shown(held.over[0].budget)
            adds = (*adds, (WARNING, f"no room left in the budget of {first}".encode("ascii", "replace")))
            if held.is_new:
                logger.warning("The budget of %s has no room left; requests go on, as it says.", first)
        if self._shows_remaining:
            adds = (*adds, (REMAINING, f"{dollars(max(0, held.least)).normalize():f}".encode()))
        return replace(forward, adds=adds)

    def _refused(self, forward: Forward, short: Short, now: float) -> Refusal:
        budget, state = short
        if state.spent is None:
            ask_for_recount(self._folder)
            return uncounted(forward, budget)
        current = self._span(budget, now)
        if current.until is None and state.frees_at > now:
            current = current._replace(until=state.frees_at)
        return over(forward, budget, current, spent=state.spent, held=state.held, now=now, timezone=self._timezone)

    # --- after

    def stamped(self, event: Event, forward: Forward | None) -> Event:
        """Return an event that says what was held for it, where nobody knows what it cost."""
        held = forward.reservation if forward is not None else None
        if held is None or event.cost_usd is not None or not held.amount:
            return event
        return replace(event, policy={**(event.policy or {}), RESERVED: format(dollars(held.amount), "f")})

    def count(self, event: Event, number: int, budgets: Budgets, forward: Forward | None, *, is_last: bool) -> None:
        """Count an event, the journal's ``number``, for its budgets. ``is_last``: nothing is held for it any more."""
        try:
            self._count(event, number, budgets, forward, is_last=is_last)
        except Exception as error:  # noqa: BLE001 -- see the module
            log_fault(logger, "What a request cost was not counted for its budgets yet", error)
            ask_for_recount(self._folder)

    def _count(self, event: Event, number: int, budgets: Budgets, forward: Forward | None, *, is_last: bool) -> None:
        held = forward.reservation if forward is not None and is_last else None
        if held is not None and not held.is_held:
            held = None
        found = budgets.of(event.token_name, event.account, event.user_label, event.provider)
        if not found and held is None:
            return
        is_known = event.cost_usd is not None
        reserved = None if is_known else reserved_in(event)
        cost = cost_of(event.cost_source, event.cost_usd, event.cost_at_least_usd, reserved)
        if is_known and event.cost_source not in FREE:
            model = held.model if held is not None else None
            who = (event.account, event.token_name, event.provider, model or event.model_requested)
            self._figures.learn(who, cost, event.cost_parts)
        started = (event.started_at - _EPOCH).total_seconds()
        self._settle([self._bound(budget, started) for budget in found], cost, number, held)
        if cost and found and event.method != "POST" and event.status != 101:
            ask_for_recount(self._folder)  # it reports what an earlier request used, whose reservation still counts

    def _settle(self, bounds: list[Bound] | tuple[()], cost: int, number: int, held: Reservation | None) -> None:
        released: list[int] = []
        amount = 0
        if held is not None:
            released, amount, held.is_held = [budget.id for budget in held.budgets], held.amount, False
        try:
            self._ledger.settle(bounds, cost, number, released, amount)
        except Exception as error:  # noqa: BLE001 -- see the module
            if not self._is_failing:
                self._is_failing = True
                log_fault(logger, "What a request cost was not counted for its budgets yet", error)
            ask_for_recount(self._folder)

    def standings(self, budgets: Budgets) -> list[Standing]:
        """Return how budgets stand now, of so many that it takes milliseconds; none where that cannot be read."""
        with suppress(OSError):
            return list(standings(self._folder, budgets.all[:_MOST_SHOWN], self._timezone, self._clock()))
        return []

    def close(self) -> None:
        """Hold nothing any more."""
        self._ledger.close()

    def _bound(self, budget: Budget, moment: float) -> Bound:
        known = self._bounds.get(budget.id)
        if known is None or known.bound.budget is not budget or not known.since <= moment < known.until:
            found = self._span(budget, moment)
            moves = found.until is None
            since, until = (-math.inf, math.inf) if moves else (found.since, found.until or 0)
            known = self._bounds[budget.id] = _Known(Bound(budget, found.key), since, until)
        return known.bound

    def _span(self, budget: Budget, moment: float) -> Span:
        return span(budget.per, moment, zone(budget.timezone or self._timezone))


def _strict(reservation: Reservation) -> Budget | None:
    """Return a budget that refuses what it has no room for."""
    return next((budget for budget in reservation.budgets if budget.then != "warn"), None)


def process_of(writer: str) -> int:
    """Return the number of the process that a writer of the journal belongs to."""
    return int(writer.rpartition("-")[2], 16)


def cost_of(source: str | None, cost: Decimal | None, at_least: Decimal | None, reserved: Decimal | None) -> int:
    """Return what an event counts for a budget.

    A cost that nobody knows is taken for what was held, or for what it is at least if that is more.
    """
    if source in FREE:
        return 0
    if cost is not None:
        return picodollars(cost)
    return picodollars(max(at_least or Decimal(0), reserved or Decimal(0)))


def reserved_in(event: Event) -> Decimal | None:
    """Return what an event says was held for it."""
    text = (event.policy or {}).get(RESERVED)
    return Decimal(text) if text else None
