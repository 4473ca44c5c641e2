"""A new master key under running processes, killed at every step."""

from __future__ import annotations

import base64
import secrets
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from metrion import alerts
from metrion.control import ALL_ACCOUNTS, ControlStore
from metrion.control.alerts import AlertStore
from metrion.control.rotation import PLACES
from metrion.errors import VaultError
from metrion.settings import Settings
from tests.control.homes import home_settings, run_together

KEYS = {"default": "sk-default-0123456789", "team": "sk-team-0123456789", ALL_ACCOUNTS: "sk-shared-0123456789"}
HOOK = "https://hooks.example.com/T0/secret"


def filled(settings: Settings) -> ControlStore:
    store = ControlStore.open(settings)
    store.create_account("team", "pro")
    for account, key in KEYS.items():
        store.set_key("openai", key, account)
    store.set_key("openai", "sk-former-0123456789", "team", "batch")
    store.rotate_key("openai", "sk-batch-0123456789", "team", datetime(2999, 1, 1, tzinfo=UTC), "batch")
    terms = alerts.check_terms("spend", Decimal(5))
    alerts.add_rule(settings, "month", terms, [alerts.webhook(HOOK, "webhook")])
    return store


def opened(settings: Settings) -> dict[str, str]:
    """Everything that is sealed in a home, as a process that has just started reads it."""
    with closing(ControlStore.open(settings)) as store:
        access = store.access_snapshot()
    assert access.named_keys["team", "openai", "batch"] == "sk-batch-0123456789"
    found = {account: key for (account, _), key in access.provider_keys.items()}
    rules = AlertStore.open(settings)
    (channel,) = rules.rule("month").channels
    return found | {ALL_ACCOUNTS: access.shared_keys["openai"], "hook": rules.target(channel.id)}


def is_whole(settings: Settings) -> bool:
    found = opened(settings)
    return "/T0/secret" in found.pop("hook") and found == KEYS


def sealed_under(settings: Settings) -> set[str]:
    with closing(sqlite3.connect(settings.control_db)) as db:
        return {row[0] for place in PLACES for row in db.execute(f"SELECT master_id FROM {place.table}")}  # noqa: S608 -- PLACES


def test_every_table_with_a_box_is_a_place(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    ControlStore.open(settings).close()
    with closing(sqlite3.connect(settings.control_db)) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        boxed = {name for name in tables if "box" in {row[1] for row in db.execute(f"PRAGMA table_info({name})")}}
        for place in PLACES:
            keys = {row[1] for row in db.execute(f"PRAGMA table_info({place.table})") if row[5]}
            assert keys == set(place.key), place.table
    assert boxed == {place.table for place in PLACES}


def test_everything_is_sealed_anew_and_the_old_key_is_gone(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    store = filled(settings)
    before, old = sealed_under(settings), settings.master_key_path.read_text()
    assert (store.rotate_master_key().secrets, len(before)) == (6, 1)
    assert is_whole(settings)
    assert not sealed_under(settings) & before
    assert old.strip() not in settings.master_key_path.read_text()
    assert settings.master_key_path.stat().st_mode & 0o777 == 0o600
    store.set_key("xai", "sk-new-0123456789")
    assert len(sealed_under(settings)) == 1
    assert [each.what for each in store.audit(what="key.rotate-master")] == ["key.rotate-master"]


KILLED = """
import os, signal, sys
from pathlib import Path
from metrion.control import ControlStore
from metrion.settings import Settings

store, calls, stop = ControlStore.open(Settings(home=Path(sys.argv[1]))), 0, int(sys.argv[2])

def step(frame, event, argument):
    global calls
    if event in ("call", "line") and frame.f_code.co_filename.endswith(("rotation.py", "master_keys.py", "files.py")):
        calls += 1
        if calls == stop:
            os.kill(os.getpid(), signal.SIGKILL)
    return step

sys.settrace(step)
store.rotate_master_key()
sys.settrace(None)
print(calls)
"""


def killed_after(settings: Settings, lines: int) -> int | None:
    """Rotate in a process that is killed before so many lines; return how many there were if it was not."""
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(settings.home), str(lines)], capture_output=True, text=True, timeout=120
    )
    if run.returncode == 0:
        return int(run.stdout)
    assert run.returncode == -signal.SIGKILL, run.stderr
    return None


