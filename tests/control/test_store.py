from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from metrion.admission import Token
from metrion.control import Account, ControlStore, Limits
from metrion.errors import ControlError
from tests.control.homes import home_settings, run_together
from tests.credentials import PROVIDER_KEY as KEY


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Iterator[ControlStore]:
    with closing(ControlStore.open(home_settings(home))) as store:
        yield store


def state(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- the home


def test_a_home_is_made_private_whatever_the_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        with closing(ControlStore.open(home_settings(home))) as store:
            store.set_key("openai", KEY)
            store.access_snapshot()  # keeps the database open, so its log is there
            files = {file.name: mode(file) for file in home.iterdir()}
    finally:
        os.umask(before)
    assert mode(home) == 0o700
    assert files == dict.fromkeys(("control.db", "control.db-shm", "control.db-wal", "master.key"), 0o600)


@pytest.mark.parametrize(
    ("content", "expected"), [((), 0o700), (("metrion.yaml",), 0o700), (("holiday.jpg",), 0o755)], ids=str
)
def test_a_folder_made_for_us_becomes_private_and_one_with_other_things_keeps_its_mode(
    home: Path, content: tuple[str, ...], expected: int
) -> None:
    home.mkdir()
    home.chmod(0o755)
    for name in content:
        (home / name).touch()
    ControlStore.open(home_settings(home)).close()
    assert mode(home) == expected
    assert mode(home / "control.db") == 0o600


def test_a_database_that_others_could_read_becomes_private(store: ControlStore, home: Path) -> None:
    (home / "control.db").chmod(0o644)
    ControlStore.open(home_settings(home)).close()
    assert mode(home / "control.db") == 0o600


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ControlError, match=rf"{tmp_path}/file.*METRION_HOME"):
        ControlStore.open(home_settings(tmp_path / "file" / "home"))


def test_a_file_that_is_no_database_is_named(store: ControlStore, home: Path) -> None:
    (home / "control.db").write_bytes(b"This is text, and long enough to be a database header, nearly. " * 20)
    with pytest.raises(ControlError, match=rf"{home}/control.db: not an SQLite database. Put a backup"):
        ControlStore.open(home_settings(home))


def test_the_default_account_exists_and_is_pro(store: ControlStore) -> None:
    assert [(account.name, account.plan) for account in store.accounts()] == [("default", "pro")]


# --- tokens


def test_a_new_token_is_found_with_its_account_plan_and_limits(store: ControlStore) -> None:
    store.create_account("team", "free")
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    limits = Limits(
        requests_per_minute=0, requests_per_month=7, monthly_budget_usd=Decimal("49.990000000001"), timeout=0.5
    )
    new = store.create_token("laptop", account="team", limits=limits, expires_at=until)
    assert re.fullmatch(r"sk-metrion-[A-Za-z0-9_-]{43}", new.secret)
    assert store.access_snapshot().find_token(new.secret) == Token(
        name="laptop",
        account="team",
        plan="free",
        requests_per_minute=0,
        requests_per_month=7,
        monthly_budget_usd=Decimal("49.990000000001"),
        timeout=0.5,
        revoked=False,
        expires_at=until,
    )


def test_limits_that_were_not_given_are_the_plans(store: ControlStore) -> None:
    secret = store.create_token().secret
    assert store.access_snapshot().find_token(secret) == Token(
        "token-1", "default", "pro", None, None, None, None, False, None
    )


def test_the_token_is_stored_nowhere_and_shown_in_no_repr(store: ControlStore, home: Path) -> None:
    new = store.create_token()
    snapshot = store.access_snapshot()
    assert new.secret.encode() not in state(home)
    assert new.secret not in repr((new, snapshot, store.tokens()))


