"""Where master keys come from: a file, the environment or a command in; keys with their ids out, the newest first.

The first key seals, every one opens. So a master key is changed by putting a new one before the old one, sealing
everything anew, and taking the old one away (:mod:`metrion.control.rotation`). A file is made whole or not at all, and
replaced in one step. A command runs once in a process, without a shell, for a bounded time, and what it prints is
written nowhere. Never: an error that shows a key.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from metrion.errors import VaultError
from metrion.settings import Settings

COMMAND_SECONDS = 15.0
"""How long ``master_key_command`` may take."""
VARIABLE = "METRION_MASTER_KEY"
_KEY_BYTES = 32
_MOST_BYTES = 4096
"""Of what a file, a variable or a command may hold: some dozens of keys."""
_FORM = f"{_KEY_BYTES} bytes in base64"


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A key that seals and opens. Its ``id`` reveals nothing of it."""

    id: str
    cipher: AESGCM = field(repr=False)
    secret: bytes = field(repr=False)


class MasterKeys(Protocol):
    """A place that master keys come from."""

    name: str
    """What a message calls the place."""
    remedy: str
    """What brings the right key back, as the beginning of a sentence."""

    def read(self) -> tuple[MasterKey, ...]:
        """Return the keys, at least one, the newest first.

        :raises VaultError: there is none, or something else is there.
        """

    def make(self) -> None:
        """Make a first key where there is none and this is a place where one can be made. Never replaces one."""


def master_keys(settings: Settings) -> MasterKeys:
    """Return the place that is configured: the environment, else the command, else the file in the home."""
    if settings.master_key is not None:
        return GivenKeys(settings.master_key)
    if settings.master_key_command:
        return CommandKeys(settings.master_key_command)
    return FileKeys(settings.master_key_path)


class FileKeys:
    """Keys in a file of mode 0600, one a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.remedy = "Put the right file back"

    def read(self) -> tuple[MasterKey, ...]:
        """Read the file anew."""
        return tuple(map(_key, self._texts()))

    def make(self) -> None:
        """Make the file with one key, whole or not at all; when another process was first, its key stays."""
        if self.path.exists():
            return
        with self._draft(_new_text()) as draft, contextlib.suppress(FileExistsError):
            # A link, not a rename: a rename would put the second of two keys over the first.
            os.link(draft, self.path)

    def add(self) -> None:
        """Put a new key before what is there, in one step. Whoever calls holds the database's write lock."""
        with self._draft("\n".join((_new_text(), *self._texts()))) as draft:
            draft.replace(self.path)

    def keep_first(self) -> None:
        """Forget every key but the first, in one step. Whoever calls holds the database's write lock."""
        with self._draft(self._texts()[0]) as draft:
            draft.replace(self.path)

    def _texts(self) -> Sequence[str]:
        try:
            with self.path.open("rb") as file:
                return _texts(file.read(_MOST_BYTES + 1), self.name)
        except FileNotFoundError as error:
            raise VaultError(
                f"{self.path}: the master key is missing, and provider keys are stored that only it opens. Put the "
                "file back from a backup, or remove them with `metrion key remove PROVIDER` and store them again. "
                "Rules of alerts are removed with `metrion alert remove NAME`."
            ) from error
        except OSError as error:
            raise VaultError(f"{self.path}: cannot read the master key: {error.strerror}.") from error
        except ValueError:
            raise VaultError(
                f"{self.path}: this is no master key ({_FORM}). Put the file back from a backup, or move it away, "
                "remove the stored keys with `metrion key remove PROVIDER` and store them again."
            ) from None

    @contextlib.contextmanager
    def _draft(self, text: str) -> Iterator[Path]:
        """Write a file beside the real one, on the disk when the block begins; sync the folder after the block."""
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(f"{text}\n")
                    file.flush()
                    os.fsync(file.fileno())
                yield draft
            finally:
                draft.unlink(missing_ok=True)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise VaultError(f"{self.path}: cannot make the master key: {error.strerror}.") from error


class GivenKeys:
    """Keys in :data:`VARIABLE`, with spaces between them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.name = f"${VARIABLE}"
        self.remedy = "Give the right key there"

    def read(self) -> tuple[MasterKey, ...]:
        """Read the variable as it was when the process began."""
        return _keys(self._text.encode("utf-8", "surrogateescape"), self.name, "it")

    def make(self) -> None:
        """Make nothing: the key is there, or reading says that it is not."""


class CommandKeys:
    """Keys that a command prints, one a line. It runs at the first reading, and what became of it is remembered."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self.name = "master_key_command"
        self.remedy = "Have the command print the right key"
        self._outcome: tuple[MasterKey, ...] | VaultError | None = None

    def read(self) -> tuple[MasterKey, ...]:
        """Run the command, once."""
        if self._outcome is None:
            try:
                self._outcome = _keys(_output(self._command), self.name, f"what {self._command[0]} prints")
            except VaultError as error:
                self._outcome = error
        if isinstance(self._outcome, VaultError):
            raise VaultError(str(self._outcome))
        return self._outcome

    def make(self) -> None:
        """Make nothing, as :meth:`GivenKeys.make`."""


def _output(command: Sequence[str]) -> bytes:
    """Return what a command prints; its errors go nowhere, since nobody knows what stands in them.

    :raises VaultError: it cannot be run, fails, or takes too long.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what it has started ends with it
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its words cannot be used"
        raise VaultError(f"master_key_command: {command[0]} cannot be run: {why}.") from None
    try:
        text = _read(process)
        status = process.wait(max(0.0, COMMAND_SECONDS)) if text is not None else None
    except subprocess.TimeoutExpired:
        text = status = None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if text is None:
        raise VaultError(
            f"master_key_command: {command[0]} was not done within {COMMAND_SECONDS:.0f} s, or printed too much. "
            "Run it by hand to see why."
        )
    if status:
        raise VaultError(f"master_key_command: {command[0]} ended with the status {status}. Run it by hand to see why.")
    return text


def _read(process: subprocess.Popen[bytes]) -> bytes | None:
    """Return all that a process prints; ``None``: it does not end, or prints too much."""
    text = b""
    deadline = time.monotonic() + COMMAND_SECONDS
    with selectors.DefaultSelector() as selector:
        if process.stdout is None:
            return None
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(process.stdout.fileno(), _MOST_BYTES)
            text += piece
            if not piece:
                return text
            if len(text) > _MOST_BYTES:
                return None
    return None


def _keys(text: bytes, name: str, what: str) -> tuple[MasterKey, ...]:
    try:
        return tuple(map(_key, _texts(text, name)))
    except ValueError:
        raise VaultError(
            f"{name}: {what} is no master key ({_FORM}). `head -c 32 /dev/urandom | base64` makes one."
        ) from None


def _texts(text: bytes, name: str) -> Sequence[str]:
    """Return the keys of a text, checked.

    :raises ValueError: something in it is none, or there is none.
    """
    if len(text) > _MOST_BYTES:
        raise ValueError(name)
    found = [each.decode("ascii") for each in text.split()]
    for each in found:
        _key(each)
    if not found:
        raise ValueError(name)
    return found


def _key(text: str) -> MasterKey:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError
    return MasterKey(hashlib.sha256(b"metrion master key id\0" + key).hexdigest()[:16], AESGCM(key), key)


def _new_text() -> str:
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def _sync_folder(folder: Path) -> None:
    """Write the folder to the disk: a power cut could else keep the sealed keys and lose the file that opens them."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
