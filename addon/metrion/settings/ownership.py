"""Whose a home is. In: its path. Out: the name of another user to whom it belongs. Changes nothing."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path

from metrion.errors import SettingsError


def other_owner(home: Path) -> str | None:
    """Return to whom a home belongs, if not to the user of this process; ``None`` also where it is not there."""
    with suppress(OSError):
        owner = home.stat().st_uid
        return None if owner == os.geteuid() else user_name(owner)
    return None


def check_usable(home: Path) -> None:
    """Check that another user's home lets this process in.

    :raises SettingsError: it does not, nor does the folder that it is in.
    """
    for folder in (home, *home.parents):
        try:
            owner = folder.stat().st_uid
        except OSError:
            continue  # it is not there, or what it is in lets nobody in
        wanted = os.R_OK | os.W_OK | os.X_OK if folder == home else os.X_OK
        if owner != os.geteuid() and not os.access(folder, wanted):
            what = f"{folder}, with the home {home} in it," if folder != home else f"METRION_HOME {home}"
            raise SettingsError(
                f"{what} belongs to another user ({user_name(owner)}), and cannot be used by this one "
                f"({user_name(os.geteuid())}). Run this as {user_name(owner)}, or set METRION_HOME to a folder of your "
                "own."
            )
        return


def user_name(number: int) -> str:
    """Return the name of a user, or the number where there is none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"id {number}"
