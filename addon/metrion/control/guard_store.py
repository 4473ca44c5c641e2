"""Whoever changes the guard's limits of a token or an account: one short transaction each, in the audit log too."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from metrion.control import guards
from metrion.control.audit import record
from metrion.control.files import connection, transaction
from metrion.control.store import ControlStore
from metrion.model import OwnGuard
from metrion.settings import Settings


class GuardStore:
    """See the module."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open what :meth:`ControlStore.open` opens.

        :raises ControlError: it cannot be opened.
        """
        ControlStore.open(settings).close()
        return cls(settings.control_db)

    def set(self, guard: OwnGuard) -> None:
        """Set the limits of a token or an account: they hold from the next request on.

        :raises ControlError: they cannot hold, or what they are for does not exist.
        """
        with transaction(self._path) as db:
            record(db, "guard.set", f"{guard.scope} {guard.name}", **guards.put(db, guard))

    def remove(self, scope: str, name: str) -> None:
        """Have a token or an account bound by what is configured for all.

        :raises UnknownNameError: it has no limits of its own.
        """
        with transaction(self._path) as db:
            record(db, "guard.remove", f"{scope} {name}", **guards.remove(db, scope, name))

    def all(self) -> tuple[OwnGuard, ...]:
        """Return what is set for whom: accounts first, by name."""
        with connection(self._path) as db:
            return guards.records(db)
