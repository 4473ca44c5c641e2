from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from metrion.control.master_keys import FileKeys
from metrion.control.vault import Sealed, Vault
from metrion.errors import ControlError
from tests.control.homes import run_together
from tests.credentials import PROVIDER_KEY as KEY


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "master.key")


def master(vault: Vault) -> Path:
    assert isinstance(vault.keys, FileKeys)
    return vault.keys.path


def seal(vault: Vault, key: str = KEY) -> Sealed:
    return vault.seal("default", "openai", key, may_create=True)


def test_a_key_comes_back_in_this_process_and_after_a_restart(vault: Vault) -> None:
    sealed = seal(vault)
    assert vault.open("default", "openai", sealed) == KEY
    assert Vault(master(vault)).open("default", "openai", sealed) == KEY


def test_the_same_key_sealed_twice_looks_different(vault: Vault) -> None:
    first, second = seal(vault), seal(vault)
    assert first.box != second.box
    assert first.master_id == second.master_id


def test_the_sealed_bytes_and_the_master_key_file_hold_no_key(vault: Vault) -> None:
    assert KEY.encode() not in seal(vault).box
    assert KEY.encode() not in master(vault).read_bytes()


def test_the_master_id_does_not_give_the_master_key_away(vault: Vault) -> None:
    sealed = seal(vault)
    key = base64.b64decode(master(vault).read_bytes())
    assert len(key) == 32
    assert sealed.master_id not in (key.hex()[:16], base64.b64encode(key).decode()[:16])


@pytest.mark.parametrize(
    ("account", "provider"),
    [("other", "openai"), ("default", "xai"), ("default ", "openai"), ('default", "openai', "")],
)
def test_a_key_moved_to_another_row_does_not_open(vault: Vault, account: str, provider: str) -> None:
    sealed = seal(vault)
    with pytest.raises(ControlError, match="does not open") as raised:
        vault.open(account, provider, sealed)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda box: bytes([box[0] ^ 1]) + box[1:], id="nonce"),
        pytest.param(lambda box: box[:14] + bytes([box[14] ^ 1]) + box[15:], id="ciphertext"),
        pytest.param(lambda box: box[:-1] + bytes([box[-1] ^ 1]), id="tag"),
        pytest.param(lambda box: box[:-1], id="cut"),
        pytest.param(lambda box: box[:20], id="shorter than a tag"),
        pytest.param(lambda box: box[:4], id="shorter than a nonce"),
        pytest.param(lambda box: box[:0], id="empty"),
    ],
)
def test_changed_bytes_do_not_open(vault: Vault, change: Callable[[bytes], bytes]) -> None:
    sealed = seal(vault)
    with pytest.raises(ControlError, match="metrion key set openai --account default"):
        vault.open("default", "openai", Sealed(sealed.master_id, change(sealed.box)))


def test_the_file_is_private_whatever_the_umask_and_nothing_is_left_beside_it(vault: Vault) -> None:
    before = os.umask(0)
    try:
        seal(vault)
    finally:
        os.umask(before)
    assert stat.S_IMODE(master(vault).stat().st_mode) == 0o600
    assert list(master(vault).parent.iterdir()) == [master(vault)]


def test_a_master_key_is_never_replaced(vault: Vault) -> None:
    seal(vault)
    before = master(vault).read_bytes()
    Vault(master(vault)).seal("other", "xai", KEY, may_create=True)
    assert master(vault).read_bytes() == before


def test_a_missing_master_key_is_named_and_not_made_anew(vault: Vault) -> None:
    with pytest.raises(ControlError, match=rf"{master(vault)}: the master key is missing.*metrion key remove"):
        vault.seal("default", "openai", KEY, may_create=False)
    assert not master(vault).exists()
    sealed = seal(vault)
    master(vault).unlink()
    with pytest.raises(ControlError, match=rf"{master(vault)}: the master key is missing"):
        Vault(master(vault)).open("default", "openai", sealed)


def test_a_running_process_keeps_the_master_key_that_vanished(vault: Vault) -> None:
    sealed = seal(vault)
    master(vault).unlink()
    assert vault.open("default", "openai", sealed) == KEY


def test_a_wrong_master_key_is_named(vault: Vault, tmp_path: Path) -> None:
    sealed = seal(vault)
    other = Vault(tmp_path / "other.key")
    seal(other)
    with pytest.raises(ControlError, match=rf"{master(other)}: not the master key .* openai key of account 'default'"):
        other.open("default", "openai", sealed)


def test_a_running_process_finds_a_master_key_that_was_put_in_place_later(vault: Vault, tmp_path: Path) -> None:
    other = Vault(tmp_path / "other.key")
    sealed = seal(other)
    seal(vault)
    master(other).replace(master(vault))
    assert vault.open("default", "openai", sealed) == KEY


@pytest.mark.parametrize("content", [b"", b"\n", b"not base64!", base64.b64encode(b"short"), b"\xff\xfe", b"A" * 400])
def test_a_file_that_is_no_master_key_is_named_and_kept(vault: Vault, content: bytes) -> None:
    master(vault).write_bytes(content)
    with pytest.raises(ControlError, match=rf"{master(vault)}: this is no master key"):
        seal(vault)
    assert master(vault).read_bytes() == content


def test_a_folder_that_is_not_there_is_an_error_with_the_path(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "nowhere" / "master.key")
    with pytest.raises(ControlError, match=rf"{master(vault)}: cannot make the master key: No such file"):
        seal(vault)


SEAL = """
import sys
from pathlib import Path
from metrion.control.master_keys import FileKeys
from metrion.control.vault import Vault
vault = Vault(Path(sys.argv[1]))
GATE
print(vault.seal("default", "openai", "key", may_create=True).master_id)
"""


def test_processes_that_start_at_once_make_one_master_key(vault: Vault) -> None:
    outputs = run_together(SEAL, [[str(master(vault))]] * 6)
    assert set(outputs) == {seal(vault).master_id + "\n"}
    assert list(master(vault).parent.iterdir()) == [master(vault)]
