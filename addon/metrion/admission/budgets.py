"""Which budgets a request is bound by, and how one of them refuses it. Pure.

A request is bound where it may cost something: a POST that is billed, a batch, a WebSocket session. Traffic of a
flat-rate plan costs nothing and is bound by none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from metrion.admission.codes import BODY_TOO_LARGE, BUDGET, NOT_ALLOWED
from metrion.admission.labels import labels
from metrion.admission.rules import asks_for_websocket, is_showable, may_be_another_method
from metrion.admission.spans import Span
from metrion.model import Asked, Budget, Forward, Inbound, Naming, Refusal, Reservation, dollars
from metrion.settings.timezones import zone

SCOPES = ("token", "account", "user", "provider")
BATCH = "batch"
"""The operation that is billed later, by what its results report."""
_REMEMBERED = 4096
UNCOUNTED_SECONDS = 5
"""When to come back where a budget could not be counted."""


class Budgets:
    """Every budget of a home, found by what it is for. Immutable, but for what it remembers to be quick."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self.all = tuple(budgets)
        found: dict[tuple[str, str], tuple[Budget, ...]] = {}
        for budget in self.all:
            key = (budget.scope, budget.name)
            found[key] = (*found.get(key, ()), budget)
        self._found: Mapping[tuple[str, str], tuple[Budget, ...]] = found
        self._of = dict[tuple[str | None, str | None, str | None, str | None], tuple[Budget, ...]]()
        """What was found lately."""
        self._by_user = any(budget.scope == "user" for budget in self.all)

    def __bool__(self) -> bool:
        return bool(self.all)

    def of(self, token: str | None, account: str | None, user: str | None, provider: str | None) -> tuple[Budget, ...]:
        """Return those that a request, or its event, counts for, by their ids."""
        names = (token, account, user if self._by_user else None, provider)
        try:
            return self._of[names]
        except KeyError:
            if len(self._of) >= _REMEMBERED:
                self._of.clear()
        found = [
            budget
            for scope, name in zip(SCOPES, names, strict=True)
            if name is not None
            for budget in self._found.get((scope, name), ())
        ]
        self._of[names] = in_order = tuple(sorted(found, key=lambda budget: budget.id))
        return in_order

    def bind(self, forward: Forward | Refusal, inbound: Inbound) -> Forward | Refusal:
        """Return a request that is admitted with the budgets that it is bound by."""
        if isinstance(forward, Refusal):
            return forward
        costs = may_cost(forward, inbound)
        if not costs and (forward.caller.in_plan or not may_be_another_method(inbound)):
            return forward
        caller = forward.caller
        user = labels(inbound, caller.labels)[0] if self._by_user else None
        found = self.of(caller.token_name, caller.account, user, forward.route.provider)
        if not costs:
            strict = next((budget for budget in found if budget.then != "warn"), None)
            return without_method(forward, strict) if strict is not None else forward
        if found:  # frozen, but nobody else has seen it yet, and a copy takes 6 µs
            object.__setattr__(forward, "reservation", Reservation(found))
        return forward

    def moved(self, forward: Forward) -> Forward:
        """Return a request that goes out in another way than it was bound for; nothing is held for it yet.

        Only a POST does.
        """
        unbound = replace(forward, reservation=None)
        bound = self.bind(unbound, Inbound(b"POST", forward.shown.target, forward.shown.headers))
        return bound if isinstance(bound, Forward) else unbound


def may_cost(forward: Forward, inbound: Inbound) -> bool:
    """Whether a provider may charge for a request by what it uses."""
    if forward.caller.in_plan:
        return False
    operation = forward.route.operation
    if operation.session:
        return True
    if inbound.method != b"POST":
        return asks_for_websocket(inbound)
    return operation.is_billed_at(forward.route.provider) or operation.name == BATCH


