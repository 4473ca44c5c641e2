"""The vault: provider keys and the targets of alerts go in, sealed bytes come out, and back.

The vault seals a secret with AES-256-GCM under the first master key, with a fresh 96-bit nonce, and binds it to its
row: a key to its account and provider, a target to its channel. Moved to another row it does not open. Each of the
master keys opens what it sealed (:mod:`metrion.control.master_keys`). The first secret that is stored makes the first
key. Never: a master key made twice; an error that shows a secret.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag

from metrion.control.master_keys import FileKeys, MasterKey, MasterKeys, master_keys
from metrion.control.names import ALL_ACCOUNTS
from metrion.errors import VaultError
from metrion.settings import Settings

_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret at rest. ``box`` is the nonce and then the ciphertext with its tag."""

    master_id: str
    """Which master key opens it: a fingerprint that reveals nothing of the key."""
    box: bytes


class Vault:
    """Seals and opens secrets under master keys: those in the file at ``keys``, or of another place."""

    def __init__(self, keys: MasterKeys | Path) -> None:
        self.keys: MasterKeys = FileKeys(keys) if isinstance(keys, Path) else keys
        self._known: dict[str, MasterKey] = {}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the vault of a home."""
        return cls(master_keys(settings))

    def prime(self) -> None:
        """Read the master keys; what is wrong with them is said when one is needed.

        A process that serves requests does so before it reads what is sealed, so that a key that is rotated out at
        that moment is known, and so that no request waits for a command.
        """
        with contextlib.suppress(VaultError):
            self._read()

    def seal(self, account: str, provider: str, key: str, *, may_create: bool) -> Sealed:
        """Seal ``key``. Only with ``may_create`` is a missing master key made: pass it when nothing is sealed yet.

        :raises VaultError: the master key is missing or unreadable, or the file is not a master key.
        """
        return self.seal_text(key, key_binding(account, provider), may_create=may_create)

    def open(self, account: str, provider: str, sealed: Sealed) -> str:
        """Return the key that was sealed for this account and provider.

        Master keys are kept in memory: one that vanishes from the disk does not stop a running proxy.

        :raises VaultError: the master key is missing or another one, or the sealed bytes were changed.
        """
        master = self._known.get(sealed.master_id) or self._read().get(sealed.master_id)
        if master is None:
            raise VaultError(
                f"{self.keys.name}: not the master key that the stored {provider} key of {_owner(account)} was sealed "
                f"with. {self.keys.remedy}, or run `metrion key remove {provider} {_option(account)}` and store "
                "the key again."
            )
        try:
            return _opened(master, sealed, key_binding(account, provider))
        except (InvalidTag, ValueError) as error:
            raise VaultError(
                f"the stored {provider} key of {_owner(account)} does not open with {self.keys.name}: the database was "
                f"damaged or changed. Store the key again with `metrion key set {provider} {_option(account)}`."
            ) from error

    def seal_target(self, channel: str, target: str, *, may_create: bool) -> Sealed:
        """Seal where a channel of an alert leads; ``may_create`` as in :meth:`seal`.

        :raises VaultError: the master key is missing or unreadable, or the file is not a master key.
        """
        return self.seal_text(target, target_binding(channel), may_create=may_create)

    def open_target(self, channel: str, sealed: Sealed) -> str:
        """Return what was sealed for this channel.

        :raises VaultError: the master key is missing or another one, or the sealed bytes were changed.
        """
        try:
            return self.open_text(sealed, target_binding(channel))
        except ValueError:
            raise VaultError(
                f"the target of an alert does not open with {self.keys.name}: that is another master key, or the "
                f"database was damaged or changed. {self.keys.remedy}, or remove the rule with `metrion alert remove "
                "NAME` and add it again."
            ) from None

    def derived(self, purpose: bytes, *, may_create: bool) -> bytes:
        """Return a key that is derived from the first master key for one purpose; ``may_create`` as in :meth:`seal`.

        :raises VaultError: the master key is missing or unreadable.
        """
        if may_create:
            self.keys.make()
        master = next(iter(self._read().values()))
        return hmac.digest(master.secret, b"metrion derived key\0" + purpose, "sha256")

    def seal_text(self, text: str, binding: bytes, *, may_create: bool = False) -> Sealed:
        """Seal a text under the first master key, bound to what ``binding`` names.

        :raises VaultError: the master key is missing or unreadable.
        """
        if may_create:
            self.keys.make()
        master = next(iter(self._read().values()))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return Sealed(master.id, nonce + master.cipher.encrypt(nonce, text.encode(), binding))

    def open_text(self, sealed: Sealed, binding: bytes) -> str:
        """Return what was sealed.

        :raises VaultError: there is no master key that can be read.
        :raises ValueError: none of the master keys opens it, or it was changed.
        """
        master = self._known.get(sealed.master_id) or self._read().get(sealed.master_id)
        if master is None:
            raise ValueError("another master key")
        try:
            return _opened(master, sealed, binding)
        except InvalidTag:
            raise ValueError("changed") from None

    def first_id(self) -> str:
        """Return the id of the master key that seals now.

        :raises VaultError: it is missing or unreadable.
        """
        return next(iter(self._read()))

    def _read(self) -> dict[str, MasterKey]:
        """Read the master keys anew; what was known stays known."""
        found = {key.id: key for key in self.keys.read()}
        self._known = {**self._known, **found}
        return found


def key_binding(account: str, provider: str) -> bytes:
    """Return what a provider key is bound to."""
    return json.dumps(["metrion provider key", 1, account, provider]).encode()


def target_binding(channel: str) -> bytes:
    """Return what the target of an alert is bound to."""
    return json.dumps(["metrion alert target", 1, channel]).encode()


def _owner(account: str) -> str:
    return "all accounts" if account == ALL_ACCOUNTS else f"account {account!r}"


def _option(account: str) -> str:
    return "--for-all" if account == ALL_ACCOUNTS else f"--account {account}"


def _opened(master: MasterKey, sealed: Sealed, binding: bytes) -> str:
    nonce, ciphertext = sealed.box[:_NONCE_BYTES], sealed.box[_NONCE_BYTES:]
    return master.cipher.decrypt(nonce, ciphertext, binding).decode()
