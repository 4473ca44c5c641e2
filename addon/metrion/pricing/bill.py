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
from metrion.pricing.prices import AUDIO_HOUR, PAUSED_HOUR, PER_MILLION, PER_REQUEST, Period, Rate

_AUDIO, _PAUSED = "audio", "paused"
"""The parts of a cost that are billed by the length of the audio, and of the pauses in a session."""

REGIONAL = "regional"
"""The part of a cost that a regional endpoint adds."""

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

_FREE = frozenset(
    {
        "web_fetch_requests",  # https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-fetch-tool
        "mcp_calls",  # https://docs.x.ai/developers/pricing: billed by its tokens only
        "request_count",  # Mistral's moderations, which it counts and bills by the token: https://mistral.ai/pricing
    }
)
"""Calls that a provider counts and does not bill."""

_TOTALS = frozenset({"num_server_side_tools_used"})
"""Counts of all tools together: they cost nothing beside the tools, and have no price without them."""

_SECONDS = "prompt_audio_seconds"
"""Mistral's name for the seconds that it has heard, which its chat counts among the tools."""

_LEAST_HEARD = 10
"""Tokens of a second of audio, at least: Mistral's have twelve and a half. A shorter input is text alone."""

_APART = frozenset({"input_audio", "output_audio", "output_image"})
"""Classes that are never billed as the class they are part of."""

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
    estimated: bool = False
    """Something that matters to the cost was not reported and has been assumed."""
    missing: tuple[str, ...] = ()
    """What was used and has no price: token classes and tools. The parts are then not the whole cost."""
    uncertain: frozenset[str] = frozenset()
    """Parts that may not be due, because a free allowance may cover them."""

    def total(self) -> Decimal:
        """Return the sum of the parts."""
        return _sum(self.parts.values())

    def floor(self) -> Decimal:
        """Return what is due in any case."""
        return _sum(part for name, part in self.parts.items() if name not in self.uncertain)


def compute_bill(
    usage: Usage, prices: Period, *, is_request: bool, regional: bool = False, without_allowance: bool = False
) -> Bill:
    """Compute the parts of a cost, and what has none.

    ``is_request`` says whether the fee of a request is due, ``regional`` whether a regional endpoint was used,
    ``without_allowance`` that no free allowance is left.
    """
    seconds = _audio_seconds(usage)
    by_length = bool(seconds) and AUDIO_HOUR in prices.rates
    counts, estimated = _token_counts(usage, prices.rates, by_length=by_length)
    parts: dict[str, Decimal] = {}
    missing: list[str] = []
    if "input" in prices.rates or "output" in prices.rates:
        length = usage.largest_input_tokens or usage.input_tokens or 0
        estimated |= usage.averaged is True and prices.has_steps
        for name, count in counts.items():
            rate = prices.classes.get(name)
            amount = rate.at(length) if rate else None
            if amount is None:
                missing.append(name)
            else:
                parts[name] = _part(amount, count, _MILLIONTH)
        for name in _undivided(usage):
            side = name.partition("_")[0]
            if counts.get(side) and _differ(prices, name, side):
                missing.append(name)  # how much of this side it is was not reported
                parts.pop(side, None)
        if by_length and seconds and usage.input_audio_tokens is None and length >= _LEAST_HEARD * seconds:
            missing.append("input")  # how much of the input is text was not reported
            parts.pop("input", None)
    for name, hourly, length_of in ((_AUDIO, AUDIO_HOUR, seconds), (_PAUSED, PAUSED_HOUR, usage.paused_seconds)):
        if length_of and hourly in prices.rates:
            parts[name] = _by_the_hour(prices.rates[hourly].base, length_of)
        elif length_of:
            missing.append(name)
    fees, unknown = _due_fees(usage, prices, is_request=is_request)
    missing += unknown
    parts |= fees
    if not parts and not missing and (counts or seconds or fees):
        missing = [*counts] or [_AUDIO]  # what was reported is in other units than the price
    uncertain = frozenset() if without_allowance else prices.allowances & fees.keys()
    if regional:
        if prices.regional is None:
            estimated = True
        elif prices.regional != 1:
            parts[REGIONAL] = _rounded(_CONTEXT.multiply(_sum(parts.values()), prices.regional - 1))
    return Bill(parts, estimated or bool(uncertain), tuple(missing), uncertain)


def _undivided(usage: Usage) -> Iterable[str]:
    """Return what a response may have in it of which no count was reported."""
    drawn = ("output_image",) if usage.output_image_tokens is None else ()
    return (*drawn, *(usage.undivided or ()))


def explained_part(name: str, amount: Decimal, usage: Usage, prices: Period) -> tuple[Decimal, int, str] | None:
    """Return the rate, the count and the unit whose product is this part of a bill; ``None``: these prices do not."""
    counts, _ = _token_counts(usage, prices.rates, by_length=False)
    rate = prices.classes.get(name)
    per_million = rate.at(usage.largest_input_tokens or usage.input_tokens or 0) if rate else None
    if per_million is not None and name in counts and _part(per_million, counts[name], _MILLIONTH) == amount:
        return per_million, counts[name], "million"
    if fee := prices.fees.get(name):
        calls = int(amount * 1000 / fee)
        if _part(fee, calls, _THOUSANDTH) == amount:
            return fee, calls, "thousand"
    return None


def _differ(prices: Period, name: str, other: str) -> bool:
    return name in prices.rates and prices.rates[name] != prices.rates.get(other)


