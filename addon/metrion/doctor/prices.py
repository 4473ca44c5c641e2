"""The price files: whether they can be used, how old they are, and which providers have no price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import yaml

from metrion.doctor.findings import Finding, Subject, counted, fail, ok, warn
from metrion.errors import PricingError
from metrion.pricing import PriceBook
from metrion.providers import canonical_name

_PRICES_AGE = timedelta(days=60)
"""Prices that nobody has checked for longer may be out of date."""


def prices(subject: Subject) -> Iterator[Finding]:
    """Report the mistakes in the price files, what they price, and when they were last checked."""
    settings = subject.settings
    try:
        book = PriceBook.load(settings.pricing, without_allowance=settings.without_allowance)
    except PricingError as error:
        yield fail(f"prices: {error}", "correct it: `metrion serve` does not start with it")
        return
    models, priced = 0, set[str]()
    for path in settings.pricing:
        document = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader) or {}  # noqa: S506 -- it makes nothing but text
        models += sum(len(entries) for entries in document.values())
        named = {canonical_name(name) for name in document}
        priced |= named
        if strangers := sorted(named - settings.providers.keys()):
            yield warn(
                f"prices: {path} has prices for {', '.join(strangers)}, but no such provider is configured",
                f"these price nothing: check the name; known: {', '.join(settings.providers)}",
            )
        checked = max((day for day in map(_day, _checked(document)) if day), default=None)
        if checked and subject.now.date() - checked > _PRICES_AGE:
            yield warn(
                f"prices: {path} was last checked on {checked}",
                "update Metrion, or put what has changed into a file of your own (docs/pricing.md)",
            )
    yield ok(f"prices: {counted(models, 'model')} in {', '.join(map(str, settings.pricing))} (version {book.version})")
    if without := [name for name in settings.providers if name not in priced]:
        yield warn(
            f"prices: none for any model of {', '.join(without)}",
            "give them one in a file of your own, named after Metrion's: `pricing: [pricing.yaml, my-prices.yaml]` "
            "(docs/pricing.md)",
        )


def _checked(document: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for entries in document.values():
        for entry in entries.values():
            if "checked" in entry:
                yield str(entry["checked"])


def _day(text: str) -> date | None:
    with suppress(ValueError):
        return date.fromisoformat(text)
    return None
