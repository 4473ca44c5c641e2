"""Why a request cost what it did: a row in; each part of its cost with its rate, its count and its price entry out.

A rate and a count are given only where their product is the part: what the price files no longer explain is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from metrion.pricing import PriceBook
from metrion.pricing.bill import explained_part
from metrion.pricing.model_names import how_named
from metrion.pricing.prices import Entry
from metrion.repricing.usages import Usages
from metrion.settings import Settings

_BY: Mapping[str, str] = {
    "own": "it is the model {which}, {model}",
    "alias": "its alias {name} is the model {which}, {model}",
    "pattern": "its pattern {name} covers the model {which}, {model}",
    "spelling": "it is another spelling of the model {which}, {model}",
}


def explained(settings: Settings, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of the cost, each with its rate and count where the price files still give it, and the entry.

    :raises PricingError: a price file cannot be read.
    """
    prices = PriceBook.load(settings.pricing, without_allowance=settings.without_allowance)
    usage, _ = Usages(settings).rebuilt(row)
    parts: list[dict[str, Any]] = []
    entries: dict[str, dict[str, Any]] = {}
    shares = dict(usage.shares or ())
    for name, amount in (row["cost_parts"] or {}).items():
        other, _, own = name.rpartition(":")
        share = shares.get(other or row["model"], shares.get(None, usage)) if shares else usage
        model, requested = other or row["model"], None if other else row["model_requested"]
        found = prices.priced_by(
            provider=row["provider"],
            model=model,
            model_requested=requested,
            usage=share,
            when=row["started_at"],
            service_tier=row["service_tier"],
        )
        part: dict[str, Any] = {"part": name, "usd": amount, "count": None, "rate_usd": None, "per": None}
        if found and found[1] and (product := explained_part(own, amount, share, found[1])):
            rate, count, unit = product
            part |= {"count": count, "rate_usd": rate, "per": unit}
        part["entry"] = found[0].model if found else None
        if found:
            because = _because(found[0], row["provider"], {"served": model, "requested": requested})
            entries[found[0].model] = {
                "entry": found[0].model,
                **_source(settings.pricing, row["provider"], found[0].model),
                "because": because,
            }
            if found[1]:
                entries[found[0].model] |= {"since": found[1].since, "until": found[1].until}
        parts.append(part)
    return {
        "parts": parts,
        "prices": list(entries.values()),
        "recorded_price_version": row["price_version"],
        "price_version": prices.version,
    }


def _because(entry: Entry, provider: str, models: Mapping[str, str | None]) -> str | None:
    """Say which of the names, in the order in which they are looked for, led to the entry, and how."""
    for which, model in models.items():
        if model and (found := how_named(entry, model, provider)):
            how, name = found
            return _BY[how].format(which=which, name=name, model=model)
    return None


def _source(files: Sequence[Path], provider: str, entry: str) -> dict[str, Any]:
    """Return where a price file says that an entry's prices are from, and when that was looked at."""
    found: dict[str, Any] = {"file": None, "source": None, "checked": None}
    for file in files:
        content = yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}  # noqa: S506 -- both are safe loaders
        entries = content.get(provider) or {}
        if isinstance(entries.get(entry), Mapping):
            found = {"file": file.name, **{name: entries[entry].get(name) for name in ("source", "checked")}}
    return found