def combined(bills: Iterable[tuple[str, Bill]]) -> Bill:
    """Add bills up. The text that comes with a bill goes before the names of its parts."""
    parts: dict[str, Decimal] = {}
    estimated = False
    missing: list[str] = []
    uncertain = set[str]()
    for prefix, each in bills:
        for name, amount in each.parts.items():
            key = prefix + name
            parts[key] = _CONTEXT.add(parts.get(key, _NOTHING), amount)
        estimated |= each.estimated
        missing += [prefix + name for name in each.missing]
        uncertain |= {prefix + name for name in each.uncertain}
    return Bill(parts, estimated, tuple(missing), frozenset(uncertain))


def is_amount(usd: Decimal) -> bool:
    """Whether a response can cost this, and a column hold it."""
    return usd.is_finite() and usd.copy_abs() < _MOST_DOLLARS


def charged_amount(usage: Usage) -> Decimal | None:
    """Return what the provider says it charged, where that is an amount."""
    charged = usage.provider_cost_usd
    return None if charged is None or not is_amount(charged) else _rounded(charged)


def is_known(usage: Usage) -> bool:
    """Whether anything that can be billed was reported, and its numbers can all be true together.

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
    return bool(billed) and _is_consistent(usage)


def _is_consistent(usage: Usage) -> bool:
    """Whether no part is larger than its whole, and none is there without it."""
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    heard = (usage.input_audio_tokens or 0) + (usage.input_image_tokens or 0) + (usage.input_video_tokens or 0)
    made = (usage.output_audio_tokens or 0) + (usage.output_image_tokens or 0) + (usage.output_video_tokens or 0)
    total_input = cached if usage.input_tokens is None else usage.input_tokens
    return (
        max(cached, heard) <= total_input
        and max(made, usage.reasoning_tokens or 0) <= (usage.output_tokens or 0)
        and (usage.cache_write_1h_tokens or 0) <= (usage.cache_write_tokens or 0)
    )


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


def _audio_seconds(usage: Usage) -> float | int | None:
    return usage.audio_seconds or (usage.server_tools or {}).get(_SECONDS)


def _due_fees(usage: Usage, prices: Period, *, is_request: bool) -> tuple[dict[str, Decimal], list[str]]:
    """Return the fees that are due, and the tools that were called and have neither a fee nor are free."""
    used = {PER_REQUEST: int(is_request)}
    unknown: list[str] = []
    calls = _calls(usage)
    for tool, count in calls.items():
        fee = _FEES.get(tool, tool)
        fee = fee if fee in prices.fees else _WIDER_FEES.get(fee, fee)
        if fee in prices.fees:
            used[fee] = used.get(fee, 0) + count
        elif count and tool not in _FREE and tool != _SECONDS and not (tool in _TOTALS and len(calls) > 1):
            unknown.append(tool)
    return {name: _part(rate, used[name], _THOUSANDTH) for name, rate in prices.fees.items() if used.get(name)}, unknown


def _token_counts(usage: Usage, rates: Mapping[str, Rate], *, by_length: bool) -> tuple[dict[str, int], bool]:
    """Split input and output into classes that do not overlap, and leave out what is 0.

    A class that may be billed as a wider one is split off only where it has a rate.

    ``by_length``: audio that was heard is billed by its length, so that its tokens are not. Where the provider does not
    report how much of a modality came from the cache, a share in proportion is assumed, as Gemini itself does; the
    second value says whether that was needed.
    """
    cache_read, cache_write = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    total_input = cache_read + cache_write if usage.input_tokens is None else usage.input_tokens
    write_1h = usage.cache_write_1h_tokens or 0
    counts = {"cache_write": cache_write - write_1h, "cache_write_1h": write_1h}
    fresh, cached = total_input - cache_read - cache_write, cache_read
    assumed = False
    for name, in_cache, count, reported in (
        ("input_audio", "cache_read_audio", usage.input_audio_tokens, usage.cache_read_audio_tokens),
        ("input_image", "cache_read_image", usage.input_image_tokens, usage.cache_read_image_tokens),
        ("input_video", "cache_read_video", usage.input_video_tokens, None),
    ):
        if not count or not (name in _APART or name in rates or in_cache in rates):
            continue
        if reported is None and cache_read:
            reported = (2 * count * cache_read + total_input) // (2 * total_input)
            assumed |= count < total_input and cache_read < total_input
        counts[in_cache] = from_cache = min(reported or 0, count, cached)
        counts[name] = min(count - from_cache, fresh)
        cached -= from_cache
        fresh -= counts[name]
    counts["cache_read"], counts["input"] = cached, fresh
    if by_length:
        counts["input_audio"] = counts["cache_read_audio"] = 0

    left = usage.output_tokens or 0
    for name, count in (
        ("output_audio", usage.output_audio_tokens),
        ("output_image", usage.output_image_tokens),
        ("output_video", usage.output_video_tokens),
        ("reasoning", usage.reasoning_tokens),
    ):
        if count and (name in _APART or name in rates):
            counts[name] = min(count, left)
            left -= counts[name]
    counts["output"] = left
    return {name: counts[name] for name in PER_MILLION if counts.get(name)}, assumed


def _by_the_hour(rate: Decimal, seconds: float) -> Decimal:
    return _rounded(_CONTEXT.divide(_CONTEXT.multiply(rate, Decimal(repr(seconds))), _HOUR))


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return reduce(_CONTEXT.add, amounts, _NOTHING)


def _rounded(amount: Decimal) -> Decimal:
    return _CONTEXT.quantize(amount, _TWELVE_PLACES)


def _part(rate: Decimal, count: int, unit: Decimal) -> Decimal:
    """Return the cost of so many at this rate, which is for 1 / ``unit``. Nothing is rounded before the end."""
    return _rounded(_CONTEXT.multiply(_CONTEXT.multiply(rate, count), unit))
