"""Alerts: rules on what was metered, and messages to whoever should know.

The functions here are for the command line and the dashboard: rules are added, listed, changed, removed and tested, and
the history is read. While a proxy runs, :mod:`metrion.alerts.turn` looks at the rules again and again, in a process of
its own. Importing this package does not load DuckDB.

Every error is a :class:`~metrion.errors.ControlError`, and none holds a URL, a password or a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from metrion.admission import spans as budget_spans
from metrion.alerts import spans
from metrion.alerts.delivery import deliver
from metrion.alerts.measures import MEASURES
from metrion.alerts.messages import trial
from metrion.alerts.sending import Resolve, resolved
from metrion.alerts.targets import email, webhook
from metrion.control import check_label
from metrion.control.alert_records import FILTERS, AlertChannel, AlertRecord, AlertRule, NewChannel, RuleTerms
from metrion.control.alerts import AlertStore, now
from metrion.errors import ControlError
from metrion.settings import Settings

__all__ = [
    "FILTERS",
    "MEASURES",
    "AlertChannel",
    "AlertRecord",
    "AlertRule",
    "NewChannel",
    "RuleTerms",
    "add_rule",
    "change_rule",
    "check_terms",
    "email",
    "history",
    "remove_rule",
    "rules",
    "try_rule",
    "webhook",
]

_MOST = Decimal(10) ** 12


def rules(settings: Settings) -> tuple[AlertRule, ...]:
    """Return every rule, oldest first."""
    return AlertStore.open(settings).rules()


def add_rule(settings: Settings, name: str, terms: RuleTerms, channels: Sequence[NewChannel]) -> AlertRule:
    """Store a rule; :func:`webhook` and :func:`email` make its channels, :func:`check_terms` its terms.

    :raises ControlError: the name is taken or cannot be used, or there are too many rules or channels.
    """
    return AlertStore.open(settings).create(name, terms, channels, now())


def change_rule(
    settings: Settings, name: str, terms: RuleTerms, channels: Sequence[NewChannel] | None = None
) -> AlertRule:
    """Change a rule, which may then send at once; ``None``: its channels stay.

    :raises ControlError: there is no such rule, or there are too many channels.
    """
    return AlertStore.open(settings).change(name, terms, channels, now())


def remove_rule(settings: Settings, name: str) -> None:
    """Forget a rule and its channels. Its history stays.

    :raises ControlError: there is no such rule.
    """
    AlertStore.open(settings).remove(name, now())


def try_rule(
    settings: Settings, name: str, *, clock: Callable[[], datetime] = now, resolve: Resolve = resolved
) -> tuple[AlertRecord, ...]:
    """Send a test by every channel of a rule, now and once; return what became of each. Takes up to 10 seconds.

    :raises ControlError: there is no such rule.
    """
    store = AlertStore.open(settings)
    rule = store.rule(name)
    message = trial(rule, clock())
    made = store.fire(rule, "test", rule.created_at, message.title, message.as_json(), clock())
    deliver(store, made, clock, resolve, again=False)
    ids = {record.id for record in made}
    return tuple(record for record in store.history(name, len(made)) if record.id in ids)


def history(settings: Settings, rule: str | None = None, limit: int = 100) -> tuple[AlertRecord, ...]:
    """Return what was sent, the latest first: of one rule, or of all."""
    return AlertStore.open(settings).history(rule, limit)


def check_terms(
    measure: str,
    limit: Decimal,
    span: str | None = None,
    filters: Mapping[str, str] | None = None,
    *,
    allow_private: bool = False,
) -> RuleTerms:
    """Return the terms of a rule, checked; ``span`` is the measure's usual one where it is left out.

    :raises ControlError: they cannot be watched. The message says what can.
    """
    if measure not in MEASURES:
        raise ControlError(f"there is no such measure: take one of {', '.join(MEASURES)}.")
    row = MEASURES[measure]
    if not limit.is_finite() or not 0 < limit <= _MOST:
        raise ControlError("the limit is a number above 0, and at most 1,000,000,000,000.")
    if row.unit == "percent" and limit > 100:
        raise ControlError(f"the limit of `{measure}` is a percentage: at most 100.")
    if measure == "silence" and span not in (None, row.usual_span):
        raise ControlError("`silence` has no span: its limit is a number of days.")
    span = span or row.usual_span
    try:
        exact = spans.length(span)
    except ValueError as error:
        raise ControlError(f"{span[:20]!r} is no span: {error}.") from None
    if exact is None and not row.calendar:
        raise ControlError(f"`{measure}` is watched over a length of time: write a span such as 10m or 1h.")
    chosen: dict[str, str] = {}
    for name, value in (filters or {}).items():
        if name not in FILTERS:
            raise ControlError(f"a rule is by {', '.join(FILTERS)}.")
        if chosen_value := check_label(value):
            chosen[name] = chosen_value
    if measure == "budget":
        _check_budget(span, chosen)
    return RuleTerms(measure=measure, limit=limit, span=span, filters=chosen, allow_private=allow_private)


def _check_budget(span: str, chosen: Mapping[str, str]) -> None:
    """See that a rule names a budget.

    :raises ControlError: it names none.
    """
    if len(chosen) != 1:
        raise ControlError(f"`budget` is of one thing: name one of {', '.join(FILTERS)}.")
    try:
        budget_spans.length(span)
    except ValueError as error:
        raise ControlError(f"no budget has the span {span!r}: {error}.") from None
