"""Usages that only grow, of an agent's session: what was added since an earlier answer told them.

In: the usage of an answer, and that of the answer before it. Out: one document of both, which a row keeps as its usage,
and the usage that is the difference. The first answer's usage is kept as the provider wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import to_json

_NOW, _BEFORE = "now", "before"
_COUNTS = tuple(each.name for each in fields(Usage) if each.name.endswith("_tokens"))


def both(now: str, before: str) -> tuple[Mapping[str, Any], str]:
    """Return two usages, each as JSON text, as one document and as its text."""
    document = {name: json.loads(text, parse_float=Decimal) for name, text in ((_NOW, now), (_BEFORE, before))}
    return document, to_json(document)


def usage(reader: UsageReader, read: Callable[[UsageReader], Usage]) -> Usage:
    """Read a usage, or the difference of :func:`both`. ``read`` reads one of them."""
    told = reader.objects()
    if told is None or told.keys() != {_NOW, _BEFORE}:
        return read(reader)
    now, before = read(told[_NOW]), read(told[_BEFORE])
    counts: dict[str, Any] = {name: _since(reader, name, getattr(now, name), getattr(before, name)) for name in _COUNTS}
    return replace(
        now,
        **counts,
        server_tools=_tools_since(reader, now.server_tools, before.server_tools),
        provider_cost_usd=_dollars_since(now.provider_cost_usd, before.provider_cost_usd),
    )


def _since(reader: UsageReader, name: str, now: int | None, before: int | None) -> int | None:
    if now is None or before is None:
        return now
    if now < before:
        reader.contradict(_NOW, name, by="what it was before")
        return None
    return now - before


def _tools_since(
    reader: UsageReader, now: Mapping[str, int] | None, before: Mapping[str, int] | None
) -> dict[str, int] | None:
    if now is None:
        return None
    since = {name: _since(reader, name, count, (before or {}).get(name)) for name, count in now.items()}
    return {name: count for name, count in since.items() if count}


def _dollars_since(now: Decimal | None, before: Decimal | None) -> Decimal | None:
    return now if now is None or before is None else max(now - before, Decimal(0))
