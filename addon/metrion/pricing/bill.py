"""A usage and prices → the parts of a cost.

Pure functions. Every part is rounded half-even to 12 places and no float is on the way. What the prices do not cover
makes no bill at all: nothing is left out silently, and nothing is counted as 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import reduce
from operator import attrgetter
from types import MappingProxyType

from metrion.model import Usage
from metrion.model.record import record
from metrion.pricing.prices import AUDIO_HOUR, PER_MILLION, PER_REQUEST, Period, Rate

_AUDIO = "audio"
"""The part of a cost that is billed by the length of the audio."""

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
"""The provider's name for what it counts, and the fee for it. A name that is missing here is the name of its fee."""

_WIDER_FEES: Mapping[str, str] = {"web_search_preview": "web_search"}
"""Which fee is due for a tool that has no fee of its own."""

_INSTEAD_OF: Mapping[str, str] = {
    "annotated_pages_processed": "pages_processed",
    "web_search_preview_calls": "web_search.num_requests",
}
"""What the provider counts twice, and the wider count in place of which it is billed."""

_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""Our own, so that a change to the thread's context does not change a cost. 60 digits hold any product exactly."""

_TWELVE_PLACES = Decimal("1E-12")
_NOTHING = Decimal("0E-12")
_MILLIONTH = Decimal("1E-6")
_THOUSANDTH = Decimal("1E-3")
_HOUR = Decimal(3_600)
_LARGEST_COUNT = 2**63 - 1
"""No provider bills more than this of anything; a larger number is not a count."""
_MOST_DOLLARS = 1_000_000
"""No response costs as much, and no column holds more."""


@record(frozen=True, slots=True)
class Bill:
    """What a usage costs, part by part."""

    parts: Mapping[str, Decimal]
    apportioned: bool
    """A split that matters to the cost was not reported and has been assumed."""

    def total(self) -> Decimal:
        """Return the sum of the parts."""
        return reduce(_CONTEXT.add, self.parts.values(), _NOTHING)


def compute_bill(usage: Usage, prices: Period, *, is_request: bool) -> Bill | None:
    """Compute the parts of a cost; ``None`` when something was used that these prices do not cover.

    ``is_request`` says whether the fee of a request is due.
    """
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
        parts[_AUDIO] = _rounded(
            _CONTEXT.divide(_CONTEXT.multiply(prices.rates[AUDIO_HOUR].base, Decimal(repr(usage.audio_seconds))), _HOUR)
        )
    used = {PER_REQUEST: int(is_request)}
    for tool, count in _calls(usage).items():
        fee = _FEES.get(tool, tool)
        fee = fee if fee in prices.fees else _WIDER_FEES.get(fee, fee)
        used[fee] = used.get(fee, 0) + count
    for name, rate_of_fee in prices.fees.items():
        if used.get(name):
            parts[name] = _part(rate_of_fee, used[name], _THOUSANDTH)
    if not parts and (counts or usage.audio_seconds or sum(used.values()) > is_request):
        return None  # what was reported is in other units than the price
    return Bill(parts, apportioned)


def combined(bills: Iterable[tuple[str, Bill]]) -> Bill:
    """Add bills up. The text that comes with a bill goes before the names of its parts."""
    parts: dict[str, Decimal] = {}
    apportioned = False
    for prefix, each in bills:
        for name, amount in each.parts.items():
            key = prefix + name
            parts[key] = _CONTEXT.add(parts.get(key, _NOTHING), amount)
        apportioned |= each.apportioned
    return Bill(parts, apportioned)


def is_amount(usd: Decimal) -> bool:
    """Whether a response can cost this, and a column hold it."""
    return usd.is_finite() and usd.copy_abs() < _MOST_DOLLARS


def charged_amount(usage: Usage) -> Decimal | None:
    """Return what the provider says it charged, where that is an amount."""
    charged = usage.provider_cost_usd
    return None if charged is None or not is_amount(charged) else _rounded(charged)


def is_known(usage: Usage) -> bool:
    """Whether anything that can be billed was reported, and every number of it can be a count.

    Where a usage has shares, each of them must be known, with both its input and its output.
    """
    if usage.shares is None:
        return _is_known(usage, both_sums=usage.largest_input_tokens is not None)
    return all(_is_known(share, both_sums=True) for _, share in usage.shares or ((None, usage),))


def _is_known(usage: Usage, *, both_sums: bool) -> bool:
    if both_sums and None in (usage.input_tokens, usage.output_tokens):
        return False
    tools = _calls(usage).values()
    billed = [count for count in (*_billable(usage), *tools) if count is not None]
    for count in (*billed, *_subsets(usage)):
        if count is not None and not 0 <= count <= _LARGEST_COUNT:
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
    for part, whole in _INSTEAD_OF.items():
        if part in calls and whole in calls:
            calls[whole] = max(0, calls[whole] - calls[part])
    return calls


def _token_counts(usage: Usage, total_input: int, rates: Mapping[str, Rate]) -> tuple[dict[str, int], bool]:
    """Split input and output into classes that do not overlap, and leave out what is 0.

    A part that is larger than its whole is cut down to it: cache reads first, then cache writes. A modality is split
    off only where it has a rate. Where the provider does not report how much of a modality came from the cache, a
    share in proportion is assumed, as Gemini itself does; the second value says whether that was needed.
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


def _rounded(amount: Decimal) -> Decimal:
    return _CONTEXT.quantize(amount, _TWELVE_PLACES)


def _part(rate: Decimal, count: int, unit: Decimal) -> Decimal:
    """Return the cost of so many at this rate, which is for 1 / ``unit``. Nothing is rounded before the end."""
    return _rounded(_CONTEXT.multiply(_CONTEXT.multiply(rate, count), unit))
