"""Two price files → what differs between them: models that are added or removed, and rates that change.

Pure. What a model costs is compared as of one day, under every service tier; what differs otherwise, such as a name or
a day, is named as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from metrion.pricing.prices import Entry, Period, Rate

type Book = Mapping[str, Sequence[Entry]]
"""Entries by provider, as :func:`metrion.pricing.files.read_entries` returns them."""


class Change(NamedTuple):
    """One rate of a model before and after, as text; empty: there is none."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs. Models are named ``provider/model``."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[Change, ...]]
    """By model; empty: something else than a rate of that day differs."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def changes(before: Book, after: Book, day: date) -> Changes:
    """Compare two files, as of one day."""
    old, new = dict(_by_name(before)), dict(_by_name(after))
    return Changes(
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        {
            name: tuple(_compared(old[name], new[name], day))
            for name in sorted(old.keys() & new.keys())
            if old[name] != new[name]
        },
    )


def rates_of(entry: Entry, day: date) -> dict[str, str]:
    """Return what a model costs on a day: amounts as text, by rate or fee, with the service tier before it."""
    shown = dict(_rates(entry.prices(day, ""), ""))
    for tier in entry.service_tiers:
        special = dict(_rates(entry.prices(day, tier), f"{tier} "))
        shown |= {name: text for name, text in special.items() if shown.get(name.removeprefix(f"{tier} ")) != text}
    return shown


def _by_name(book: Book) -> Iterator[tuple[str, Entry]]:
    for provider, entries in book.items():
        yield from ((f"{provider}/{entry.model}", entry) for entry in entries)


def _compared(before: Entry, after: Entry, day: date) -> Iterator[Change]:
    old, new = rates_of(before, day), rates_of(after, day)
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield Change(name, old.get(name, ""), new.get(name, ""))


def _rates(prices: Period | None, prefix: str) -> Iterator[tuple[str, str]]:
    if prices is None:
        return
    yield from ((f"{prefix}{name}", _amount(rate)) for name, rate in prices.rates.items())
    yield from ((f"{prefix}{name} (per 1,000)", f"{fee.normalize():f}") for name, fee in prices.fees.items())


def _amount(rate: Rate) -> str:
    steps = (
        f", above {threshold}: {'none' if step is None else f'{step.normalize():f}'}" for threshold, step in rate.above
    )
    return f"{rate.base.normalize():f}{''.join(steps)}"
