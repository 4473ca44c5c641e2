"""The alerts of ``control.db``: rules with their channels, and the history of what was sent.

In: rules, messages and what became of them. Out: records that can be shown. Where a channel leads (URLs, passwords) is
stored sealed, and only :meth:`AlertStore.target` opens it. Each change is one short transaction. The history is
bounded: the oldest messages go first.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Self

from metrion.control.alert_records import (
    FAILED,
    FILTERS,
    PENDING,
    SENT,
    AlertChannel,
    AlertRecord,
    AlertRule,
    NewChannel,
    RuleTerms,
)
from metrion.control.audit import differences, record
from metrion.control.files import connection, transaction
from metrion.control.moments import optional_moment, optional_text, text_of
from metrion.control.names import check_name, suggestion
from metrion.control.store import ControlStore
from metrion.control.vault import Sealed, Vault
from metrion.errors import ControlError, NameTakenError, UnknownNameError
from metrion.settings import Settings

MOST_RULES = 100
MOST_CHANNELS = 10
"""Of one rule."""
MOST_HISTORY = 1000


class AlertStore:
    """The alerts of one home. Every method opens the database and closes it again."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.control_db
        self._vault = Vault.of(settings)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the alerts of ``settings``; make the control database or bring it up to date first.

        :raises ControlError: it cannot be made, read or brought up to date.
        """
        ControlStore.open(settings).close()
        return cls(settings)

    # --- rules

    def rules(self) -> tuple[AlertRule, ...]:
        """Every rule, oldest first."""
        with connection(self._path) as db:
            return tuple(_rules(db))

    def rule(self, name: str) -> AlertRule:
        """Return the rule of this name.

        :raises ControlError: there is none.
        """
        rules = {rule.name: rule for rule in self.rules()}
        if name not in rules:
            raise UnknownNameError(_none_called(name, rules))
        return rules[name]

    def create(self, name: str, terms: RuleTerms, channels: Sequence[NewChannel], now: datetime) -> AlertRule:
        """Store a rule.

        :raises ControlError: the name is taken or cannot be used, or there are too many rules.
        """
        check_name(name)
        with transaction(self._path) as db:
            names = {rule.name for rule in _rules(db)}
            if name in names:
                raise NameTakenError(f"a rule named {name!r} exists: choose another name, or remove that one first.")
            if len(names) >= MOST_RULES:
                raise ControlError(f"there are {MOST_RULES} rules already, which is the most: remove one first.")
            columns = {"name": name, "created_at": text_of(now), "changed_at": text_of(now), **_columns(terms)}
            places = ", ".join("?" * len(columns))
            made = db.execute(
                f"INSERT INTO alert_rules ({', '.join(columns)}) VALUES ({places})",  # noqa: S608 -- names of columns
                tuple(columns.values()),
            )
            self._store_channels(db, made.lastrowid or 0, channels)
            record(db, "alert.add", name, **_said(terms, channels))
        return self.rule(name)

    def change(self, name: str, terms: RuleTerms, channels: Sequence[NewChannel] | None, now: datetime) -> AlertRule:
        """Change a rule, which forgets what it has sent; ``None``: its channels stay.

        :raises ControlError: there is no such rule.
        """
        with transaction(self._path) as db:
            rule = _required(db, name)
            columns = {"changed_at": text_of(now), **_columns(terms)}
            setting = ", ".join(f"{column} = ?" for column in columns)
            db.execute(
                f"UPDATE alert_rules SET {setting}, warned_at = NULL, alerted_at = NULL, alerted_since = NULL "  # noqa: S608 -- names of columns
                "WHERE id = ?",
                (*columns.values(), rule.id),
            )
            if channels is not None:
                self._drop_channels(db, rule, "the channel was changed", now)
                self._store_channels(db, rule.id, channels)
            after = _said(terms, rule.channels if channels is None else channels)
            record(db, "alert.set", name, **differences(_said(rule.terms, rule.channels), after))
        return self.rule(name)

    def remove(self, name: str, now: datetime) -> None:
        """Forget a rule and its channels; what it has sent stays in the history.

        :raises ControlError: there is no such rule.
        """
        with transaction(self._path) as db:
            rule = _required(db, name)
            self._drop_channels(db, rule, "the rule was removed", now)
            db.execute("DELETE FROM alert_rules WHERE id = ?", (rule.id,))
            record(db, "alert.remove", name, **_said(rule.terms, rule.channels))

    def target(self, channel: str) -> str:
        """Return all that is needed to send by a channel.

        :raises ControlError: there is no such channel any more, or it does not open.
        """
        with connection(self._path) as db:
            row = db.execute("SELECT master_id, box FROM alert_channels WHERE id = ?", (channel,)).fetchone()
        if row is None:
            raise ControlError("the channel was removed")
        return self._vault.open_target(channel, Sealed(row["master_id"], row["box"]))

    def _store_channels(self, db: sqlite3.Connection, rule: int, channels: Sequence[NewChannel]) -> None:
        if not 0 < len(channels) <= MOST_CHANNELS:
            raise ControlError(f"a rule has 1 to {MOST_CHANNELS} channels: a webhook, Slack, or an e-mail address.")
        for channel in channels:
            identity = secrets.token_hex(8)
            is_first = not any(
                db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608 -- written here
                for table in ("provider_keys", "shared_keys", "alert_channels")
            )
            sealed = self._vault.seal_target(identity, channel.target, may_create=is_first)
            db.execute(
                "INSERT INTO alert_channels VALUES (?, ?, ?, ?, ?, ?)",
                (identity, rule, channel.kind, channel.shown, sealed.master_id, sealed.box),
            )

    def _drop_channels(self, db: sqlite3.Connection, rule: AlertRule, why: str, now: datetime) -> None:
        for channel in rule.channels:
            db.execute(
                "UPDATE alert_history SET state = ?, next_at = NULL, ended_at = ?, problem = ? "
                "WHERE channel = ? AND state = ?",
                (FAILED, text_of(now), why, channel.id, PENDING),
            )
        db.execute("DELETE FROM alert_channels WHERE rule = ?", (rule.id,))

    # --- messages

    def fire(
        self, rule: AlertRule, kind: str, since: datetime, title: str, message: str, now: datetime
    ) -> tuple[AlertRecord, ...]:
        """Put a message into the history, to be sent by every channel of its rule, and note in the rule that it was.

        ``since``: where the span began that it is about. Nothing happens if the rule was changed or removed meanwhile.
        """
        with transaction(self._path) as db:
            current = next((each for each in _rules(db) if each.id == rule.id), None)
            if current is None or current.changed_at != rule.changed_at:
                return ()
            if kind == "warning":
                db.execute("UPDATE alert_rules SET warned_at = ? WHERE id = ?", (text_of(now), rule.id))
            elif kind == "alert":
                db.execute(
                    "UPDATE alert_rules SET alerted_at = ?, alerted_since = ? WHERE id = ?",
                    (text_of(now), text_of(since), rule.id),
                )
            made = [_enter(db, current.name, kind, channel, title, message, now) for channel in current.channels]
            db.execute("DELETE FROM alert_history WHERE id <= (SELECT max(id) FROM alert_history) - ?", (MOST_HISTORY,))
            return tuple(_records(db, f"WHERE id IN ({', '.join(map(str, made))})" if made else "WHERE false"))

    def pending(self) -> tuple[AlertRecord, ...]:
        """Messages that are still to be sent, oldest first."""
        with connection(self._path) as db:
            return tuple(_records(db, "WHERE state = ? ORDER BY id", (PENDING,)))

    def delivered(
        self, record: AlertRecord, now: datetime, *, problem: str | None = None, again_at: datetime | None = None
    ) -> None:
        """Record what became of a try to send: it worked, or there was a problem, and it may be tried again."""
        state = SENT if problem is None else PENDING if again_at else FAILED
        with transaction(self._path) as db:
            db.execute(
                "UPDATE alert_history SET state = ?, tries = tries + 1, next_at = ?, ended_at = ?, problem = ? "
                "WHERE id = ? AND state = ?",
                (state, optional_text(again_at), None if again_at else text_of(now), problem, record.id, PENDING),
            )

    def history(self, rule: str | None = None, limit: int = 100) -> tuple[AlertRecord, ...]:
        """Messages, the latest first; those of one rule, or of all."""
        where = "" if rule is None else "WHERE rule = ? "
        values = (limit,) if rule is None else (rule, limit)
        with connection(self._path) as db:
            return tuple(_records(db, f"{where}ORDER BY id DESC LIMIT ?", values))


def _columns(terms: RuleTerms) -> dict[str, object]:
    return {
        "measure": terms.measure,
        "bound": str(terms.limit),
        "span": terms.span,
        **{name: terms.filters.get(name) for name in FILTERS},
        "allow_private": int(terms.allow_private),
    }


def _said(terms: RuleTerms, channels: Sequence[NewChannel | AlertChannel]) -> dict[str, object]:
    """Return what the audit log says of a rule: where it sends to without what is secret."""
    where = [f"{each.kind}: {each.shown}" for each in channels]
    return _columns(terms) | {"allow_private": terms.allow_private, "channels": where}


def _rules(db: sqlite3.Connection) -> Iterator[AlertRule]:
    channels: dict[int, list[AlertChannel]] = {}
    for row in db.execute("SELECT rule, id, kind, shown FROM alert_channels ORDER BY kind, shown, id"):
        channels.setdefault(row["rule"], []).append(AlertChannel(row["id"], row["kind"], row["shown"]))
    for row in db.execute("SELECT * FROM alert_rules ORDER BY id").fetchall():
        yield AlertRule(
            id=row["id"],
            name=row["name"],
            terms=RuleTerms(
                measure=row["measure"],
                limit=Decimal(row["bound"]),
                span=row["span"],
                filters={name: row[name] for name in FILTERS if row[name] is not None},
                allow_private=bool(row["allow_private"]),
            ),
            channels=tuple(channels.get(row["id"], ())),
            created_at=datetime.fromisoformat(row["created_at"]),
            changed_at=datetime.fromisoformat(row["changed_at"]),
            warned_at=optional_moment(row["warned_at"]),
            alerted_at=optional_moment(row["alerted_at"]),
            alerted_since=optional_moment(row["alerted_since"]),
        )


def _required(db: sqlite3.Connection, name: str) -> AlertRule:
    rules = {rule.name: rule for rule in _rules(db)}
    if name not in rules:
        raise UnknownNameError(_none_called(name, rules))
    return rules[name]


def _none_called(name: str, names: Iterable[str]) -> str:
    said = repr(name) if len(name) <= 64 else "so"
    return f"no rule is called {said}.{suggestion(name, names)} `metrion alert list` shows them."


def _enter(
    db: sqlite3.Connection, rule: str, kind: str, channel: AlertChannel, title: str, message: str, now: datetime
) -> int:
    at = text_of(now)
    made = db.execute(
        "INSERT INTO alert_history (rule, kind, at, title, message, channel, shown, state, next_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (rule, kind, at, title, message, channel.id, channel.shown, PENDING, at),
    )
    return made.lastrowid or 0


def _records(db: sqlite3.Connection, rest: str, values: Sequence[object] = ()) -> Iterator[AlertRecord]:
    for row in db.execute(f"SELECT * FROM alert_history {rest}", values).fetchall():  # noqa: S608 -- written here
        yield AlertRecord(
            id=row["id"],
            rule=row["rule"],
            kind=row["kind"],
            at=datetime.fromisoformat(row["at"]),
            title=row["title"],
            message=row["message"],
            channel=row["channel"],
            shown=row["shown"],
            state=row["state"],
            tries=row["tries"],
            next_at=optional_moment(row["next_at"]),
            ended_at=optional_moment(row["ended_at"]),
            problem=row["problem"],
        )


def has_rules(settings: Settings) -> bool:
    """Return whether there is any rule. Makes nothing, and a database that cannot be read has none.

    About 0.2 ms. Whoever forks may call it: nothing stays open.
    """
    if not settings.control_db.exists():
        return False
    try:
        with connection(settings.control_db) as db:
            return db.execute("SELECT 1 FROM alert_rules LIMIT 1").fetchone() is not None
    except ControlError:
        return False


def now() -> datetime:
    """Return the present, in whole seconds, as the database keeps it."""
    return datetime.now(UTC).replace(microsecond=0)
