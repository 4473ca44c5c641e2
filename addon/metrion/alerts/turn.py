"""One turn of the alerter: it looks at every rule once, puts what they send into the history, and sends what is due.

In: the settings and a clock. Out: messages. One turn at a time in a home, by lock, whichever proxy began it, and no
sooner than :data:`LEAST_SECONDS` after the last. DuckDB is loaded only where there are rules, and only if something was
metered since the last look (or that is :data:`_MOST_SECONDS` ago: figures of the last minutes change by themselves).
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metrion import store as events
from metrion.alerts.decisions import Figure, decide, is_due
from metrion.alerts.delivery import deliver
from metrion.alerts.figures import Ask, Journal, budget, figures, leaders, silence
from metrion.alerts.messages import compose
from metrion.alerts.sending import Resolve, resolved
from metrion.budgets.standing import Standing, standings
from metrion.control import ControlStore
from metrion.control.alert_records import AlertRule
from metrion.control.alerts import AlertStore, now
from metrion.errors import StoreError
from metrion.settings import Settings
from metrion.settings.timezones import zone
from metrion.store import locks, schema

logger = logging.getLogger(__name__)

LEAST_SECONDS = 15.0
"""Between two turns in one home."""
_MOST_SECONDS = 300.0
"""Between two looks at the figures, where nothing is metered."""
_MEMORY_BYTES = 256 * 1024 * 1024
_SPILL_BYTES = 4 * 1024 * 1024 * 1024
LOCK, LAST = ".alerter.lock", ".alerter.last"
"""The files of the home that say who has the turn, and what the last one saw."""


def turn(
    settings: Settings,
    clock: Callable[[], datetime] = now,
    resolve: Resolve = resolved,
    *,
    least_seconds: float = LEAST_SECONDS,
) -> bool:
    """Look at the rules and send what is due; return whether it was this one's turn.

    :raises StoreError: the store cannot be read; rules on silence and budgets were looked at all the same, and messages
        were sent.
    :raises ControlError: the control database cannot be read or written.
    """
    with locks.alone(settings.home / LOCK) as mine:
        if not mine or not _is_time(settings, clock(), least_seconds):
            return False
        control = AlertStore(settings)
        rules = control.rules()
        try:
            _look(settings, control, rules, clock())
        finally:
            pending = [record for record in control.pending() if is_due(record, clock())]
            deliver(control, pending, clock, resolve)
    return True


def _look(settings: Settings, control: AlertStore, rules: Sequence[AlertRule], at: datetime) -> None:
    seen = {"rules": [[rule.id, rule.changed_at.isoformat()] for rule in rules], "files": _files(settings)}
    last = _last(settings)
    is_new = seen["files"] != last.get("files") or seen["rules"] != last.get("rules")
    looked_at = at.timestamp()
    if not rules or not (is_new or abs(looked_at - last.get("looked_at", 0)) >= _MOST_SECONDS):
        _remember(settings, {**last, "at": looked_at})
        return
    # Before it looks: a store that makes it fail does not make it try in a tight loop.
    _remember(settings, {**last, "at": looked_at})
    with tempfile.TemporaryDirectory(prefix="metrion-alerts-") as spill:
        _evaluate(settings, control, rules, at, _asking(settings, Path(spill)))
    _remember(settings, {**seen, "at": looked_at, "looked_at": looked_at})


def _evaluate(settings: Settings, control: AlertStore, rules: Sequence[AlertRule], at: datetime, ask: Ask) -> None:
    """Decide on every rule; where the store cannot be read, on those that do without, and say so at the end."""
    timezone, journal = zone(settings.timezone), _journal(settings)
    standing = _standing(settings, rules, at)
    trouble: StoreError | None = None
    found: dict[int, Figure] = {}
    try:
        found = figures(rules, at, timezone, ask)
    except StoreError as error:
        trouble = error
    for rule in rules:
        figure = found.get(rule.id)
        if rule.terms.measure == "silence":
            figure = silence(rule, at, None if trouble else ask, journal)
        if rule.terms.measure == "budget":
            figure = budget(rule, standing, at, settings.timezone)
        kind = decide(rule, figure, at) if figure is not None else None
        if figure is not None and kind is not None:
            top = [] if trouble else leaders(rule, figure, ask)
            message = compose(rule, kind, figure, top, timezone, at)
            control.fire(rule, kind, figure.since, message.title, message.as_json(), at)
            logger.info("Alert %s: a message of kind %s is on its way.", rule.name, kind)
    if trouble is not None:
        raise trouble


def _standing(settings: Settings, rules: Sequence[AlertRule], at: datetime) -> list[Standing]:
    """Return how the budgets stand that rules name."""
    named = {(*rule.terms.filters.items(), rule.terms.span) for rule in rules if rule.terms.measure == "budget"}
    if not named:
        return []
    with closing(ControlStore.open(settings)) as control:
        watched = [each for each in control.budgets() if ((each.scope, each.name), each.per) in named]
    try:
        return list(standings(settings.budgets_dir, watched, settings.timezone, at.timestamp()))
    except OSError as error:
        logger.warning("Alerts on budgets wait: their files cannot be read (%s).", error.strerror or error)
        return []


def _asking(settings: Settings, spill: Path) -> Ask:
    from metrion.store import query  # here, since it loads DuckDB

    limits = query.Limits(_MEMORY_BYTES, spill, _SPILL_BYTES)

    def ask(text: str) -> list[tuple[Any, ...]]:
        with query.answering(settings.journal_dir, settings.store_path, text, limits) as answer:
            return [row for batch in answer.batches for row in batch]

    return ask


def _journal(settings: Settings) -> Journal:
    waiting = sum(1 for path in settings.journal_dir.glob(schema.SEGMENTS) if path.name != schema.SENTINEL)
    written_at = None
    if events.is_there(settings.store_path):
        with suppress(OSError):
            written_at = datetime.fromtimestamp(int(settings.store_path.stat().st_mtime), UTC)
    return Journal(waiting, written_at)


def _files(settings: Settings) -> str:
    """Return a digest that changes when something is metered: of the names, sizes and times of files."""
    seen = hashlib.sha256()
    for path in (settings.store_path, *sorted(settings.journal_dir.glob(schema.SEGMENTS))):
        with suppress(OSError):
            status = path.stat()
            seen.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return seen.hexdigest()


def _is_time(settings: Settings, at: datetime, least_seconds: float) -> bool:
    return bool(abs(at.timestamp() - _last(settings).get("at", 0)) >= least_seconds)


def _last(settings: Settings) -> dict[str, Any]:
    try:
        last = json.loads((settings.home / LAST).read_bytes())
    except (OSError, ValueError):
        return {}
    return last if isinstance(last, dict) else {}


def _remember(settings: Settings, seen: dict[str, Any]) -> None:
    """Write what this turn saw, whole or not at all."""
    path = settings.home / LAST
    draft = path.with_name(f"{LAST}.new")
    draft.write_text(json.dumps(seen), "utf-8")
    draft.chmod(0o600)
    draft.replace(path)
