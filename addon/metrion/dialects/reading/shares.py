"""The usages that one request is billed for → one :class:`~metrion.model.Usage` with its shares.

What has to be priced apart is a share of its own: another model, other modes, and, because rates for long contexts go
by the input of each response, responses with a long input. The counts add up everything that is billed; :func:`under`
leaves those of the response's own model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage

_SHORT = 64_000
"""Input tokens up to which no provider has other rates."""
_STEP = 1_000
"""Thresholds are multiples of this: two longer inputs within one step cost the same by the token."""

_WHOLE = ("input_tokens", "output_tokens")
"""Counts whose sum is not known if one of them is not."""
_LARGEST = "largest_input_tokens"
_COUNTS = tuple(each.name for each in fields(Usage) if each.name.endswith("_tokens") and each.name != _LARGEST)
TOOLS = ("server_tools", "unreported_tools")

type Kind = tuple[str | None, tuple[str, ...], int]
"""What usages must have in common to be priced together: model, modes, and about how long a long input is."""


def together(billed: Iterable[tuple[str | None, Usage]]) -> Usage:
    """Add up usages, each with the model that it is billed under; ``None``: that of the response."""
    kinds: dict[Kind, list[Usage]] = {}
    for model, usage in billed:
        kinds.setdefault(kind(model, usage), []).append(usage)
    shares = tuple((model, added_up(usages)) for (model, _, _), usages in kinds.items())
    total = added_up([share for _, share in shares])
    return total if len(shares) < 2 and all(model is None for model, _ in shares) else replace(total, shares=shares)


def under(model: str | None, usage: Usage) -> Usage:
    """Return the usage with the counts of what is billed under the response's own model, and with all of its shares.

    Where no share is the response's own, all are: the results of a batch, for instance, that several models made.
    """
    if not usage.shares:
        return usage
    own = [share for name, share in usage.shares if name is None or name == model]
    if not own:
        return usage
    counted = added_up(own)
    return replace(usage, **{name: getattr(counted, name) for name in (*_COUNTS, *TOOLS, _LARGEST, "averaged")})


def added_up(usages: Sequence[Usage]) -> Usage:
    """Return one usage with the sums of all counts: of a count that none of them reports, there is no sum."""
    if len(usages) == 1:
        return usages[0]
    sums: dict[str, Any] = {name: _sum([getattr(usage, name) for usage in usages]) for name in _COUNTS}
    for name in _WHOLE:
        if any(getattr(usage, name) is None for usage in usages):
            sums[name] = None
    for name in TOOLS:
        tools = [calls for usage in usages if (calls := getattr(usage, name)) is not None]
        sums[name] = dict(sum(map(Counter, tools), Counter[str]())) if tools else None
    seconds = [usage.audio_seconds for usage in usages if usage.audio_seconds is not None]
    return Usage(
        **sums,
        audio_seconds=sum(seconds) if seconds else None,
        modes=usages[0].modes if usages else None,
        largest_input_tokens=max(map(_largest, usages), default=None),
        averaged=any(usage.averaged for usage in usages) or None,
    )


def kind(model: str | None, usage: Usage) -> Kind:
    """Return what this usage has in common with those that it is priced together with."""
    largest = _largest(usage)
    return model, usage.modes or (), 0 if largest <= _SHORT else (largest - 1) // _STEP


def counts(usage: Usage) -> Mapping[str, Any]:
    """Return the usage as a JSON object, in the words of its own columns, for :func:`read`."""
    found = {name: getattr(usage, name) for name in (*_COUNTS, *TOOLS, _LARGEST)}
    found["audio_seconds"] = None if usage.audio_seconds is None else Decimal(repr(usage.audio_seconds))
    found["averaged"] = usage.averaged
    found["modes"] = None if usage.modes is None else list(usage.modes)
    return {name: value for name, value in found.items() if value is not None or name in _WHOLE}


def read(reader: UsageReader) -> Usage:
    """Read a usage that :func:`counts` has written."""
    found: dict[str, Any] = {name: reader.count(name) for name in _COUNTS}
    found |= {name: reader.calls(name) for name in TOOLS}
    return Usage(
        **found,
        audio_seconds=reader.seconds("audio_seconds"),
        modes=reader.texts("modes"),
        largest_input_tokens=reader.count(_LARGEST),
        averaged=reader.is_true("averaged") or None,
    )


def _largest(usage: Usage) -> int:
    return usage.largest_input_tokens or usage.input_tokens or 0


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
