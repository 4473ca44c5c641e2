"""Every change is recorded with the change, and nothing takes it back."""

from __future__ import annotations

import inspect
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion import alerts
from metrion.control import ALL_ACCOUNTS, AuditEntry, ControlStore, Limits, TokenTerms, acting
from metrion.control.alerts import AlertStore
from metrion.control.guard_store import GuardStore
from metrion.errors import ControlError
from metrion.model import PICODOLLARS, Budget, GuardLimits, LabelRules, OwnGuard
from metrion.settings import Settings
from metrion.settings.ownership import user_name
from tests.control.homes import home_settings
from tests.credentials import PROVIDER_KEY as KEY

HOOK = "https://hooks.example.com/T0/s3cret"
TERMS = alerts.check_terms("spend", Decimal(5))
LIMITS = Limits(requests_per_minute=0, monthly_budget_usd=Decimal(5))
GUARD = OwnGuard("account", "team", GuardLimits(Decimal(2), 0, 5, "refuse"))
LATER = datetime(2999, 1, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return home_settings(tmp_path)


@pytest.fixture
def store(settings: Settings) -> ControlStore:
    return ControlStore.open(settings)


def renamed(terms: TokenTerms) -> TokenTerms:
    return TokenTerms(account="default", limits=Limits(requests_per_minute=5), labels=LabelRules(user="ann"))


type Step = tuple[str, Callable[[ControlStore, Settings], Any], str, str, dict[str, object]]
STEPS: list[Step] = [
    ("create_account", lambda c, _: c.create_account("team", "free"), "account.create", "team", {"plan": "free"}),
    ("set_plan", lambda c, _: c.set_plan("team", "pro"), "account.set", "team",
     {"plan": {"was": "free", "is": "pro"}}),
    ("create_token", lambda c, _: c.create_token("ci", account="team", expires_at=LATER), "token.create", "ci",
     {"account": "team", "expires_at": "2999-01-01T00:00:00Z"}),
    ("create_token", lambda c, _: c.create_token("bound", account="team", limits=LIMITS),
     "token.create", "bound", {"account": "team", "requests_per_minute": 0, "monthly_budget_usd": "5"}),
    ("revoke_token", lambda c, _: c.revoke_token("bound"), "token.revoke", "bound", {}),
    ("change_token", lambda c, _: c.change_token("ci", renamed), "token.set", "ci",
     {"account": {"was": "team", "is": "default"}, "requests_per_minute": {"was": None, "is": 5},
      "user_label": {"was": None, "is": "ann"}, "expires_at": {"was": "2999-01-01T00:00:00Z", "is": None}}),
    ("rotate_token", lambda c, _: c.rotate_token("ci", LATER), "token.rotate", "ci",
     {"keep_until": "2999-01-01T00:00:00Z"}),
    ("revoke_token", lambda c, _: c.revoke_token("ci"), "token.revoke", "ci", {}),
    ("create_admin", lambda c, _: c.create_admin("ann", "read"), "admin.create", "ann", {"scope": "read"}),
    ("revoke_admin", lambda c, _: c.revoke_admin("ann"), "admin.revoke", "ann", {}),
    ("set_key", lambda c, _: c.set_key("openai", KEY, "team"), "key.set", "openai", {"account": "team"}),
    ("set_key", lambda c, _: c.set_key("xai", KEY, ALL_ACCOUNTS), "key.set", "xai", {"account": "*"}),
    ("rotate_key", lambda c, _: c.rotate_key("openai", KEY, "team", LATER), "key.rotate", "openai",
     {"account": "team", "keep_until": "2999-01-01T00:00:00Z"}),
    ("bring_key_back", lambda c, _: c.bring_key_back("openai", "team"), "key.bring-back", "openai",
     {"account": "team"}),
    ("set_key", lambda c, _: c.set_key("openai", KEY, "team", "batch"), "key.set", "openai",
     {"account": "team", "name": "batch"}),
    ("rotate_master_key", lambda c, _: c.rotate_master_key(), "key.rotate-master", "", {"secrets": 4}),
    ("remove_key", lambda c, _: c.remove_key("xai", ALL_ACCOUNTS), "key.remove", "xai", {"account": "*"}),
    ("set_budget", lambda c, _: c.set_budget(Budget(0, "account", "team", 5 * PICODOLLARS, "day")), "budget.set",
     "account team", {"usd": "5", "per": "day", "then": "refuse"}),
    ("set_budget", lambda c, _: c.set_budget(Budget(0, "account", "team", 6 * PICODOLLARS, "day", then="warn")),
     "budget.set", "account team",
     {"per": "day", "usd": {"was": "5", "is": "6"}, "then": {"was": "refuse", "is": "warn"}}),
    ("remove_budget", lambda c, _: c.remove_budget("account", "team"), "budget.remove", "account team",
     {"per": ["day"], "usd": ["6"]}),
    ("set", lambda _, s: GuardStore.open(s).set(GUARD), "guard.set", "account team",
     {"usd_per_minute": "2", "tokens_per_minute": 0, "identical_requests": 5, "then": "refuse"}),
    ("set", lambda _, s: GuardStore.open(s).set(replace(GUARD, limits=GuardLimits(Decimal(3), 0, 5, "refuse"))),
     "guard.set", "account team", {"usd_per_minute": {"was": "2", "is": "3"}}),
    ("remove", lambda _, s: GuardStore.open(s).remove("account", "team"), "guard.remove", "account team",
     {"usd_per_minute": "3", "tokens_per_minute": 0, "identical_requests": 5, "then": "refuse"}),
    ("remove_account", lambda c, _: c.remove_account("team"), "account.remove", "team", {"keys": ["openai"]}),
    ("create", lambda _, s: alerts.add_rule(s, "month", TERMS, [alerts.webhook(HOOK, "webhook")]), "alert.add", "month",
     {"measure": "spend", "bound": "5", "span": "month", "allow_private": False,
      "channels": ["webhook: https://hooks.example.com/…"]}),
    ("change", lambda _, s: alerts.change_rule(s, "month", alerts.check_terms("spend", Decimal(6))), "alert.set",
     "month", {"bound": {"was": "5", "is": "6"}}),
    ("remove", lambda _, s: alerts.remove_rule(s, "month"), "alert.remove", "month",
     {"measure": "spend", "bound": "6", "span": "month", "allow_private": False,
      "channels": ["webhook: https://hooks.example.com/…"]}),
]  # fmt: skip
"""Every change in an order in which each can be made: its method, how, and what the log says."""
NOT_CHANGES = {"fire", "delivered"}
"""What the alerter writes: it has a history of its own."""


def changing_methods() -> set[str]:
    """Every method of the stores that writes."""
    return {
        name
        for kind in (ControlStore, AlertStore, GuardStore)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if "with transaction(" in inspect.getsource(method) or name == "rotate_master_key"
    }


def test_every_method_that_changes_something_is_among_the_steps() -> None:
    assert {name for name, *_ in STEPS} == changing_methods() - NOT_CHANGES


def test_every_change_is_recorded_once_and_no_secret_is(settings: Settings, store: ControlStore) -> None:
    secrets = [KEY, HOOK, "s3cret"]
    for number, (_, change, what, subject, details) in enumerate(STEPS):
        made = change(store, settings)
        secrets += [made.secret] if hasattr(made, "secret") else []
        entry, *earlier = store.audit()
        assert (entry.what, entry.details, len(earlier)) == (what, details, number)
        assert subject in entry.subject
        assert entry.who == user_name(os.geteuid())
        assert entry.way == "command line"
        assert abs(entry.at - datetime.now(UTC)) < timedelta(minutes=5)
    with closing(sqlite3.connect(settings.control_db)) as db:
        written = json.dumps(db.execute("SELECT * FROM audit").fetchall())
    assert not [secret for secret in secrets if secret in written]


def test_a_change_that_fails_is_not_recorded(store: ControlStore) -> None:
    store.create_token("ci")
    for change in (
        lambda: store.create_token("ci"),
        lambda: store.revoke_token("nobody"),
        lambda: store.remove_account("default"),
        lambda: store.set_key("openai", KEY, "nobody"),
    ):
        with pytest.raises(ControlError):
            change()
    assert [each.what for each in store.audit()] == ["token.create"]


def test_a_change_that_cannot_be_recorded_is_not_made(settings: Settings, store: ControlStore) -> None:
    with closing(sqlite3.connect(settings.control_db)) as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'no more'); END")
    with pytest.raises(ControlError, match="no more"):
        store.create_token("ci")
    assert store.tokens() == ()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit", "INSERT OR REPLACE INTO audit SELECT * FROM audit"],
)
def test_the_table_is_append_only(settings: Settings, store: ControlStore, statement: str) -> None:
    store.create_token("ci")
    before = store.audit()
    with (
        closing(sqlite3.connect(settings.control_db)) as db,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        db.execute(statement)
    assert store.audit() == before


def test_an_admin_is_named_with_the_way_it_came(store: ControlStore) -> None:
    with acting("ann", "dashboard"):
        store.create_token("ci")
    store.revoke_token("ci")
    assert [(each.who == "ann", each.way) for each in store.audit()] == [(False, "command line"), (True, "dashboard")]


def test_entries_are_chosen_by_time_by_whom_and_by_kind_and_paged(store: ControlStore) -> None:
    for name in "abc":
        with acting(name, "api"):
            store.create_token(name)
            store.create_account(name, "pro")
    now = datetime.now(UTC)
    assert {each.what for each in store.audit(what="token")} == {"token.create"}
    assert len(store.audit(what="token.create")) == 3
    assert store.audit(what="tok") == store.audit(who="nobody") == store.audit(since=now + timedelta(days=1)) == ()
    assert store.audit(until=now - timedelta(days=1)) == ()
    assert [each.subject for each in store.audit(who="b", since=now - timedelta(days=1))] == ["b", "b"]
    paged: list[AuditEntry] = []
    before = None
    while page := store.audit(limit=4, before=before):
        paged += page
        before = page[-1].id
    assert paged == list(store.audit())
