"""The price files: whether they can be used, how old they are, and which providers have no price."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import yaml

from metrion.doctor.findings import Finding, Subject, counted, fail, ok, warn
from metrion.errors import PricingError
from metrion.pricing import PriceBook
from metrion.pricing.files import last_checked, read_bytes
from metrion.providers import canonical_name
from metrion.settings.values import built_in_pricing, own_prices

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
        checked = last_checked(path.read_bytes())
        if checked and subject.now.date() - checked > _PRICES_AGE:
            yield warn(
                f"prices: {path} was last checked on {checked}",
                "update Metrion, or put what has changed into a file of your own (docs/pricing.md)",
            )
    (shipped,) = built_in_pricing()
    newer, used = last_checked(read_bytes(shipped)), own_prices(settings.home)
    if used in settings.pricing and newer and newer > (last_checked(read_bytes(used)) or date.min):
        yield warn(
            f"prices: {used} is older than the prices that Metrion comes with (checked until {newer})",
            f"remove it, or run `metrion prices update {shipped}`",
        )
    yield ok(f"prices: {counted(models, 'model')} in {', '.join(map(str, settings.pricing))} (version {book.version})")
    if without := [name for name in settings.providers if name not in priced]:
        yield warn(
            f"prices: none for any model of {', '.join(without)}",
            "give them one in a file of your own, named after Metrion's: `pricing: [pricing.yaml, my-prices.yaml]` "
            "(docs/pricing.md)",
        )
