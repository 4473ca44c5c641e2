"""What a usage reports as written to caches, by any of the names that servers have for it, and how long it lives.

A split by lifetime that does not add up to what was written is contradicted: how long the writes live is then not
known, and neither is what they cost.
"""

from __future__ import annotations

from metrion.dialects.reading.usage_reader import UsageReader

NAMES = (
    "cache_write_tokens",
    "cache_creation_tokens",
    "cache_creation_input_tokens",
    "cached_creation_tokens",
    "cache_write_input_tokens",
    "prompt_cache_write_tokens",
    "cacheWriteInputTokens",
)
"""What was written, in a usage or in the details of its input."""
LIFETIMES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")

_SPLITS = (
    "cache_creation",
    "cache_creation_tokens_details",
    "cache_creation_token_details",
    "cache_write_tokens_details",
)
"""Objects in which the lifetimes may be; they may also be beside the count."""
_FLAT = (LIFETIMES, ("claude_cache_creation_5_m_tokens", "claude_cache_creation_1_h_tokens"))
_RARE = frozenset({*NAMES[1:], *_SPLITS, *(name for names in _FLAT for name in names)})
_BESIDE = _RARE | {NAMES[0]}

type Written = tuple[int | None, int | None]
"""All that was written, and the part that lives an hour."""


def cache_writes(reader: UsageReader, written: int | None, details: str) -> Written:
    """Return what was written. ``written`` is the count in these details by the name that most servers have for it."""
    in_details, beside = reader.has_any(_RARE, details), reader.has_any(_BESIDE)
    if not (in_details or beside):
        return written, None
    paths: list[tuple[str, ...]] = [(details, name) for name in NAMES[1:]] if in_details else []
    paths += [(name,) for name in NAMES] if beside else []
    counts = [written, *(reader.count(*path) for path in paths)]
    known = {count for count in counts if count}
    if len(known) > 1:
        reader.contradict(*next(path for path in paths if reader.count(*path)), by="another count of the same")
        return None, None
    total = known.pop() if known else next((count for count in counts if count is not None), None)
    for place in ((details,), ()):
        for split in (*((*place, name) for name in _SPLITS), place):
            for names in _FLAT:
                if any(reader.has(*split, name) for name in names):
                    return by_lifetime(reader, total, [reader.count(*split, name) for name in names], *split, names[0])
    return total, None


def by_lifetime(reader: UsageReader, written: int | None, lifetimes: list[int | None], *path: str) -> Written:
    """Return what was written, given how it is split into short and long lives at this path."""
    short, long = lifetimes
    if short is None and long is None:
        return written, None
    known = (short or 0) + (long or 0)
    if written is None:
        return known, long
    if known == written or (None in lifetimes and known < written):
        return written, long
    reader.contradict(*path, by="what was written in all")
    return written if known < written else None, None
