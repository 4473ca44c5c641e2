"""Price files in, what a response cost out.

A :class:`PriceBook` is read once from YAML files (their format: ``docs/pricing.md``) and never changes. Money is
:class:`~decimal.Decimal` from the text of the file to the last of 12 places; no float is on the way.
:meth:`PriceBook.cost` does no I/O, never raises and never guesses: a model, a service tier or a day without a rate is
*unpriced*, an unknown usage is *unknown*, and both have no amount rather than 0.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fnmatch import fnmatchcase
from functools import reduce
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType

import yaml

from metrion.errors import PricingError
from metrion.model import Cost, CostSource, Usage
from metrion.model.record import record
from metrion.providers import VENDORS, canonical_name

try:
    from yaml import CBaseLoader as _Loader
except ImportError:  # PyYAML was built without libyaml: slower, the same result
    from yaml import BaseLoader as _Loader  # type: ignore[assignment]  # the two have one interface, but no common base


# --- what a file may say ----------------------------------------------------------------------------------------------

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

AUDIO = "audio"
"""The part of a cost that is billed by the length of the audio."""

RATES: tuple[str, ...] = (*PER_MILLION, AUDIO_HOUR)

_WITHOUT_OWN_RATE: Mapping[str, tuple[str, ...]] = {
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
"""Whose rate a class without one takes: that of the wider class it is a part of, as genai-prices does."""

_FEES: Mapping[str, str] = {
    "web_search_requests": "web_search",  # Anthropic, OpenRouter
    "web_search.num_requests": "web_search",  # OpenAI Responses
    "web_search_calls": "web_search",  # xAI
    "web_searches": "web_search",
    "google_search": "web_search",  # Gemini
    "x_search_calls": "x_search",  # xAI
    "web_search_preview_calls": "web_search_preview",
    "file_search.num_requests": "file_search",  # OpenAI Responses
    "file_search_calls": "file_search",
    "code_interpreter_calls": "code_interpreter",  # xAI
    "pages_processed": "document_page",  # Mistral OCR
    "annotated_pages_processed": "annotated_document_page",
}
"""What the providers call what they count, and the fee it falls under; any other name is the fee's own."""

_WITHOUT_OWN_FEE: Mapping[str, str] = {"web_search_preview": "web_search"}
"""Which fee is due for a tool without one."""

_INSTEAD: Mapping[str, str] = {
    "annotated_pages_processed": "pages_processed",
    "web_search_preview_calls": "web_search.num_requests",
}
"""What is billed in place of what the provider counts it among."""

PER_REQUEST = "request"
"""The fee that every response pays once."""

PER_CHARACTER = "input_character"
"""The fee for each character of a text that is spoken."""

STANDARD_TIERS = frozenset({"", "default", "standard", "auto", "on_demand", "unspecified"})
"""Service tiers that are billed at the rates of the model itself."""

_TIERS: Mapping[str, str] = {"on_demand_flex": "flex", "on_demand_priority": "priority"}
"""What Vertex AI calls tiers that have another name elsewhere."""

_PERIOD_KEYS = frozenset({*RATES, "from", "until", "above", "fees"})
_ENTRY_KEYS = _PERIOD_KEYS | {"match", "not", "source", "checked", "rates", "service_tiers"}


# --- prices -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rate:
    base: Decimal
    above: tuple[tuple[int, Decimal], ...] = ()
    """(input tokens, rate), ascending: more input than that, and the whole request pays this rate."""

    def at(self, input_tokens: int) -> Decimal:
        applicable = self.base
        for threshold, rate in self.above:
            if input_tokens > threshold:
                applicable = rate
        return applicable


