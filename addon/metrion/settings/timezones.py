"""Time zones by their IANA names: a name in, a zone out."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo


def zone(name: str) -> tzinfo:
    """Return a time zone.

    :raises ValueError: there is no such zone here.
    """
    if name == "UTC":
        return UTC  # also where a system has no list of time zones
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone; write a name such as Europe/Berlin or UTC") from None


def checked(name: object) -> object:
    """Return the name of a zone as it stands in the configuration.

    :raises ValueError: there is no such zone here.
    """
    if isinstance(name, str):
        with suppress(ValueError):
            zone(name)
            return name
    raise ValueError("write the name of a time zone, as in Europe/Berlin")