def test_tokens_are_listed_with_their_last_four_characters_and_state(store: ControlStore) -> None:
    first = store.create_token()
    store.create_token("late", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    store.create_token("gone")
    store.revoke_token("gone")
    listed = store.tokens()
    assert [(token.name, token.state) for token in listed] == [
        ("token-1", "active"),
        ("late", "expired"),
        ("gone", "revoked"),
    ]
    assert listed[0].shown == f"sk-metrion-…{first.secret[-4:]}"
    assert datetime.now(UTC) - listed[0].created_at < timedelta(minutes=1)


def test_unnamed_tokens_get_the_next_name_that_was_never_used(store: ControlStore) -> None:
    store.create_token("token-2")
    made = [store.create_token().name for _ in range(2)]
    store.revoke_token("token-1")
    made.append(store.create_token().name)
    assert made == ["token-1", "token-3", "token-4"]


def test_a_name_is_taken_until_its_token_is_revoked(store: ControlStore) -> None:
    old = store.create_token("laptop")
    with pytest.raises(
        ControlError, match="'laptop' exists: choose another name, or run `metrion token revoke laptop`"
    ):
        store.create_token("laptop")
    store.revoke_token("laptop")
    new = store.create_token("laptop")
    found = [store.access_snapshot().find_token(each.secret) for each in (old, new)]
    assert [token and token.revoked for token in found] == [True, False]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lapto", "no token named 'lapto'. Did you mean 'laptop'\\? `metrion token list`"),
        ("zzz", "no token named 'zzz'. `metrion token list`"),
        ("gone", "revoked already, since 20"),
    ],
)
def test_revoking_what_is_not_in_use_says_why(store: ControlStore, name: str, message: str) -> None:
    store.create_token("laptop")
    store.create_token("gone")
    store.revoke_token("gone")
    with pytest.raises(ControlError, match=message):
        store.revoke_token(name)


# --- names


@pytest.mark.parametrize("secret", [KEY, "sk-metrion-" + "a" * 43, "AIza" + "b" * 61])
def test_a_secret_given_as_a_name_is_not_repeated(store: ControlStore, secret: str) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: store.create_token(secret),
        lambda: store.revoke_token(secret),
        lambda: store.create_account(secret, "pro"),
        lambda: store.set_key("openai", KEY, account=secret),
    )
    for call in calls:
        with pytest.raises(ControlError) as raised:
            call()
        assert secret not in str(raised.value)


# --- provider keys


def test_a_stored_key_is_in_the_directory_and_nowhere_in_the_home(store: ControlStore, home: Path) -> None:
    store.set_key("openai", KEY)
    snapshot = store.access_snapshot()
    assert snapshot.provider_key("default", "openai") == KEY
    assert KEY.encode() not in state(home)
    assert KEY not in repr((snapshot, store.keys()))


def test_setting_a_key_again_replaces_it(store: ControlStore) -> None:
    store.set_key("openai", "first")
    store.set_key("openai", "second")
    assert store.access_snapshot().provider_key("default", "openai") == "second"


def test_a_stored_key_wins_over_the_environment_which_is_the_default_accounts(home: Path) -> None:
    with closing(ControlStore.open(home_settings(home, {"openai": "sk-env", "xai": "xai-env"}))) as store:
        store.create_account("team", "pro")
        store.set_key("openai", "sk-own")
        snapshot = store.access_snapshot()
        assert snapshot.provider_keys == {("default", "openai"): "sk-own", ("default", "xai"): "xai-env"}
        assert [(key.provider, key.source, key.in_use) for key in store.keys()] == [  # noqa: SIM118 -- not a mapping's
            ("openai", "stored", True),
            ("openai", "environment", False),
            ("xai", "environment", True),
        ]
        store.remove_key("openai")
        assert store.access_snapshot().provider_key("default", "openai") == "sk-env"


@pytest.mark.parametrize("provider", ["openai", "mistral"])
def test_removing_a_key_that_is_not_stored_says_so(store: ControlStore, provider: str) -> None:
    store.set_key("xai", KEY)
    with pytest.raises(ControlError, match=r"no stored key of this provider.*metrion key list"):
        store.remove_key(provider)


def test_without_the_master_key_nothing_opens_and_all_but_keys_goes_on(store: ControlStore, home: Path) -> None:
    store.set_key("openai", KEY)
    store.set_key("xai", KEY)
    master = home / "master.key"
    master.unlink()
    with closing(ControlStore.open(home_settings(home))) as later:
        for call in (later.access_snapshot, lambda: later.set_key("mistral", KEY)):
            with pytest.raises(ControlError, match=f"{master}: the master key is missing"):
                call()
        assert not master.exists()
        records = later.keys()
        assert [(key.shown, key.in_use) for key in records] == [(None, False)] * 2
        assert all(str(master) in (key.problem or "") for key in records)
        later.create_token()
        later.remove_key("openai")
        later.set_key("xai", "xai-new")  # replaces the last one that was lost: a new master key may be made
        assert later.access_snapshot().provider_keys == {("default", "xai"): "xai-new"}


