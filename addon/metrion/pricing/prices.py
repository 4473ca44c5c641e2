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

PAUSED_HOUR = "paused_hour"
"""The rate of the pauses in a session that is billed by its length, in US dollars per hour."""

RATES: tuple[str, ...] = (*PER_MILLION, AUDIO_HOUR, PAUSED_HOUR)

PER_REQUEST = "request"
"""The fee that every response pays once."""

PER_CHARACTER = "input_character"
"""The fee for each character of a text that is spoken."""

STANDARD_TIERS = frozenset({"", "default", "standard", "auto", "on_demand", "unspecified"})
"""Service tiers that are billed at the rates of the model itself."""

_WIDER_CLASSES: Mapping[str, str] = {
    "input_image": "input",
    "input_video": "input",
    "output_video": "output",
    "reasoning": "output",
}
"""The class that a class without a rate is billed as, because providers publish one rate for both. What the cache reads
or writes, audio and images that are made cost more or less than the class they are part of: without a rate of their own
they have no price."""

_CACHED_MODALITIES: Mapping[str, tuple[str, bool]] = {
    "cache_read_audio": ("input_audio", False),
    "cache_read_image": ("input_image", True),
    "cache_read_video": ("input_video", True),
}
"""Of each modality in the cache, its class outside of it, and whether that may go without a rate of its own. Where the
modality costs what text costs, what the cache reads of it costs what the cache reads of text."""

_PROPORTIONAL_TIERS = frozenset({"batch", "flex"})
"""Service tiers that multiply every step of a price, long contexts included, where they give one rate alone.

Sources: https://developers.openai.com/api/docs/pricing (Batch and Flex list long contexts at half the standard rate),
https://ai.google.dev/gemini-api/docs/pricing, https://platform.claude.com/docs/en/about-claude/pricing (the batch
discount and the long-context rate apply together)."""


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of one token class, which may depend on the length of the input."""

    base: Decimal
    above: tuple[tuple[int, Decimal | None], ...] = ()
    """(input tokens, rate), ascending. With more input than that, the whole request pays this rate. ``None``: a request
    that long has no price."""

    def at(self, input_tokens: int) -> Decimal | None:
        """Return the rate of a request with this much input."""
        applicable: Decimal | None = self.base
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
    allowances: frozenset[str] = frozenset()
    """Fees that are due only beyond what the provider gives away by the day or the month."""
    regional: Decimal | None = None
    """What every part is multiplied by when the request goes to a regional endpoint."""
    classes: Mapping[str, Rate] = field(init=False, repr=False, compare=False)
    """The rate of every token class that has one, its own or that of a wider class."""

    def __post_init__(self) -> None:
        classes = {name: rate for name in PER_MILLION if (rate := _own_or_wider(self.rates, name))}
        object.__setattr__(self, "classes", MappingProxyType(classes))

    @property
    def has_steps(self) -> bool:
        """Whether a rate depends on the length of the input."""
        return any(rate.above for rate in self.rates.values())

    def under(self, tier: str, special: Period) -> Period:
        """Return these prices with those of a service tier in their place, where it has its own."""
        rates = {
            name: _stepped(rate, standard, multiplies=tier in _PROPORTIONAL_TIERS)
            if (standard := self.rates.get(name))
            else rate
            for name, rate in special.rates.items()
        }
        return Period(
            None,
            None,
            {**self.rates, **rates},
            {**self.fees, **special.fees},
            self.allowances | special.allowances,
            special.regional or self.regional,
        )

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
        return standard.under(tier, special) if special else None


def _own_or_wider(rates: Mapping[str, Rate], name: str) -> Rate | None:
    if name in rates:
        return rates[name]
    if name in _CACHED_MODALITIES:
        outside, may_lack = _CACHED_MODALITIES[name]
        same = may_lack if outside not in rates else rates[outside] == rates.get("input")
        return rates.get("cache_read") if same else None
    return rates.get(_WIDER_CLASSES.get(name, ""))


def _stepped(rate: Rate, standard: Rate, *, multiplies: bool) -> Rate:
    """Return the rate of a service tier with the steps of the standard one, where it has none itself."""
    if rate.above or not standard.above:
        return rate
    if not multiplies or not standard.base:
        return Rate(rate.base, tuple((threshold, None) for threshold, _ in standard.above))
    steps = ((threshold, amount and amount * rate.base / standard.base) for threshold, amount in standard.above)
    return Rate(rate.base, tuple(steps))


def _last_that_holds(periods: Sequence[Period], day: date) -> Period | None:
    return next((period for period in reversed(periods) if period.holds(day)), None)
