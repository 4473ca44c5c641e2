"""A usage whose counts may contradict one another → one in which none does.

A part is never larger than its whole. Where one is, both are in doubt: the part becomes ``None``, and so does the whole
unless the provider's total has confirmed it. The reader records a warning for each, so that no cost is computed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage

_PARTS = (
    ("input_tokens", ("cache_read_tokens", "cache_write_tokens")),
    ("input_tokens", ("input_audio_tokens", "input_image_tokens", "input_video_tokens")),
    ("output_tokens", ("reasoning_tokens",)),
    ("output_tokens", ("output_audio_tokens", "output_image_tokens", "output_video_tokens")),
    ("cache_write_tokens", ("cache_write_1h_tokens",)),
    ("cache_read_tokens", ("cache_read_audio_tokens", "cache_read_image_tokens")),
    ("input_audio_tokens", ("cache_read_audio_tokens",)),
    ("input_image_tokens", ("cache_read_image_tokens",)),
)
"""Each whole, and parts of it that do not overlap."""
_CONFIRMED = frozenset({"input_tokens", "output_tokens"})
"""Wholes that the provider's total is made of."""


def consistent(reader: UsageReader, usage: Usage) -> Usage:
    """Return the usage, and each of its shares, without counts that contradict one another."""
    usage = _consistent(reader, usage)
    if not usage.shares:
        return usage
    found = tuple((model, _consistent(reader, share)) for model, share in usage.shares)
    return usage if found == usage.shares else replace(usage, shares=found)


def _consistent(reader: UsageReader, usage: Usage) -> Usage:
    gone: dict[str, Any] = {}
    for name, parts in _PARTS:
        whole = getattr(usage, name)
        if whole is None:
            continue
        known = [part for part in parts if getattr(usage, part)]
        if known and sum(getattr(usage, part) for part in known) > whole:
            reader.contradict(*known[:1], by=name)
            gone |= dict.fromkeys(known)
            if name in _CONFIRMED and not reader.adds_up:
                gone[name] = None
    return replace(usage, **gone) if gone else usage
