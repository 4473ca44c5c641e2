"""The vault: provider keys and the targets of alerts go in, sealed bytes come out, and back.

The vault seals a secret with AES-256-GCM under the master key, with a fresh 96-bit nonce, and binds it to its row: a
key to its account and provider, a target to its channel. Moved to another row it does not open. The master key lives in
a file of its own with mode 0600; the first secret that is stored makes it. Never: a master key that is replaced, half
written or made twice; an error that shows a secret.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from metrion.control.names import ALL_ACCOUNTS
from metrion.errors import VaultError

_KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret at rest. ``box`` is the nonce and then the ciphertext with its tag."""

    master_id: str
    """Which master key opens it: a fingerprint that reveals nothing of the key."""
    box: bytes


@dataclass(frozen=True, slots=True)
class _MasterKey:
    id: str
    cipher: AESGCM = field(repr=False)
    secret: bytes = field(repr=False)


class Vault:
    """Seals and opens secrets under the master key in the file ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._master: _MasterKey | None = None

    def seal(self, account: str, provider: str, key: str, *, may_create: bool) -> Sealed:
        """Seal ``key``. Only with ``may_create`` is a missing master key made: pass it when nothing is sealed yet.

        :raises VaultError: the master key is missing or unreadable, or the file is not a master key.
        """
        return self._seal(key, _binding(account, provider), may_create=may_create)

    def open(self, account: str, provider: str, sealed: Sealed) -> str:
        """Return the key that was sealed for this account and provider.

        The master key is kept in memory: one that vanishes from the disk does not stop a running proxy.

        :raises VaultError: the master key is missing or another one, or the sealed bytes were changed.
        """
        master = self._master_of(sealed)
        if master.id != sealed.master_id:
            raise VaultError(
                f"{self.path}: not the master key that the stored {provider} key of {_owner(account)} was sealed "
                f"with. Put the right file back, or run `metrion key remove {provider} {_option(account)}` and store "
                "the key again."
            )
        try:
            return _opened(master, sealed, _binding(account, provider))
        except (InvalidTag, ValueError) as error:
            raise VaultError(
                f"the stored {provider} key of {_owner(account)} does not open with {self.path}: the database was "
                f"damaged or changed. Store the key again with `metrion key set {provider} {_option(account)}`."
            ) from error

    def seal_target(self, channel: str, target: str, *, may_create: bool) -> Sealed:
        """Seal where a channel of an alert leads; ``may_create`` as in :meth:`seal`.

        :raises VaultError: the master key is missing or unreadable, or the file is not a master key.
        """
        return self._seal(target, _target_binding(channel), may_create=may_create)

    def open_target(self, channel: str, sealed: Sealed) -> str:
        """Return what was sealed for this channel.

        :raises VaultError: the master key is missing or another one, or the sealed bytes were changed.
        """
        master = self._master_of(sealed)
        try:
            if master.id == sealed.master_id:
                return _opened(master, sealed, _target_binding(channel))
        except (InvalidTag, ValueError):
            pass
        raise VaultError(
            f"the target of an alert does not open with {self.path}: that is another master key, or the database was "
            "damaged or changed. Put the right file back, or remove the rule with `metrion alert remove NAME` and add "
            "it again."
        )

    def derived(self, purpose: bytes, *, may_create: bool) -> bytes:
        """Return a key that is derived from the master key for one purpose; ``may_create`` as in :meth:`seal`.

        :raises VaultError: the master key is missing or unreadable, or the file is not a master key.
        """
        if may_create and not self.path.exists():
            _create(self.path)
        master = self._master or self._read()
        return hmac.digest(master.secret, b"metrion derived key\0" + purpose, "sha256")

    def _seal(self, text: str, binding: bytes, *, may_create: bool) -> Sealed:
        if may_create and not self.path.exists():
            _create(self.path)
            self._master = None
        master = self._read()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return Sealed(master.id, nonce + master.cipher.encrypt(nonce, text.encode(), binding))

    def _master_of(self, sealed: Sealed) -> _MasterKey:
        """Return the master key that sealed this, if it is there; else the one that is."""
        master = self._master
        return self._read() if master is None or master.id != sealed.master_id else master

    def _read(self) -> _MasterKey:
        try:
            key = base64.b64decode(self.path.read_bytes().strip(), validate=True)
        except FileNotFoundError as error:
            raise VaultError(
                f"{self.path}: the master key is missing, and provider keys are stored that only it opens. Put the "
                "file back from a backup, or remove them with `metrion key remove PROVIDER` and store them again. "
                "Rules of alerts are removed with `metrion alert remove NAME`."
            ) from error
        except OSError as error:
            raise VaultError(f"{self.path}: cannot read the master key: {error.strerror}.") from error
        except binascii.Error:
            key = b""
        if len(key) != _KEY_BYTES:
            raise VaultError(
                f"{self.path}: this is no master key ({_KEY_BYTES} bytes in base64). Put the file back from a backup, "
                "or move it away, remove the stored keys with `metrion key remove PROVIDER` and store them again."
            )
        fingerprint = hashlib.sha256(b"metrion master key id\0" + key).hexdigest()[:16]
        self._master = _MasterKey(fingerprint, AESGCM(key), key)
        return self._master


def _owner(account: str) -> str:
    return "all accounts" if account == ALL_ACCOUNTS else f"account {account!r}"


def _option(account: str) -> str:
    return "--for-all" if account == ALL_ACCOUNTS else f"--account {account}"


def _opened(master: _MasterKey, sealed: Sealed, binding: bytes) -> str:
    nonce, ciphertext = sealed.box[:_NONCE_BYTES], sealed.box[_NONCE_BYTES:]
    return master.cipher.decrypt(nonce, ciphertext, binding).decode()


def _target_binding(channel: str) -> bytes:
    return json.dumps(["metrion alert target", 1, channel]).encode()


def _binding(account: str, provider: str) -> bytes:
    return json.dumps(["metrion provider key", 1, account, provider]).encode()


def _create(path: Path) -> None:
    """Make the file whole or not at all; when another process was first, its key stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # A link, not a rename: a rename would put the second of two keys over the first.
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        raise VaultError(f"{path}: cannot make the master key: {error.strerror}.") from error


def _sync_folder(folder: Path) -> None:
    """Write the folder to the disk: a power cut could else keep the sealed keys and lose the file that opens them."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
