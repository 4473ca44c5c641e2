"""Currencies in which dollars can be shown: a file of rates in; each currency, with its rate and the rate's day, out.

Rates are read as the file has them, digit by digit: no binary fraction comes between it and a :class:`Decimal`. What is
metered, priced and limited stays in dollars.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from metrion.errors import SettingsError
from metrion.settings import Settings

_BUILT_IN = Path(__file__).with_name("currencies.yaml")
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "INR": "₹", "ILS": "₪", "KRW": "₩", "PHP": "₱"}
_DIGITS = 6
"""Of a rate, as it is shown."""
_NEEDED = frozenset({"date", "source", "base", "rates"})


@dataclass(frozen=True, slots=True)
class Currency:
    """What dollars are shown in."""

    code: str
    rate: Decimal
    """How much of it a dollar is."""
    day: date | None = None
    """Of the rate; ``None`` of the dollar itself, whose rate is never another."""
    source: str = ""

    @property
    def sign(self) -> str:
        """What stands before an amount; a code is set apart from it by a space at which no line breaks."""
        return _SIGNS.get(self.code, f"{self.code}\u00a0")

    @property
    def words(self) -> str:
        """Where its rate is from; empty of the dollar."""
        rate = round(self.rate, max(0, _DIGITS - 1 - self.rate.adjusted())).normalize()
        return "" if self.day is None else f"1 USD = {rate:f} {self.code}, {self.day} ({self.source})"


DOLLAR = Currency("USD", Decimal(1))


def load(settings: Settings) -> dict[str, Currency]:
    """Return the currencies of the configured file, or of Metrion's own, by their codes.

    :raises SettingsError: the file cannot be read or has another form, or has no rate of the configured currency.
    """
    path, chosen = settings.currencies_path or _BUILT_IN, settings.dashboard.currency
    try:
        document = yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 -- it makes nothing but texts
        found = _read(document)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from None
    if chosen not in found:
        raise SettingsError(f"{path}: has no rate of {chosen}, which dashboard.currency names")
    return found


def _read(document: Any) -> dict[str, Currency]:
    """Read a file of rates.

    :raises ValueError: it says what is wrong.
    """
    if not isinstance(document, dict) or document.keys() != _NEEDED or not isinstance(document["rates"], dict):
        raise ValueError("write date, source, base and rates, as in date: 2026-10-30, base: EUR, rates: {USD: 1.1172}")
    day = date.fromisoformat(str(document["date"]))
    rates = {code: _rate(code, text) for code, text in document["rates"].items()} | {document["base"]: Decimal(1)}
    dollar = rates.get("USD")
    if dollar is None:
        raise ValueError("rates: has none of USD, without which no dollar can be shown in another currency")
    source = " ".join(str(document["source"]).split())
    return {
        code: DOLLAR if code == "USD" else Currency(code, rate / dollar, day, source)
        for code, rate in sorted(rates.items())
    }


def _rate(code: str, text: Any) -> Decimal:
    try:
        rate = Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        rate = Decimal(0)
    if not rate.is_finite() or not Decimal("1e-9") < rate < Decimal("1e9"):
        raise ValueError(f"rates.{code}: write how much of it one of the base is, as in 0.9194")
    if len(code) != 3 or not code.isascii() or not code.isalpha() or not code.isupper():
        raise ValueError(f"rates.{code}: a currency has a code of three capital letters, as in CHF")
    return rate