@dataclass(frozen=True, slots=True)
class _Period:
    """Rates and the UTC days on which they hold: from ``since`` to the day before ``until``."""

    since: date | None
    until: date | None
    rates: Mapping[str, _Rate]
    fees: Mapping[str, Decimal]
    classes: Mapping[str, _Rate] = field(init=False, repr=False, compare=False)
    """The rate of every token class that has one, its own or that of a wider class."""

    def __post_init__(self) -> None:
        classes = {name: rate for name in PER_MILLION if (rate := _rate(self.rates, name))}
        object.__setattr__(self, "classes", MappingProxyType(classes))

    def holds(self, day: date) -> bool:
        return (self.since is None or self.since <= day) and (self.until is None or day < self.until)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The block of one model."""

    model: str
    names: tuple[str, ...]
    patterns: tuple[str, ...]
    exclusions: tuple[str, ...]
    periods: tuple[_Period, ...]
    service_tiers: Mapping[str, tuple[_Period, ...]]

    def prices(self, day: date, tier: str) -> _Period | None:
        """Return the rates of ``day`` under this service tier (``""``: standard); ``None`` if there are none."""
        standard = _last_that_holds(self.periods, day)
        if not tier or standard is None:
            return standard
        special = _last_that_holds(self.service_tiers.get(tier, ()), day)
        if special is None:
            return None
        return _Period(None, None, {**standard.rates, **special.rates}, {**standard.fees, **special.fees})


def _last_that_holds(periods: Sequence[_Period], day: date) -> _Period | None:
    return next((period for period in reversed(periods) if period.holds(day)), None)


# --- finding a model --------------------------------------------------------------------------------------------------

_RESOURCE_NAME = re.compile(r"(?:.*/)?models/(.+)")
"""``models/M`` (Gemini), ``publishers/google/models/M`` (Vertex)."""

_DATED = re.compile(r"(.+?)[-@](20\d\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])")
"""A snapshot: ``-2024-07-18``, ``-20251001``, ``@20250929``."""

_WILDCARD = re.compile(r"\*|\?|\[[^\]]*\]")

_REMEMBERED = 4096
"""Looked-up models kept in memory. Clients choose the names, so there is a bound."""


def _spellings(model: str, provider: str) -> Iterator[str]:
    """Yield the names under which a reported model may stand in a price file, the most particular first."""
    model = model.lower()
    yield model
    vendor, slash, rest = model.partition("/")
    if resource := _RESOURCE_NAME.fullmatch(model):
        model = resource[1]
        yield model
    elif slash and (vendor in VENDORS or vendor == provider):
        model = rest
        yield model
    if dated := _DATED.fullmatch(model):
        yield "-".join(dated.groups())
        yield dated[1]


class _Models:
    """The entries of one provider, by the names they go by. Filled while a book is made, then only read."""

    def __init__(self) -> None:
        self.entries: dict[str, _Entry] = {}
        self._names: dict[str, _Entry] = {}
        self._patterns: list[tuple[str, str, _Entry]] = []

    def index(self) -> None:
        """Look names up from now on. A model's own name beats another's alias, and later entries beat earlier ones."""
        for entry in self.entries.values():
            self._names.update(dict.fromkeys(entry.names, entry))
        self._names.update(self.entries)
        self._patterns = [
            (max(_WILDCARD.split(pattern), key=len), pattern, entry)
            for entry in reversed(self.entries.values())
            for pattern in entry.patterns
        ]
        self._patterns.sort(key=lambda row: len(_WILDCARD.sub("", row[1])), reverse=True)

    def find(self, name: str) -> _Entry | None:
        """Return the entry that goes by exactly this name, else the one with the longest pattern that covers it."""
        if entry := self._names.get(name):
            return entry
        for literal, pattern, entry in self._patterns:
            if (
                literal in name
                and fnmatchcase(name, pattern)
                and not any(fnmatchcase(name, exclusion) for exclusion in entry.exclusions)
            ):
                return entry
        return None


# --- the price book ---------------------------------------------------------------------------------------------------


class PriceBook:
    """What every known model costs. Immutable; one book serves all threads."""

    version: str
    """Names the content of the files; goes into the column ``price_version``."""

    def __init__(self, providers: Mapping[str, _Models], version: str) -> None:
        self._providers = providers
        self._found: dict[tuple[str, str | None, str | None], _Entry | None] = {}
        self._held: dict[tuple[int, date, str], _Period | None] = {}
        self.version = version

    @classmethod
    def load(cls, paths: Sequence[Path]) -> PriceBook:
        """Read price files. Of two entries for one model of one provider, the one in the later file counts.

        An entry that replaces another and has no ``match`` of its own keeps the other's.

        :raises PricingError: a file cannot be read, or something in it is not as ``docs/pricing.md`` says.
        """
        digest = hashlib.sha256()
        providers: dict[str, _Models] = {}
        for path in paths:
            text = _text(path)
            digest.update(b"%d:%s" % (len(text), text))
            for provider, entries in _File(path).read(text).items():
                models = providers.setdefault(provider, _Models())
                for entry in entries:
                    models.entries[entry.model] = _inheriting(entry, models.entries.pop(entry.model, None))
        for models in providers.values():
            models.index()
        return cls(MappingProxyType(providers), digest.hexdigest()[:12])

    def cost(
        self,
        *,
        provider: str,
        model: str | None,
        model_requested: str | None,
        usage: Usage | None,
        when: datetime,
        service_tier: str | None = None,
        estimated: bool = False,
    ) -> Cost:
        """Price ``usage``: at the model served, else the model requested, at the rates of the day ``when`` (UTC).

        Every part is rounded half-even to 12 places, and the cost is their sum. A class with 0 tokens has no part. What
        the provider says it charged comes first; ours then stands beside it. ``estimated`` marks a usage that the
        provider did not report.
        """
        if usage is None:
            return Cost(CostSource.UNKNOWN)
        if usage.unbilled:
            return Cost(CostSource.NOT_BILLED, usd=Decimal(0))
        charged = _charged(usage)
        if usage.shares is None:
            known = _is_known(usage, whole=False)
        else:
            known = all(_is_known(share, whole=True) for _, share in usage.shares or ((None, usage),))
        bill = self._whole_bill(provider, model, model_requested, usage, when, service_tier) if known else None
        total = reduce(_CONTEXT.add, bill.parts.values(), _NOTHING) if bill else _NOTHING
        if total >= _MOST_DOLLARS:
            known, bill = False, None
        if not bill:
            if charged is not None:
                return Cost(CostSource.PROVIDER, usd=charged)
            return Cost(CostSource.UNPRICED, price_version=self.version) if known else Cost(CostSource.UNKNOWN)
        source = CostSource.ESTIMATED if estimated or bill.apportioned else CostSource.COMPUTED
        usd = total
        if charged is not None:
            source, usd = CostSource.PROVIDER, charged
        return Cost(source, usd=usd, computed_usd=total, parts=MappingProxyType(bill.parts), price_version=self.version)

    def is_billed_by(
        self,
        fee: str,
        *,
        provider: str,
        model: str | None,
        model_requested: str | None,
        when: datetime,
    ) -> bool:
        """Whether this fee is the whole price of a model: neither tokens nor seconds have a rate."""
        entry = self._find(provider, model, model_requested)
        prices = self._prices(entry, _day(when), "") if entry else None
        return prices is not None and fee in prices.fees and not prices.rates

    def _whole_bill(
        self,
        provider: str,
        model: str | None,
        model_requested: str | None,
        usage: Usage,
        when: datetime,
        service_tier: str | None,
    ) -> _Bill | None:
        """Compute the parts of a cost; ``None`` when something was used that has no price.

        Where a usage has shares, each that is billed is priced by itself; the parts of another model have its name
        before theirs.
        """
        if not usage.shares:
            entry = self._find(provider, model, model_requested)
            prices = entry and self._prices(entry, _day(when), _special_tier(service_tier, usage))
            return _bill(usage, prices, is_request=True) if prices else None
        parts: dict[str, Decimal] = {}
        apportioned = False
        for other, share in usage.shares:
            if share.unbilled:
                continue
            own = other is None or other == model
            entry = self._find(provider, model, model_requested) if own else self._find(provider, other, None)
            prices = entry and self._prices(entry, _day(when), _special_tier(service_tier, share))
            bill = prices and _bill(share, prices, is_request=own)
            if not bill:
                return None
            for name, amount in bill.parts.items():
                key = name if own else f"{other}:{name}"
                parts[key] = _CONTEXT.add(parts.get(key, _NOTHING), amount)
            apportioned |= bill.apportioned
        return _Bill(parts, apportioned)

    def _find(self, provider: str, model: str | None, model_requested: str | None) -> _Entry | None:
        key = (provider, model, model_requested)
        try:
            return self._found[key]
        except KeyError:
            entry = self._search(*key)
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[key] = entry
        return entry

    def _prices(self, entry: _Entry, day: date, tier: str) -> _Period | None:
        """Return what :meth:`_Entry.prices` does. Only tiers that an entry has are remembered."""
        if tier and tier not in entry.service_tiers:
            return None
        key = (id(entry), day, tier)  # the book keeps its entries
        try:
            return self._held[key]
        except KeyError:
            prices = entry.prices(day, tier)
        if len(self._held) >= _REMEMBERED:
            self._held.clear()
        self._held[key] = prices
        return prices

    def _search(self, provider: str, model: str | None, model_requested: str | None) -> _Entry | None:
        if (models := self._providers.get(provider)) is None:
            return None
        spellings = (spelling for name in (model, model_requested) if name for spelling in _spellings(name, provider))
        return next((entry for spelling in spellings if (entry := models.find(spelling))), None)


def _inheriting(entry: _Entry, replaced: _Entry | None) -> _Entry:
    if replaced is None or entry.names or entry.patterns:
        return entry
    return _Entry(
        entry.model, replaced.names, replaced.patterns, replaced.exclusions, entry.periods, entry.service_tiers
    )


def _special_tier(service_tier: str | None, usage: Usage) -> str:
    """Return the key under ``service_tiers`` for what is not standard about a response: ``batch``, ``fast+us``."""
    if not usage.modes and (service_tier is None or service_tier in STANDARD_TIERS):
        return ""
    special = {tier.lower() for tier in (service_tier or "", *(usage.modes or ()))} - STANDARD_TIERS
    return "+".join(sorted(_TIERS.get(tier, tier) for tier in special))


def _day(when: datetime) -> date:
    return (when if when.tzinfo is None else when.astimezone(UTC)).date()


# --- the bill ---------------------------------------------------------------------------------------------------------

_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""Our own, so that a change to the thread's context does not change a cost. 60 digits hold any product exactly."""

