"""Secrets of a token over time, in the database alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from metrion.admission import token_digest
from metrion.control import ControlStore, Limits
from metrion.errors import ControlError
from metrion.model import LabelRules
from tests.control.homes import home_settings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ControlStore]:
    with closing(ControlStore.open(home_settings(tmp_path / "home"))) as store:
        yield store


def ends(store: ControlStore, *secrets: str) -> list[datetime | None]:
    access = store.access_snapshot()
    return [token.expires_at if (token := access.find_token(secret)) else datetime.max for secret in secrets]  # noqa: DTZ901 -- no moment at all


def test_earlier_secrets_end_when_the_last_rotation_says_and_none_later(store: ControlStore) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    first = store.create_token("ci").secret
    second = store.rotate_token("ci", now + timedelta(days=1)).secret
    third = store.rotate_token("ci", now + timedelta(days=7)).secret
    assert ends(store, first, second, third) == [now + timedelta(days=1), now + timedelta(days=7), None]
    fourth = store.rotate_token("ci", now).secret
    assert ends(store, first, second, third, fourth) == [now, now, now, None]
    access = store.access_snapshot()
    assert {each and each.counted_as for each in map(access.find_token, (first, second, third, fourth))} == {
        token_digest(first)
    }
    assert [each and each.rotated for each in map(access.find_token, (first, third, fourth))] == [True, True, False]


def test_a_former_secret_ends_with_its_token_at_the_latest(store: ControlStore) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    old = store.create_token("ci", expires_at=now + timedelta(hours=1)).secret
    store.rotate_token("ci", now + timedelta(days=1))
    assert ends(store, old) == [now + timedelta(hours=1)]
    store.revoke_token("ci")
    token = store.access_snapshot().find_token(old)
    assert token is not None
    assert token.revoked


def test_a_former_secret_has_the_terms_of_its_token(store: ControlStore) -> None:
    old = store.create_token("ci").secret
    store.rotate_token("ci", datetime.now(UTC) + timedelta(days=1))
    rules = LabelRules(user="ann", tags={"a": "b"}, fixed=True, allowed=("x*", "研究"))
    changed = store.change_token("ci", lambda terms: replace(terms, limits=Limits(requests_per_minute=7), labels=rules))
    assert changed.labels == rules
    token = store.access_snapshot().find_token(old)
    assert token is not None
    assert (token.requests_per_minute, token.labels) == (7, rules)


def test_a_change_that_fails_changes_nothing(store: ControlStore) -> None:
    store.create_token("ci")
    before = store.tokens()
    with pytest.raises(ControlError, match="no account named 'nobody'"):
        store.change_token("ci", lambda terms: replace(terms, account="nobody", limits=Limits(timeout=1)))
    assert store.tokens() == before
