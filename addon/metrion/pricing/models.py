"""A model's name, as a response or a request has it → the entry that prices it.

A :class:`Models` holds the entries of one provider. A name is an entry's own, an alias, or covered by a pattern;
nothing else is tried, so a model that no file names has no entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from metrion.pricing.prices import Entry
from metrion.providers import VENDORS

_RESOURCE_NAME = re.compile(r"(?:.*/)?models/(.+)")
"""``models/M`` (Gemini), ``publishers/google/models/M`` (Vertex)."""

_DATED = re.compile(r"(.+?)[-@](20\d\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])")
"""A snapshot: ``-2024-07-18``, ``-20251001``, ``@20250929``."""

_WILDCARD = re.compile(r"\*|\?|\[[^\]]*\]")


def is_pattern(name: str) -> bool:
    """Whether a name in a price file covers others: it has ``*``, ``?`` or a set such as ``[0-9]``."""
    return _WILDCARD.search(name) is not None


def spellings(model: str, provider: str) -> Iterator[str]:
    """Yield the names under which a price file may have a reported model, the most specific first."""
    model = model.lower()
    yield model
    vendor, slash, rest = model.partition("/")
    if resource := _RESOURCE_NAME.fullmatch(model):
        model = resource[1]
        yield model
    elif slash and (vendor in VENDORS or vendor == provider):
        model = rest
        yield model
    if dated := _DATED.fullmatch(model):
        yield "-".join(dated.groups())
        yield dated[1]


def is_same(model: str, other: str | None, provider: str) -> bool:
    """Whether two names are of one model: with or without a date, ``-latest`` or a vendor, or spelled otherwise."""
    return other is not None and bare_name(model, provider) == bare_name(other, provider)


def bare_name(model: str, provider: str) -> str:
    """Return what all spellings of one model have in common: no date, ``-latest`` or vendor, and hyphens alone."""
    *_, name = spellings(model, provider)
    return name.removesuffix("-latest").replace(".", "-").replace("@", "-")


class Models:
    """The entries of one provider, by the names of their models. Filled while a book is made, then only read."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, Entry] = {}
        self._patterns: list[tuple[str, str, Entry]] = []

    def add(self, entry: Entry) -> None:
        """Add an entry, in place of one of the same model. It keeps that one's other names if it has none."""
        replaced = self._entries.pop(entry.model, None)
        if replaced and not (entry.names or entry.patterns):
            entry = Entry(
                entry.model, replaced.names, replaced.patterns, replaced.exclusions, entry.periods, entry.service_tiers
            )
        self._entries[entry.model] = entry

    def index(self) -> None:
        """Prepare for :meth:`find`. A model's own name beats another's alias, and later entries beat earlier ones."""
        for entry in self._entries.values():
            self._names.update(dict.fromkeys(entry.names, entry))
        self._names.update(self._entries)
        self._patterns = [
            (max(_WILDCARD.split(pattern), key=len), pattern, entry)
            for entry in reversed(self._entries.values())
            for pattern in entry.patterns
        ]
        self._patterns.sort(key=lambda row: len(_WILDCARD.sub("", row[1])), reverse=True)

    def names(self) -> frozenset[str]:
        """Return every name that a model has in the files, patterns left out."""
        return frozenset(self._names)

    def find(self, name: str) -> Entry | None:
        """Return the entry that has exactly this name, else the one whose longest pattern covers it."""
        if entry := self._names.get(name):
            return entry
        for literal, pattern, entry in self._patterns:
            if (
                literal in name
                and fnmatchcase(name, pattern)
                and not any(fnmatchcase(name, exclusion) for exclusion in entry.exclusions)
            ):
                return entry
        return None
