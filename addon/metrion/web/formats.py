"""Values as people read them, and as programs do. Pure.

People read money in the currency they chose; programs get dollars, with all their digits.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from metrion.web.currencies import DOLLAR, Currency
from metrion.web.display import Display

UNKNOWN = "–"  # noqa: RUF001 -- a dash
_LONGEST = 120
_PLACES = 12
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def usd(value: Any, currency: Currency = DOLLAR) -> str:
    """Write dollars: to the cent, and small amounts with two digits that say something."""
    if value is None:
        return UNKNOWN
    amount = Decimal(value) * currency.rate
    if amount == 0:
        return f"{currency.sign}0.00"
    sign = f"{'-' if amount < 0 else ''}{currency.sign}"
    if abs(amount) >= 1:
        return f"{sign}{abs(amount):,.2f}"
    places = min(12, max(2, 1 - amount.adjusted()))
    return f"{sign}{abs(amount).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):f}"


def small_usd(value: Any, currency: Currency = DOLLAR) -> str:
    """Write dollars with four digits after the point, so that they line up."""
    if value is None:
        return UNKNOWN
    amount = Decimal(value) * currency.rate
    small = 0 < amount < Decimal("0.00005")
    return f"<{currency.sign}0.0001" if small else f"{currency.sign}{amount:,.4f}"


def exact_usd(value: Any, currency: Currency = DOLLAR) -> str:
    """Write dollars with all their digits; another currency with as many as dollars have, for its rate has no end."""
    if value is None:
        return UNKNOWN
    amount = Decimal(value)
    if currency.code != DOLLAR.code:
        amount = round(amount * currency.rate, _PLACES)
    return f"{currency.sign}{amount.normalize():f}"


def count(value: Any) -> str:
    """Write a whole number."""
    return UNKNOWN if value is None else f"{int(value):,}"


def short(value: Any) -> str:
    """Write a number in few characters: 1.2M."""
    if value is None:
        return UNKNOWN
    number = float(value)
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.{1 if abs(number) < 100 * size else 0}f}{unit}"
    return f"{number:,.0f}"


def ms(value: Any) -> str:
    """Write milliseconds in the unit that fits."""
    if value is None:
        return UNKNOWN
    number = float(value)
    if number == 0:
        return "0 ms"
    if number >= 600_000:
        return f"{number / 60_000:,.0f} min"
    if number >= 10_000:
        return f"{number / 1000:,.1f} s"
    if number >= 1000:
        return f"{number / 1000:.2f} s"
    return f"{number:.0f} ms" if number >= 10 else f"{number:.2f} ms"


def percent(value: Any) -> str:
    """Write a part of one as percent."""
    if value is None:
        return UNKNOWN
    number = 100 * float(value)
    return "<0.1 %" if 0 < number < 0.1 else f"{number:.1f} %"


def text(value: Any) -> str:
    """Write a text on one line that it cannot leave: what controls or turns text around is written as a code."""
    if value is None:
        return UNKNOWN
    shown = str(value)
    cut = shown[:_LONGEST]
    clean = "".join(_visible(each) for each in cut)
    return clean + "…" if len(shown) > _LONGEST else clean


def _visible(character: str) -> str:
    hidden = (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in "\u202a\u202b\u202c\u202d\u202e"
    )
    hidden = hidden or "\u2066" <= character <= "\u2069" or character in "\u200e\u200f\u061c\ufeff\u200b"
    return f"\\u{ord(character):04x}" if hidden else character


def moment(value: Any, timezone: str) -> str:
    """Write a naive UTC moment as the zone has it."""
    if value is None:
        return UNKNOWN
    return f"{value.replace(tzinfo=UTC).astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M:%S}"


def bucket(value: datetime) -> str:
    """Write a local hour or day."""
    return f"{value:%Y-%m-%d %H:%M}" if value.hour or value.minute else f"{value:%Y-%m-%d}"


MONEY: Mapping[str, Callable[[Any, Currency], str]] = {"usd": usd, "exact_usd": exact_usd, "small_usd": small_usd}
"""Kinds of amounts of dollars, which are shown in the currency that a viewer chose."""
FORMATS: Mapping[str, Callable[[Any], str]] = {
    "text": text,
    "count": count,
    "short": short,
    "ms": ms,
    "percent": percent,
    "bucket": bucket,
    "json": text,
}
NUMBERS = frozenset({*MONEY, "count", "short", "ms", "percent"})
"""Kinds whose cells line up at the right."""


def written(value: Any, kind: str, currency: Currency) -> str:
    """Write a value of any kind but a moment."""
    return MONEY[kind](value, currency) if kind in MONEY else FORMATS[kind](value)


def cell(value: Any, kind: str, display: Display) -> str:
    """Write a cell for a page, as its viewer has chosen."""
    return moment(value, display.timezone) if kind == "moment" else written(value, kind, display.currency)


def as_json(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> str:
    """Write rows as one array of objects: decimals as strings, times in ISO 8601, NULL as null."""
    return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], default=_plain, ensure_ascii=False)


def as_csv(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> str:
    """Write rows as CSV. A text that a spreadsheet would compute gets an apostrophe before it; NULL is empty."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_field(value) for value in row] for row in rows)
    return out.getvalue().encode("utf-8", "replace").decode()


def _field(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value if isinstance(value, int | float) else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