def over(forward: Forward, budget: Budget, span: Span, *, spent: int, held: int, now: float, timezone: str) -> Refusal:
    """Refuse a request for which a budget has no room. ``span.until``: when there may be some again."""
    left = max(0, budget.limit - spent - held)
    also = " What its `fallback` names, if anything, has none either." if budget.then == "cheaper" else ""
    state = (
        f"{usd(spent)} USD are spent and {usd(held)} USD held for requests under way"
        if budget.scope == "token"
        else "nothing is left"
        if not left
        else f"{usd(left)} USD are left"
    )
    seconds = max(1, math.ceil((span.until or now + UNCOUNTED_SECONDS) - now))
    message = (
        f"The budget of {shown(budget)} has no room for this request: {state}.{also} {_turns(budget, span, timezone)} "
        f"`metrion budget set --{budget.scope} {budget.name} --per {budget.per} --usd N` changes it."
    )
    headers = ((b"retry-after", b"%d" % seconds),)
    return Refusal.of_routed(forward.route, BUDGET, message, caller=forward.caller, headers=headers)


def uncounted(forward: Forward, budget: Budget) -> Refusal:
    """Refuse a request while it is not known what is spent of a budget."""
    message = (
        f"What is spent of the budget of {shown(budget)} is not known at this moment, so nothing passes that may "
        "exceed it; Metrion's log says why."
    )
    headers = ((b"retry-after", b"%d" % UNCOUNTED_SECONDS),)
    return Refusal.of_routed(forward.route, BUDGET, message, caller=forward.caller, headers=headers)


def without_price(forward: Forward, budget: Budget, model: str) -> Refusal:
    """Refuse a request whose cost nobody can know, on a budget."""
    what = f"The model {model}" if is_showable(model, forward.credentials) else "This model"
    message = (
        f"{what} has no price, and the budget of {shown(budget)} could not hold. Give it a price in a file of your own "
        f"(docs/pricing.md), or let the token use it: `metrion token set {forward.caller.token_name} --unpriced allow`."
    )
    return Refusal.of_routed(forward.route, NOT_ALLOWED, message, caller=forward.caller)


def without_model(forward: Forward, budget: Budget, asked: Asked) -> Refusal:
    """Refuse a request on a budget that asks for nobody can tell which model."""
    operation = forward.route.operation
    why = asked.unread or (
        f"a request for {operation.name} names it where nobody can read it" if operation.session else "it names none"
    )
    message = f"The budget of {shown(budget)} can only hold where the model of a request is known, and {why}."
    if operation.naming is not Naming.ALWAYS:
        way_out = f"metrion token set {forward.caller.token_name} --allow-operation {operation.name}"
        message += f" `{way_out}` allows it all the same."
    kind = BODY_TOO_LARGE if asked.too_large else NOT_ALLOWED
    return Refusal.of_routed(forward.route, kind, message, caller=forward.caller)


def without_method(forward: Forward, budget: Budget) -> Refusal:
    """Refuse a request on a budget that servers may read as one that costs something, and others not."""
    message = (
        f"The budget of {shown(budget)} can only hold where the method of a request is known, and this one may be read "
        "as another: a field such as x-http-method-override names one, or it is not written in capitals."
    )
    return Refusal.of_routed(forward.route, NOT_ALLOWED, message, caller=forward.caller)


def shown(budget: Budget) -> str:
    """Name a budget within a sentence."""
    per = {"day": "a day", "month": "a month"}.get(budget.per, f"in any {budget.per}")
    return f"the {budget.scope} {budget.name}, {usd(budget.limit)} USD {per}"


def usd(amount: int) -> str:
    """Write an amount: cents, and as many more places as a small one needs."""
    exact = dollars(amount)
    places = 2 if exact == exact.quantize(Decimal("0.01")) else 6 if abs(exact) >= Decimal("0.0001") else 12
    text = f"{exact:.{places}f}"
    return text if places == 2 else text.rstrip("0").rstrip(".")


def _turns(budget: Budget, span: Span, timezone: str) -> str:
    if span.until is None:
        return "There is room again as what was spent earlier leaves its span."
    at = datetime.fromtimestamp(span.until, UTC).astimezone(zone(budget.timezone or timezone))
    when = f"{at:%Y-%m-%d at %H:%M} ({budget.timezone or timezone})"
    return f"It turns on {when}." if budget.per in ("day", "month") else f"The next of what was spent leaves it {when}."