def test_a_second_master_key_is_not_mixed_in(store: ControlStore, home: Path) -> None:
    store.set_key("openai", KEY)
    other = home.with_name("other")
    with closing(ControlStore.open(home_settings(other))) as elsewhere:
        elsewhere.set_key("openai", KEY)
    (other / "master.key").replace(home / "master.key")
    with closing(ControlStore.open(home_settings(home))) as later:
        with pytest.raises(ControlError, match=f"{home}/master.key: not the master key"):
            later.set_key("xai", KEY)
        with pytest.raises(ControlError, match=f"{home}/master.key: not the master key"):
            later.access_snapshot()


def test_a_row_moved_to_another_account_refuses_the_directory(store: ControlStore, home: Path) -> None:
    store.create_account("thief", "pro")
    store.set_key("openai", KEY)
    with closing(sqlite3.connect(home / "control.db", isolation_level=None)) as db:
        db.execute("UPDATE provider_keys SET account = 'thief'")
    with pytest.raises(ControlError, match="openai key of account 'thief' does not open"):
        store.access_snapshot()


# --- accounts


def test_tokens_follow_their_account_to_another_plan_at_once(store: ControlStore) -> None:
    store.create_account("team", "free")
    secret = store.create_token(account="team").secret
    plans = []
    for plan in ("free", "pro"):
        store.set_plan("team", plan)
        token = store.access_snapshot().find_token(secret)
        plans.append(token and token.plan)
    assert plans == ["free", "pro"]
    assert [type(account) for account in store.accounts()] == [Account, Account]


def test_an_account_cannot_be_made_twice(store: ControlStore) -> None:
    with pytest.raises(ControlError, match="'default' exists: `metrion account set default --plan free`"):
        store.create_account("default", "free")
    assert store.accounts()[0].plan == "pro"


def test_what_needs_an_account_suggests_the_one_that_was_meant(store: ControlStore) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: store.create_token(account="defualt"),
        lambda: store.set_key("openai", KEY, account="defualt"),
        lambda: store.remove_key("openai", account="defualt"),
        lambda: store.set_plan("defualt", "pro"),
    )
    for call in calls:
        with pytest.raises(ControlError, match=r"no account named 'defualt'\. Did you mean 'default'\?"):
            call()


# --- several processes

WORK = """
import sys
from pathlib import Path
from metrion.control import ControlStore
from metrion.settings import Settings
GATE
for number in range(8):
    store = ControlStore.open(Settings(home=Path(sys.argv[1])))
    store.set_key("openai", f"key-{sys.argv[2]}-{number}")
    print(store.create_token().secret)
    assert store.access_snapshot().provider_key("default", "openai")
    store.close()
"""


def test_processes_that_start_at_once_on_a_new_home_get_in_nobodys_way(home: Path) -> None:
    outputs = run_together(WORK, [[str(home), str(number)] for number in range(4)])
    secrets = [line for output in outputs for line in output.split()]
    with closing(ControlStore.open(home_settings(home))) as store:
        snapshot = store.access_snapshot()
        found = [snapshot.find_token(secret) for secret in secrets]
        assert sorted(token.name for token in found if token) == sorted(f"token-{n}" for n in range(1, 33))
        assert re.fullmatch(r"key-[0-3]-7", snapshot.provider_key("default", "openai") or "")


CHANGE = """
import sys
from pathlib import Path
from metrion.control import ControlStore
from metrion.settings import Settings
store = ControlStore.open(Settings(home=Path(sys.argv[1])))
GATE
store.revoke_token("laptop")
store.set_key("xai", "xai-new")
"""


def test_a_running_store_sees_another_processs_changes_at_its_next_call(store: ControlStore, home: Path) -> None:
    secret = store.create_token("laptop").secret
    before = store.access_snapshot().find_token(secret)
    run_together(CHANGE, [[str(home)]])
    snapshot = store.access_snapshot()
    after = snapshot.find_token(secret)
    assert [token and token.revoked for token in (before, after)] == [False, True]
    assert snapshot.provider_key("default", "xai") == "xai-new"


def test_a_change_waits_for_another_process_and_the_directory_does_not(store: ControlStore, home: Path) -> None:
    first = store.access_snapshot()
    with closing(sqlite3.connect(home / "control.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert store.access_snapshot() is first
        holder.execute("UPDATE accounts SET plan = 'free'")
        assert store.access_snapshot() is first
        holder.execute("COMMIT")
    assert store.accounts()[0].plan == "free"
