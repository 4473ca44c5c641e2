"""How one viewer has figures shown: the time zone and the currency, kept in two cookies of the browser. Values; pure.

What a cookie says is used only where it names a zone and a currency that there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, unquote

from metrion.settings.timezones import zone
from metrion.web.currencies import DOLLAR, Currency


@dataclass(frozen=True, slots=True)
class Display:
    """Whose days and hours, and in what money."""

    timezone: str = "UTC"
    currency: Currency = DOLLAR


USUAL = Display()


def read(cookies: Mapping[str, str], cookie: str, usual: Display, currencies: Mapping[str, Currency]) -> Display:
    """Return what a browser's cookies say, and of the rest what is usual; ``cookie`` is how their names begin."""
    timezone = unquote(cookies.get(f"{cookie}-timezone", ""))
    code = cookies.get(f"{cookie}-currency", "")
    return Display(timezone if is_zone(timezone) else usual.timezone, currencies.get(code, usual.currency))


def written(display: Display, cookie: str) -> dict[str, str]:
    """Return the cookies that say so, by their names."""
    return {f"{cookie}-timezone": quote(display.timezone, safe=""), f"{cookie}-currency": display.currency.code}


def is_zone(name: str) -> bool:
    """Whether there is a time zone of this name."""
    with suppress(ValueError):
        return bool(name and zone(name))
    return False
