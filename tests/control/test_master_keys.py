"""Where master keys come from, and what is said when they do not."""

from __future__ import annotations

import base64
import secrets
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from metrion.control import master_keys
from metrion.control.master_keys import CommandKeys, FileKeys, GivenKeys
from metrion.control.vault import Vault
from metrion.errors import VaultError
from metrion.settings import Settings
from tests.credentials import PROVIDER_KEY as KEY

KEYS = tuple(base64.b64encode(bytes([number]) * 32).decode() for number in range(3))


def new() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def program(body: str) -> list[str]:
    return [sys.executable, "-c", body]


def printing(text: str) -> list[str]:
    return program(f"print({text!r})")


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, FileKeys),
        ({"master_key_command": ("x",)}, CommandKeys),
        ({"master_key": "x"}, GivenKeys),
        ({"master_key": "x", "master_key_command": ("x",)}, GivenKeys),
    ],
)
def test_the_environment_comes_before_the_command_and_that_before_the_file(
    tmp_path: Path, settings: dict[str, object], kind: type
) -> None:
    assert type(master_keys.master_keys(Settings.model_validate({"home": tmp_path, **settings}))) is kind


def test_every_place_opens_what_the_others_sealed_under_the_same_key(tmp_path: Path) -> None:
    key = new()
    (tmp_path / "key").write_text(f"{key}\n")
    places = (FileKeys(tmp_path / "key"), GivenKeys(f" {key} "), CommandKeys(printing(key)))
    for sealing in places:
        sealed = Vault(sealing).seal("default", "openai", KEY, may_create=True)
        assert [Vault(each).open("default", "openai", sealed) for each in places] == [KEY] * 3


def test_the_first_key_seals_and_all_open() -> None:
    old, newer = new(), new()
    sealed = Vault(GivenKeys(old)).seal("default", "openai", KEY, may_create=False)
    both = Vault(GivenKeys(f"{newer} {old}"))
    assert both.open("default", "openai", sealed) == KEY
    again = both.seal("default", "openai", KEY, may_create=False)
    assert Vault(GivenKeys(newer)).open("default", "openai", again) == KEY
    with pytest.raises(VaultError, match=r"\$METRION_MASTER_KEY: not the master key .* Give the right key there"):
        Vault(GivenKeys(old)).open("default", "openai", again)


@pytest.mark.parametrize(
    "text", ["", " ", "nonsense", "c2hvcnQ=", "é" * 43, KEYS[0] + "x", KEYS[0] + " short", "A" * 9000]
)
def test_what_is_no_key_is_said_and_not_shown(text: str) -> None:
    for keys in (GivenKeys(text), CommandKeys(printing(text))):
        with pytest.raises(VaultError, match=r"is no master key \(32 bytes in base64\)|printed too much") as raised:
            keys.read()
        assert not any(part in str(raised.value) for part in text.split() if len(part) > 3)


def test_a_key_of_another_place_is_never_made_in_the_home(tmp_path: Path) -> None:
    Vault(GivenKeys(new())).seal("default", "openai", KEY, may_create=True)
    assert list(tmp_path.iterdir()) == []


def test_a_command_runs_once_in_a_process_without_a_shell(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    keys = CommandKeys(program(f"open({str(runs)!r}, 'a').write('x'); print({new()!r})"))
    assert [keys.read() for _ in range(3)] == [keys.read()] * 3
    assert runs.read_text() == "x"
    with pytest.raises(VaultError, match=r"master_key_command: echo.*cannot be run"):
        CommandKeys(["echo $(whoami) | base64"]).read()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["/nowhere/secret-manager"], "/nowhere/secret-manager cannot be run: No such file or directory"),
        (program("import sys; print('s3cret'); sys.stderr.write('s3cret'); sys.exit(3)"), "ended with the status 3"),
        (program("import os; os.kill(os.getpid(), 9)"), "ended with the status -9"),
        (program("while True: print('s3cret' * 1000)"), "printed too much"),
    ],
)
def test_a_command_that_fails_is_named_without_what_it_printed(
    command: Sequence[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = CommandKeys(command)
    for _ in range(2):  # the outcome is remembered
        with pytest.raises(VaultError) as raised:
            keys.read()
        assert says in str(raised.value)
        assert "s3cret" not in str(raised.value)
    assert "s3cret" not in "".join(capfd.readouterr())


def test_a_command_that_does_not_end_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master_keys, "COMMAND_SECONDS", 1.0)
    child = tmp_path / "child"
    body = (
        "import subprocess, sys, time; "
        f"p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)']); "
        f"open({str(child)!r}, 'w').write(str(p.pid)); time.sleep(100)"
    )
    with pytest.raises(VaultError, match="was not done within 1 s"):
        CommandKeys(program(body)).read()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child.read_text()}").exists() and _state(int(child.read_text())) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_a_file_takes_a_second_key_and_drops_it_in_one_step_each(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path / "master.key")
    keys.make()
    (old,) = keys.read()
    keys.add()
    newer, second = keys.read()
    assert (second.id, newer.id != old.id) == (old.id, True)
    keys.keep_first()
    assert [each.id for each in keys.read()] == [newer.id]
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["master.key"]