_TWELVE_PLACES = Decimal("1E-12")
_NOTHING = Decimal("0E-12")
_MILLIONTH = Decimal("1E-6")
_THOUSANDTH = Decimal("1E-3")
_HOUR = Decimal(3_600)
_LARGEST = 2**63 - 1
"""No provider bills more than this of anything; more is not a count."""
_MOST_DOLLARS = 1_000_000
"""No response costs as much, and no column holds more."""


@record(frozen=True, slots=True)
class _Bill:
    parts: dict[str, Decimal]
    apportioned: bool
    """A split that matters to the cost was not reported and has been assumed."""


def _places(amount: Decimal) -> Decimal:
    return _CONTEXT.quantize(amount, _TWELVE_PLACES)


def _part(rate: Decimal, count: int, unit: Decimal) -> Decimal:
    """Return the cost of so many at this rate, which is for 1 / ``unit``. Nothing is rounded before the end."""
    return _places(_CONTEXT.multiply(_CONTEXT.multiply(rate, count), unit))


def _is_known(usage: Usage, *, whole: bool) -> bool:
    """Whether anything that can be billed was reported, and every number of it can be a count.

    Of several usages added up, or ``whole``, both sums: where one is not known, nor is what any of them is billed for.
    """
    if (whole or usage.largest_input_tokens is not None) and None in (usage.input_tokens, usage.output_tokens):
        return False
    tools = _calls(usage).values()
    billed = [count for count in (*_billable(usage), *tools) if count is not None]
    for count in (*billed, *_subsets(usage)):
        if count is not None and not 0 <= count <= _LARGEST:
            return False
    return bool(billed)


