from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion import alerts
from metrion.alerts import turn as turns
from metrion.alerts.turn import LAST, LOCK
from metrion.budgets.recount import recount
from metrion.control import ControlStore
from metrion.control.alert_records import PENDING, SENT
from metrion.control.alerts import MOST_HISTORY, AlertStore
from metrion.errors import ControlError, StoreError
from metrion.model import Budget, picodollars
from metrion.settings import Settings
from metrion.store import locks
from tests.alerts.rules import NOW, Clock, Receiver, answering, receiving, terms
from tests.store.events import Home, event


@dataclass
class Alerted:
    """A home with a rule and somebody who gets its messages."""

    settings: Settings
    home: Home
    clock: Clock
    receiver: Receiver

    def spend(self, usd: str, **columns: Any) -> None:
        self.home.record(event(started_at=self.clock.at.replace(tzinfo=None), cost_usd=Decimal(usd), **columns))

    def look(self, **passed: float) -> list[str]:
        """Let time pass, take a turn, and return the kinds of messages that have arrived since."""
        before = len(self.receiver.bodies)
        self.clock.on(**(passed or {"minutes": 1}))
        assert turns.turn(self.settings, self.clock)
        return [message["kind"] for message in self.receiver.messages[before:]]

    def add(self, name: str = "team", url: str = "", **columns: Any) -> None:
        allowed = {"allow_private": True} | columns
        wanted = alerts.check_terms(
            allowed.pop("measure", "spend"), Decimal(allowed.pop("limit", 100)), allowed.pop("span", None), **allowed
        )
        AlertStore.open(self.settings).create(name, wanted, [alerts.webhook(url or self.receiver.url)], self.clock.at)


@pytest.fixture
def alerted(tmp_path: Path) -> Iterator[Alerted]:
    with receiving() as receiver:
        settings = Settings(home=tmp_path, timezone="Europe/Berlin")
        home = Home(tmp_path)
        home.initialise()
        yield Alerted(settings, home, Clock(), receiver)


def test_a_warning_then_an_alert_then_nothing_for_24_hours(alerted: Alerted) -> None:
    alerted.add()
    assert alerted.look() == []
    alerted.spend("89")
    assert alerted.look() == []
    alerted.spend("2")
    assert alerted.look() == ["warning"]
    alerted.spend("2")
    assert alerted.look() == []
    alerted.spend("8", user_label="<!channel>")
    assert alerted.look() == ["alert"]
    assert alerted.look(hours=23) == []
    assert alerted.look(hours=2) == ["alert"]
    message = alerted.receiver.messages[1]
    assert (message["value"], message["percent"]) == ("101.000000000000", 101)
    assert {"user": "<!channel>", "token": "laptop", "value": "8.000000000000"} in message["top"]
    records = alerts.history(alerted.settings)
    assert [(each.kind, each.state, each.tries) for each in records] == [
        ("alert", SENT, 1),
        ("alert", SENT, 1),
        ("warning", SENT, 1),
    ]


def test_a_month_turns_in_the_configured_zone(alerted: Alerted) -> None:
    alerted.add()
    alerted.clock.at = NOW.replace(day=30, hour=22, minute=50)  # 23:50 in Berlin
    alerted.spend("150")
    assert alerted.look() == ["alert"]
    assert alerted.look(minutes=20) == []  # December there, and its first minutes
    alerted.spend("95")
    assert alerted.look() == ["warning"]
    assert alerted.receiver.messages[-1]["since"] == "2026-11-30T23:00:00Z"


def test_a_clock_that_jumps_silences_nothing(alerted: Alerted) -> None:
    alerted.add(span="rule")
    alerted.spend("150")
    assert alerted.look() == ["alert"]
    assert alerted.look(days=400) == ["alert"]
    assert alerted.look(days=-399) == ["alert"]


def test_a_webhook_that_answers_500_is_tried_again_with_growing_pauses(alerted: Alerted) -> None:
    alerted.receiver.answer = answering("500 No")
    alerted.add()
    alerted.spend("150")
    assert alerted.look() == ["alert"]
    (record,) = alerts.history(alerted.settings)
    assert (record.state, record.tries, record.problem) == (PENDING, 1, "it answered 500")
    assert record.next_at == alerted.clock.at + timedelta(minutes=1)
    assert alerted.look(seconds=30) == []
    assert alerted.look(seconds=40) == ["alert"]
    assert alerted.look(minutes=2) == []
    alerted.receiver.answer = answering("204 OK")
    assert alerted.look(minutes=4) == ["alert"]
    assert alerted.look(hours=1) == []
    (record,) = alerts.history(alerted.settings)
    assert (record.state, record.tries, record.problem, record.next_at) == (SENT, 3, None, None)


