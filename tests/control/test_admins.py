"""Admin tokens, apart from callers' tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from metrion.control import ADMIN_PREFIX, ControlStore
from metrion.errors import ControlError
from tests.control.homes import home_settings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ControlStore]:
    with closing(ControlStore.open(home_settings(tmp_path / "home"))) as store:
        yield store


def test_an_admin_token_is_known_until_it_is_revoked(store: ControlStore) -> None:
    made = store.create_admin("ann")
    assert made.secret.startswith(ADMIN_PREFIX)
    assert made.secret not in repr(made)
    assert store.admin_of(made.secret) == "ann"
    store.revoke_admin("ann")
    assert store.admin_of(made.secret) is None
    assert [each.state for each in store.admins()] == ["revoked"]


def test_names_are_counted_up_and_may_be_used_again_after_a_revocation(store: ControlStore) -> None:
    assert [store.create_admin().name for _ in range(2)] == ["admin-1", "admin-2"]
    first = store.create_admin("ann").secret
    with pytest.raises(ControlError, match="exists"):
        store.create_admin("ann")
    store.revoke_admin("ann")
    second = store.create_admin("ann").secret
    assert (store.admin_of(first), store.admin_of(second)) == (None, "ann")


def test_neither_kind_of_token_holds_in_the_others_place(store: ControlStore) -> None:
    caller, admin = store.create_token("laptop").secret, store.create_admin("laptop").secret
    assert store.admin_of(caller) is None
    assert store.access_snapshot().find_token(admin) is None


@pytest.mark.parametrize("secret", ["", ADMIN_PREFIX, ADMIN_PREFIX + "x" * 43, "x" * 100_000, "\ud800", "sk-mta-ä"])
def test_what_is_no_admin_token_is_nobody(store: ControlStore, secret: str) -> None:
    store.create_admin()
    assert store.admin_of(secret) is None


def test_only_a_digest_is_kept(store: ControlStore, tmp_path: Path) -> None:
    secret = store.create_admin().secret.encode()
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret in path.read_bytes()]


@pytest.mark.parametrize(
    ("name", "words"), [("nobody", "there is no"), ("gone", "revoked already"), ("sk-mta-abc", "looks like a token")]
)
def test_revoking_what_is_not_there_is_explained(store: ControlStore, name: str, words: str) -> None:
    store.create_admin("gone")
    store.revoke_admin("gone")
    with pytest.raises(ControlError, match=words):
        store.revoke_admin(name)
