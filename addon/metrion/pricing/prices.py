"""What a price is: rates, the days on which they hold, and the entry of one model.

Frozen values. A price file makes them, the bill reads them; nothing here does I/O. Amounts are
:class:`~decimal.Decimal` in US dollars. What has no rate is absent, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from types import MappingProxyType

PER_MILLION: tuple[str, ...] = (
    "input",
    "input_audio",
    "input_image",
    "input_video",
    "cache_read",
    "cache_read_audio",
    "cache_read_image",
    "cache_read_video",
    "cache_write",
    "cache_write_1h",
    "output",
    "output_audio",
    "output_image",
    "output_video",
    "reasoning",
)
"""The token classes: rates in US dollars per million tokens, and the names of the parts of a cost."""

AUDIO_HOUR = "audio_hour"
"""The rate of audio that is billed by its length, in US dollars per hour."""

RATES: tuple[str, ...] = (*PER_MILLION, AUDIO_HOUR)

PER_REQUEST = "request"
"""The fee that every response pays once."""

PER_CHARACTER = "input_character"
"""The fee for each character of a text that is spoken."""

STANDARD_TIERS = frozenset({"", "default", "standard", "auto", "on_demand", "unspecified"})
"""Service tiers that are billed at the rates of the model itself."""

_WIDER_CLASSES: Mapping[str, tuple[str, ...]] = {
    "input_audio": ("input",),
    "input_image": ("input",),
    "input_video": ("input",),
    "cache_read": ("input",),
    "cache_read_audio": ("cache_read", "input_audio", "input"),
    "cache_read_image": ("cache_read", "input_image", "input"),
    "cache_read_video": ("cache_read", "input_video", "input"),
    "cache_write": ("input",),
    "cache_write_1h": ("cache_write", "input"),
    "output_audio": ("output",),
    "output_image": ("output",),
    "output_video": ("output",),
    "reasoning": ("output",),
}
"""The wider classes that a class is a part of, the nearest first. A class without a rate takes theirs, as in
genai-prices."""


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of one token class, which may depend on the length of the input."""

    base: Decimal
    above: tuple[tuple[int, Decimal], ...] = ()
    """(input tokens, rate), ascending. With more input than that, the whole request pays this rate."""

    def at(self, input_tokens: int) -> Decimal:
        """Return the rate of a request with this much input."""
        applicable = self.base
        for threshold, rate in self.above:
            if input_tokens > threshold:
                applicable = rate
        return applicable


@dataclass(frozen=True, slots=True)
class Period:
    """Rates and fees, and the UTC days on which they hold: from ``since`` to the day before ``until``."""

    since: date | None
    until: date | None
    rates: Mapping[str, Rate]
    fees: Mapping[str, Decimal]
    """US dollars per 1,000."""
    classes: Mapping[str, Rate] = field(init=False, repr=False, compare=False)
    """The rate of every token class that has one, its own or that of a wider class."""

    def __post_init__(self) -> None:
        classes = {name: rate for name in PER_MILLION if (rate := _own_or_wider(self.rates, name))}
        object.__setattr__(self, "classes", MappingProxyType(classes))

    def holds(self, day: date) -> bool:
        """Whether these are the prices of this day."""
        return (self.since is None or self.since <= day) and (self.until is None or day < self.until)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a price file says about one model."""

    model: str
    names: tuple[str, ...]
    """Other names of the model."""
    patterns: tuple[str, ...]
    """Patterns of other names."""
    exclusions: tuple[str, ...]
    """Patterns of names that ``patterns`` must not cover."""
    periods: tuple[Period, ...]
    service_tiers: Mapping[str, tuple[Period, ...]]
    """Of each service tier, the rates that differ from ``periods``."""

    def prices(self, day: date, tier: str) -> Period | None:
        """Return the prices of ``day`` under this service tier (``""``: standard); ``None`` if there are none."""
        standard = _last_that_holds(self.periods, day)
        if not tier or standard is None:
            return standard
        special = _last_that_holds(self.service_tiers.get(tier, ()), day)
        if special is None:
            return None
        return Period(None, None, {**standard.rates, **special.rates}, {**standard.fees, **special.fees})


def _own_or_wider(rates: Mapping[str, Rate], name: str) -> Rate | None:
    return next((rates[own] for own in (name, *_WIDER_CLASSES.get(name, ())) if own in rates), None)


def _last_that_holds(periods: Sequence[Period], day: date) -> Period | None:
    return next((period for period in reversed(periods) if period.holds(day)), None)