def test_one_that_never_takes_it_fails_in_the_end(alerted: Alerted) -> None:
    alerted.receiver.answer = answering("500 No")
    alerted.add()
    alerted.spend("150")
    tries = len(alerted.look())
    while (record := alerts.history(alerted.settings)[-1]).state == PENDING:
        alerted.clock.at = record.next_at or alerted.clock.at
        tries += len(alerted.look(seconds=1))
    assert (record.state, record.tries) == ("failed", 7)
    assert tries >= 7  # an alert of the next day is among them


def test_a_redirect_or_a_private_address_is_not_tried_again(alerted: Alerted) -> None:
    alerted.add("refused", allow_private=False)
    alerted.receiver.answer = answering("302 Found", "location: /elsewhere")
    alerted.add("redirected")
    alerted.spend("150")
    assert alerted.look() == ["alert"]
    assert alerted.look(hours=13) == []
    by_rule = {record.rule: record for record in alerts.history(alerted.settings)}
    assert {name: record.state for name, record in by_rule.items()} == {"refused": "failed", "redirected": "failed"}
    assert "--allow-private" in (by_rule["refused"].problem or "")


def test_a_channel_that_fails_keeps_no_other_waiting(alerted: Alerted) -> None:
    alerted.add("dead", "http://127.0.0.1:9/")
    alerted.add("alive")
    alerted.spend("150")
    assert alerted.look() == ["alert"]


def test_a_message_that_was_not_sent_outlives_a_kill(alerted: Alerted, monkeypatch: pytest.MonkeyPatch) -> None:
    alerted.add()
    alerted.spend("150")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(turns, "deliver", die)
        with pytest.raises(KeyboardInterrupt):
            alerted.look()
    assert alerted.look() == ["alert"]
    assert alerted.look() == []


def test_a_turn_is_one_at_a_time_and_not_too_soon(alerted: Alerted) -> None:
    alerted.add()
    with locks.alone(alerted.settings.home / LOCK):
        assert not turns.turn(alerted.settings, alerted.clock)
    assert turns.turn(alerted.settings, alerted.clock)
    assert not turns.turn(alerted.settings, alerted.clock)
    alerted.clock.on(seconds=15)
    assert turns.turn(alerted.settings, alerted.clock)
    assert (alerted.settings.home / LAST).stat().st_mode & 0o077 == 0


def test_nothing_is_asked_where_nothing_has_changed(alerted: Alerted, monkeypatch: pytest.MonkeyPatch) -> None:
    alerted.add()
    asked: list[int] = []
    real = turns._evaluate

    def counted(*given: Any) -> None:
        asked.append(1)
        real(*given)

    monkeypatch.setattr(turns, "_evaluate", counted)
    for passed, looks in ((0, 1), (60, 1), (60, 1), (181, 2)):
        alerted.look(seconds=passed or 1)
        assert len(asked) == looks
    alerted.spend("1")
    alerted.look()
    alerted.add("another")
    alerted.look()
    assert len(asked) == 4


def test_a_budget_is_watched_in_its_own_span(alerted: Alerted) -> None:
    settings, control = alerted.settings, ControlStore.open(alerted.settings)
    control.create_token("laptop")
    control.set_budget(Budget(0, "token", "laptop", picodollars(Decimal(20)), "month", "UTC"))
    control.set_budget(Budget(0, "token", "laptop", picodollars(Decimal(1000)), "day"))

    def spend(usd: str) -> None:
        alerted.spend(usd)
        assert recount(settings, control.budgets(), lambda: alerted.clock.at.timestamp())

    alerted.add(measure="budget", filters={"token": "laptop"})
    alerted.add("others", measure="budget", span="day", filters={"token": "laptop"})
    alerted.add("nobody", measure="budget", filters={"user": "ann"})
    spend("17.99")
    assert alerted.look() == []
    spend("0.51")
    assert alerted.look() == ["warning"]
    spend("2")
    assert alerted.look() == ["alert"]
    message = alerted.receiver.messages[-1]
    assert (message["rule"], message["percent"], message["unit"]) == ("team", 102, "percent")
    assert "The share of the budget that is spent, token laptop this month" in message["text"]
    assert "That is $20.50 of $20.00." in message["text"]
    alerted.add("spend")
    settings.store_path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError):
        alerted.look(days=2)
    assert [each["kind"] for each in alerted.receiver.messages] == ["warning", "alert", "alert"]
    control.remove_budget("token", "laptop", "month")
    with pytest.raises(StoreError):
        alerted.look(days=2)
    assert len(alerted.receiver.messages) == 3