def test_killed_between_any_two_lines_everything_opens_and_the_next_run_ends_it(tmp_path: Path) -> None:
    """Twenty places over the whole of it, each in a home that the kills before have gone through, too."""
    whole = home_settings(tmp_path / "whole")
    filled(whole)
    lines = killed_after(whole, 10**9)
    assert lines is not None
    assert lines > 100
    settings = home_settings(tmp_path / "home")
    filled(settings)
    for at in range(1, lines, lines // 20):
        before = sealed_under(settings)
        killed_after(settings, at)
        assert is_whole(settings), f"killed before line {at}"
        ControlStore.open(settings).rotate_master_key()
        assert is_whole(settings)
        assert len(sealed_under(settings)) == len(settings.master_key_path.read_text().split()) == 1
        assert sealed_under(settings) != before


def test_a_process_that_runs_goes_on_and_one_that_starts_at_any_moment_opens_everything(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    filled(settings)
    outputs = run_together(
        ROTATE_OR_READ, [[str(tmp_path), "rotate"], [str(tmp_path), "read"], [str(tmp_path), "start"]]
    )
    assert outputs[1:] == ["whole\n", "whole\n"]
    assert is_whole(settings)


ROTATE_OR_READ = f"""
import sys
from pathlib import Path
from metrion.control import ControlStore
from metrion.settings import Settings
home, task = Path(sys.argv[1]), sys.argv[2]
store = ControlStore.open(Settings(home=home))
if task == "read":
    store.access_snapshot()
GATE
for number in range(40):
    if task == "rotate":
        store.rotate_master_key()
        continue
    if task == "start":
        store = ControlStore.open(Settings(home=home))
    access = store.access_snapshot()
    assert access.provider_keys["team", "openai"] == {KEYS["team"]!r}
if task != "rotate":
    print("whole")
"""


def test_two_rotations_at_once_and_keys_that_are_stored_meanwhile(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    filled(settings)
    code = """
import sys
from pathlib import Path
from metrion.control import ControlStore
from metrion.settings import Settings
store = ControlStore.open(Settings(home=Path(sys.argv[1])))
GATE
for number in range(10):
    store.set_key("xai", "sk-xai-0123456789") if sys.argv[2] == "set" else store.rotate_master_key()
"""
    run_together(code, [[str(tmp_path), task] for task in ("rotate", "rotate", "set")])
    assert set(opened(settings)) == {*KEYS, "hook"}
    with closing(ControlStore.open(settings)) as store:
        assert store.access_snapshot().provider_keys["default", "xai"] == "sk-xai-0123456789"


def test_what_does_not_open_stops_it_before_anything_is_changed(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    store = filled(settings)
    before = sealed_under(settings)
    with closing(sqlite3.connect(settings.control_db)) as db:
        db.execute("UPDATE provider_keys SET box = zeroblob(40) WHERE account = 'team'")
        db.commit()
    with pytest.raises(VaultError, match="nothing is changed: what is stored in provider_keys for team, openai"):
        store.rotate_master_key()
    assert sealed_under(settings) == before
    store.remove_key("openai", "team")
    assert store.rotate_master_key().resumed
    assert len(sealed_under(settings)) == 1


def test_a_home_without_anything_sealed_has_nothing_to_rotate(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    with pytest.raises(VaultError, match="nothing is sealed yet"):
        ControlStore.open(settings).rotate_master_key()
    assert not settings.master_key_path.exists()


def test_a_key_of_the_environment_goes_by_a_new_one_before_the_old_one(tmp_path: Path) -> None:
    old, new = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
    settings = home_settings(tmp_path)
    first = settings.model_copy(update={"master_key": old})
    filled(first)
    with pytest.raises(VaultError, match=r"there is no new master key there.*put it before the old one") as raised:
        ControlStore.open(first).rotate_master_key()
    assert old not in str(raised.value)
    both = settings.model_copy(update={"master_key": f"{new} {old}"})
    assert is_whole(both)
    assert ControlStore.open(both).rotate_master_key().secrets == 6
    assert is_whole(settings.model_copy(update={"master_key": new}))
    with pytest.raises(VaultError, match="not the master key"):
        opened(first)
    assert not settings.master_key_path.exists()