_billable = attrgetter("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "audio_seconds")
_subsets = attrgetter(
    "cache_write_1h_tokens",
    "cache_read_audio_tokens",
    "cache_read_image_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "input_video_tokens",
    "output_audio_tokens",
    "output_image_tokens",
    "output_video_tokens",
)


_NO_CALLS: Mapping[str, int] = MappingProxyType({})


def _calls(usage: Usage) -> Mapping[str, int]:
    """Return the calls of tools: those that the usage counts, and those that it does not. No call is in both."""
    if not (usage.server_tools or usage.unreported_tools):
        return _NO_CALLS
    calls = Counter(usage.server_tools or {})
    calls.update(usage.unreported_tools or {})
    for part, whole in _INSTEAD.items():
        if part in calls and whole in calls:
            calls[whole] = max(0, calls[whole] - calls[part])
    return calls


def _charged(usage: Usage) -> Decimal | None:
    """Return what the provider says it charged, where that is an amount."""
    charged = usage.provider_cost_usd
    if charged is None or not charged.is_finite() or charged.copy_abs() >= _MOST_DOLLARS:
        return None
    return _places(charged)


def _bill(usage: Usage, prices: _Period, *, is_request: bool) -> _Bill | None:
    """Compute the parts of a cost; ``None`` when something was used that these prices do not cover."""
    total_input = usage.input_tokens
    if total_input is None:
        total_input = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    counts, apportioned = _token_counts(usage, total_input, prices.rates)
    parts: dict[str, Decimal] = {}
    if "input" in prices.rates or "output" in prices.rates:
        length = usage.largest_input_tokens or total_input
        for name, count in counts.items():
            rate = prices.classes.get(name)
            if rate is None:
                return None
            parts[name] = _part(rate.at(length) if rate.above else rate.base, count, _MILLIONTH)
    if usage.audio_seconds and AUDIO_HOUR in prices.rates:
        parts[AUDIO] = _places(
            _CONTEXT.divide(_CONTEXT.multiply(prices.rates[AUDIO_HOUR].base, Decimal(repr(usage.audio_seconds))), _HOUR)
        )
    used = {PER_REQUEST: int(is_request)}
    for tool, count in _calls(usage).items():
        fee = _FEES.get(tool, tool)
        fee = fee if fee in prices.fees else _WITHOUT_OWN_FEE.get(fee, fee)
        used[fee] = used.get(fee, 0) + count
    for name, rate_of_fee in prices.fees.items():
        if used.get(name):
            parts[name] = _part(rate_of_fee, used[name], _THOUSANDTH)
    if not parts and (counts or usage.audio_seconds or sum(used.values()) > is_request):
        return None  # what was reported is in other units than the price
    return _Bill(parts, apportioned)


def _rate(rates: Mapping[str, _Rate], name: str) -> _Rate | None:
    return next((rates[own] for own in (name, *_WITHOUT_OWN_RATE.get(name, ())) if own in rates), None)


def _token_counts(usage: Usage, total_input: int, rates: Mapping[str, _Rate]) -> tuple[dict[str, int], bool]:
    """Split input and output into classes that do not overlap and leave out what is 0.

    A part that is larger than its whole is cut down to it: cache reads first, then cache writes. A modality is split
    off only where it has a rate. How much of a modality was read from the cache is taken in proportion where the
    provider does not say, as Gemini itself does; the second value tells whether that was needed.
    """
    cache_read = min(usage.cache_read_tokens or 0, total_input)
    cache_write = min(usage.cache_write_tokens or 0, total_input - cache_read)
    write_1h = min(usage.cache_write_1h_tokens or 0, cache_write)
    counts = {"cache_write": cache_write - write_1h, "cache_write_1h": write_1h}
    fresh, cached = total_input - cache_read - cache_write, cache_read
    apportioned = False
    for name, in_cache, count, reported in (
        ("input_audio", "cache_read_audio", usage.input_audio_tokens, usage.cache_read_audio_tokens),
        ("input_image", "cache_read_image", usage.input_image_tokens, usage.cache_read_image_tokens),
        ("input_video", "cache_read_video", usage.input_video_tokens, None),
    ):
        if not count or (name not in rates and in_cache not in rates):
            continue
        if reported is None and cache_read:
            reported = (2 * count * cache_read + total_input) // (2 * total_input)
            apportioned |= count < total_input and cache_read < total_input
        counts[in_cache] = from_cache = min(reported or 0, count, cached)
        counts[name] = min(count - from_cache, fresh)
        cached -= from_cache
        fresh -= counts[name]
    counts["cache_read"], counts["input"] = cached, fresh

    left = usage.output_tokens or 0
    for name, count in (
        ("output_audio", usage.output_audio_tokens),
        ("output_image", usage.output_image_tokens),
        ("output_video", usage.output_video_tokens),
        ("reasoning", usage.reasoning_tokens),
    ):
        if count and name in rates:
            counts[name] = min(count, left)
            left -= counts[name]
    counts["output"] = left
    return {name: counts[name] for name in PER_MILLION if counts.get(name)}, apportioned


# --- reading a file ---------------------------------------------------------------------------------------------------

_AMOUNT = re.compile(r"\d{1,9}(\.\d{1,12})?|\.\d{1,12}")
"""Room for any price, and few enough digits that no product with a count is ever rounded."""


def _scalar(node: yaml.Node) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else ""


def _shown(text: str) -> str:
    return repr(text) if text else "this"


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PricingError(
            f"{path}: cannot be read ({error.strerror}); check `pricing` in metrion.yaml and the file's permissions"
        ) from error


class _File:
    """Reads one file. Works on YAML's nodes, so that every number stays text and every error has its line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, text: bytes) -> dict[str, list[_Entry]]:
        try:
            root = yaml.compose(text.decode(), Loader=_Loader)
        except UnicodeDecodeError as error:
            raise PricingError(f"{self._path}: is not UTF-8; save it as UTF-8") from error
        except yaml.MarkedYAMLError as error:
            line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
            raise PricingError(f"{self._path}{line}: is not valid YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise PricingError(f"{self._path}: is not valid YAML: {' '.join(str(error).split())}") from error
        if root is None:
            return {}
        providers: dict[str, list[_Entry]] = {}
        for name, models in self._pairs(root, "the file", "providers, and under each its models"):
            provider = canonical_name(name)
            if provider in providers:
                raise self._error(models, name, f"{provider} stands here twice; put its models under one name")
            providers[provider] = [
                self._entry(model, block, f"{name} > {model}")
                for model, block in self._pairs(models, name, "models, as in `my-model: {input: 1.50, output: 6}`")
            ]
            self._check_names(models, name, providers[provider])
        return providers

    def _entry(self, model: str, block: yaml.Node, where: str) -> _Entry:
        if model in RATES and isinstance(block, yaml.ScalarNode):
            raise self._error(block, where, "is no model; a provider stands above its models, as in `openai:`")
        keys = self._block(block, where, _ENTRY_KEYS)
        if "rates" in keys:
            if inline := next((key for key in keys if key in _PERIOD_KEYS), None):
                raise self._error(
                    keys[inline], f"{where} > {inline}", "goes into an item of `rates`, which is there too"
                )
            periods = self._periods(keys["rates"], f"{where} > rates")
        else:
            periods = (self._period({key: keys[key] for key in keys if key in _PERIOD_KEYS}, block, where),)
        tiers = {}
        if "service_tiers" in keys:
            where = f"{where} > service_tiers"
            for tier, node in self._pairs(keys["service_tiers"], where, "service tiers, as in `batch: {input: 0.75}`"):
                tiers[tier.lower()] = self._periods(node, f"{where} > {tier}")
        names = [name.lower() for name in self._strings(keys.get("match"), f"{where} > match")]
        return _Entry(
            model=model.lower(),
            names=tuple(name for name in names if not _WILDCARD.search(name)),
            patterns=tuple(name for name in names if _WILDCARD.search(name)),
            exclusions=tuple(name.lower() for name in self._strings(keys.get("not"), f"{where} > not")),
            periods=periods,
            service_tiers=tiers,
        )

    def _periods(self, node: yaml.Node, where: str) -> tuple[_Period, ...]:
        blocks = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not blocks:
            raise self._error(node, where, "is empty; give it rates, or leave it out")
        return tuple(self._period(self._block(block, where, _PERIOD_KEYS), block, where) for block in blocks)

    def _period(self, keys: Mapping[str, yaml.Node], block: yaml.Node, where: str) -> _Period:
        since, until = (self._day(keys.get(key), f"{where} > {key}") for key in ("from", "until"))
        if since and until and until <= since:
            raise self._error(keys["until"], f"{where} > until", f"{until} is not after `from`, {since}")
        rates = {key: _Rate(self._amount(keys[key], f"{where} > {key}")) for key in RATES if key in keys}
        if "above" in keys:
            rates |= self._above(keys["above"], rates, f"{where} > above")
        fees = {}
        if "fees" in keys:
            for name, node in self._pairs(keys["fees"], f"{where} > fees", "fees, as in `web_search: 10`"):
                fees[name] = self._amount(node, f"{where} > fees > {name}")
        if not rates and not fees:
            raise self._error(block, where, "has no rate; give it one, as in `{input: 1.50, output: 6}`; 0 is free")
        return _Period(since, until, rates, fees)

    def _above(self, node: yaml.Node, rates: Mapping[str, _Rate], where: str) -> dict[str, _Rate]:
        tiered = dict[str, _Rate]()
        steps = []
        for key, block in self._pairs(node, where, "thresholds, as in `200000: {input: 3}`"):
            if not key.isdecimal():
                raise self._error(block, f"{where} > {key}", "is no number of input tokens, such as 200000")
            steps.append((int(key), self._block(block, f"{where} > {key}", frozenset(rates)), f"{where} > {key}"))
        for threshold, keys, step in sorted(steps, key=lambda step: step[0]):
            for name, rate in keys.items():
                before = tiered.get(name, rates[name])
                amount = self._amount(rate, f"{step} > {name}")
                tiered[name] = _Rate(before.base, (*before.above, (threshold, amount)))
        return tiered

    def _check_names(self, node: yaml.Node, where: str, entries: Sequence[_Entry]) -> None:
        owners: dict[str, _Entry] = {}
        for entry in entries:
            for name in (entry.model, *entry.names, *entry.patterns):
                if (owner := owners.setdefault(name, entry)) is not entry:
                    raise self._error(node, where, f"{owner.model} and {entry.model} both go by {name}; keep one")

    def _pairs(self, node: yaml.Node, where: str, expected: str) -> Iterator[tuple[str, yaml.Node]]:
        """Yield the keys of a mapping with their values; a key that stands there twice is an error."""
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, where, f"must hold {expected}")
        seen = set[str]()
        for key, value in node.value:
            name = key.value
            if not isinstance(key, yaml.ScalarNode) or not name:
                raise self._error(key, where, f"must hold {expected}")
            if name in seen:
                raise self._error(key, f"{where} > {name}", "stands here twice; keep one of them")
            seen.add(name)
            yield name, value

    def _block(self, node: yaml.Node, where: str, known: frozenset[str]) -> dict[str, yaml.Node]:
        keys = dict(self._pairs(node, where, "rates, as in `{input: 1.50, output: 6}`"))
        for key in keys:
            if key not in known:
                raise self._error(
                    keys[key], f"{where} > {key}", f"is not known here; known are {', '.join(sorted(known))}"
                )
        return keys

    def _amount(self, node: yaml.Node, where: str) -> Decimal:
        text = _scalar(node)
        if text.startswith("-") and _AMOUNT.fullmatch(text[1:]):
            raise self._error(node, where, f"{text} is negative; a rate is 0 or more")
        if not _AMOUNT.fullmatch(text):
            raise self._error(node, where, f"{_shown(text)} is not an amount in US dollars, such as 1.50; 0 is free")
        return Decimal(text)

    def _day(self, node: yaml.Node | None, where: str) -> date | None:
        if node is None:
            return None
        text = _scalar(node)
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise self._error(node, where, f"{_shown(text)} is not a day, such as 2026-03-13") from error

    def _strings(self, node: yaml.Node | None, where: str) -> list[str]:
        nodes = [] if node is None else node.value if isinstance(node, yaml.SequenceNode) else [node]
        for item in nodes:
            if not isinstance(item, yaml.ScalarNode) or not item.value:
                raise self._error(item, where, "must be a name, a pattern such as `gpt-4o-*`, or a list of them")
        return [item.value for item in nodes]

    def _error(self, node: yaml.Node, where: str, problem: str) -> PricingError:
        return PricingError(f"{self._path}, line {node.start_mark.line + 1}: {where}: {problem}")
