"""Sends what the history has as pending, and records what became of it.

Each message goes out in a thread of its own, so that one that hangs keeps no other waiting. What a channel does not
take stays pending, to be tried again later, or fails. Nothing is raised but faults of the control database.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from metrion.alerts.decisions import next_try
from metrion.alerts.messages import Message
from metrion.alerts.sending import Problem, Resolve, send
from metrion.alerts.targets import read
from metrion.control.alert_records import AlertChannel, AlertRecord, AlertRule
from metrion.control.alerts import AlertStore
from metrion.errors import ControlError

logger = logging.getLogger(__name__)

_MOST_TOGETHER = 8


def deliver(
    store: AlertStore,
    records: Sequence[AlertRecord],
    clock: Callable[[], datetime],
    resolve: Resolve,
    *,
    again: bool = True,
) -> None:
    """Send pending messages. ``again``: what fails is tried again later."""
    rules = {channel.id: (rule, channel) for rule in store.rules() for channel in rule.channels}

    def one(record: AlertRecord) -> None:
        problem = _sent(store, record, rules.get(record.channel), clock(), resolve)
        lasting = problem is not None and (problem.lasting or not again)
        again_at = None if problem is None or lasting else next_try(record.tries + 1, clock())
        store.delivered(record, clock(), problem=problem.text if problem else None, again_at=again_at)
        if problem is not None and again:
            then = "" if again_at is None else f"; it is tried again at {again_at:%Y-%m-%d %H:%M} UTC"
            logger.warning("Alert %s did not reach %s: %s%s.", record.rule, record.shown, problem.text, then)

    if records:
        with ThreadPoolExecutor(min(len(records), _MOST_TOGETHER), "alerts") as pool:
            list(pool.map(one, records))


def _sent(
    store: AlertStore,
    record: AlertRecord,
    found: tuple[AlertRule, AlertChannel] | None,
    now: datetime,
    resolve: Resolve,
) -> Problem | None:
    if found is None:
        return Problem("the channel was removed", lasting=True)
    rule, channel = found
    try:
        target = read(store.target(channel.id))
    except ControlError as error:
        return Problem(str(error))
    message = Message.from_json(record.message)
    return send(channel.kind, target, message, now, allow_private=rule.terms.allow_private, resolve=resolve)