def test_files_of_budgets_that_cannot_be_read_keep_no_other_alert_back(alerted: Alerted) -> None:
    control = ControlStore.open(alerted.settings)
    made = control.set_budget(Budget(0, "account", "default", picodollars(Decimal(20)), "month"))
    alerted.add(measure="budget", filters={"account": "default"})
    alerted.add("spend")
    alerted.spend("150")
    (alerted.settings.budgets_dir / str(made.id)).mkdir(parents=True)
    assert alerted.look() == ["alert"]
    assert alerted.receiver.messages[-1]["rule"] == "spend"


def test_a_store_that_cannot_be_read_still_lets_silence_be_heard(alerted: Alerted) -> None:
    alerted.add("spend")
    alerted.add("quiet", measure="silence", limit=2)
    alerted.home.store_path.write_bytes(b"this is no database" * 100)
    alerted.clock.on(days=400)  # after the file's own time
    with pytest.raises(StoreError):
        alerted.look()
    assert [message["rule"] for message in alerted.receiver.messages] == ["quiet"]


def test_an_ingester_that_is_dead_is_heard_of(alerted: Alerted) -> None:
    alerted.add("quiet", measure="silence", limit=2)
    alerted.spend("1")
    alerted.home.ingest()
    assert alerted.look(days=1) == []
    alerted.spend("1")
    assert alerted.look(days=1.5) == ["alert"]
    assert "1 segments of the journal wait" in alerted.receiver.messages[0]["text"]


def test_what_is_sealed_is_nowhere_in_the_home(alerted: Alerted) -> None:
    alerted.add()
    mail = alerts.email("ops@example.com", "smtp://me@mail.example", "the-password")
    alerts.change_rule(alerted.settings, "team", terms(), [mail, alerts.webhook(alerted.receiver.url)])
    alerted.spend("150")
    alerts.try_rule(alerted.settings, "team")
    for file in (path for path in alerted.settings.home.rglob("*") if path.is_file()):
        content = file.read_bytes()
        assert b"secret-path" not in content, file
        assert b"the-password" not in content, file
    shown = repr(alerts.rules(alerted.settings)) + repr(alerts.history(alerted.settings))
    assert "secret-path" not in shown
    assert "the-password" not in shown


def test_a_sealed_target_moved_to_another_row_does_not_open(alerted: Alerted) -> None:
    alerted.add("one")
    alerted.add("two", "https://other.example/")
    with closing(sqlite3.connect(alerted.settings.control_db)) as db:
        (box,) = db.execute("SELECT box FROM alert_channels WHERE shown LIKE '%other%'").fetchone()
        db.execute("UPDATE alert_channels SET box = ?", (box,))
        db.commit()
    store = AlertStore(alerted.settings)
    with pytest.raises(ControlError, match="does not open"):
        store.target(store.rule("one").channels[0].id)


def test_the_history_is_bounded(alerted: Alerted) -> None:
    alerted.add()
    store = AlertStore(alerted.settings)
    rule = store.rule("team")
    with closing(sqlite3.connect(alerted.settings.control_db)) as db:
        row = ("team", "test", "2026-11-01T00:00:00Z", "t", "{}", "c", "s", SENT)
        db.executemany(
            "INSERT INTO alert_history (rule, kind, at, title, message, channel, shown, state) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [row] * (MOST_HISTORY + 50),
        )
        db.commit()
    store.fire(rule, "alert", NOW, "t", "{}", NOW)
    assert len(store.history(limit=10_000)) == MOST_HISTORY


def test_a_rule_that_was_removed_or_changed_meanwhile_sends_nothing(alerted: Alerted) -> None:
    alerted.receiver.answer = answering("500 No")
    alerted.add()
    alerted.spend("150")
    assert alerted.look() == ["alert"]
    store = AlertStore(alerted.settings)
    old = store.rule("team")
    store.change("team", terms(limit="200"), None, alerted.clock.at)
    assert store.fire(old, "alert", NOW, "t", "{}", NOW) == ()
    store.remove("team", alerted.clock.at)
    (record,) = store.history()
    assert (record.state, record.problem) == ("failed", "the rule was removed")
    assert alerted.look(hours=2) == []
