"""A model's name, as a response or a request has it → the entry that prices it.

A :class:`Models` holds the entries of one provider. A name is an entry's own, an alias, or covered by a pattern;
nothing else is tried, so a model that no file names has no entry. What customers call their fine-tuned models is not
part of a name.
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

_DEFAULT_VERSION = "@default"
"""What Vertex AI puts after the name of a model of which no version is asked for."""

_FINE_TUNED = "ft:"
"""What a fine-tuned model begins with: ``ft:BASE:ORGANISATION:SUFFIX:ID``. All after the base is free text."""

_WILDCARD = re.compile(r"\*|\?|\[[^\]]*\]")


def is_pattern(name: str) -> bool:
    """Whether a name in a price file covers others: it has ``*``, ``?`` or a set such as ``[0-9]``."""
    return _WILDCARD.search(name) is not None


def spellings(model: str, provider: str) -> Iterator[str]:
    """Yield the names under which a price file may have a reported model, the most specific first."""
    model = model.lower()
    yield model
    if model.startswith(_FINE_TUNED):
        yield from _fine_tuned(model)
        return
    vendor, slash, rest = model.partition("/")
    if resource := _RESOURCE_NAME.fullmatch(model):
        model = resource[1]
        yield model
    elif slash and (vendor in VENDORS or vendor == provider):
        model = rest
        yield model
    if model.endswith(_DEFAULT_VERSION):
        model = model.removesuffix(_DEFAULT_VERSION)
        yield model
    if dated := _DATED.fullmatch(model):
        yield "-".join(dated.groups())
        yield dated[1]


def _fine_tuned(model: str) -> Iterator[str]:
    """Yield the names under which the rates for fine-tuned models of this base may be: ``ft:BASE``, without a date."""
    base = _FINE_TUNED + model.removeprefix(_FINE_TUNED).partition(":")[0]
    if base != model:
        yield base
    if dated := _DATED.fullmatch(base):
        yield dated[1]


def is_same(model: str, other: str | None, provider: str) -> bool:
    """Whether two names are of one model: with or without a date, ``-latest`` or a vendor, or spelled otherwise."""
    return other is not None and bare_name(model, provider) == bare_name(other, provider)


def bare_name(model: str, provider: str) -> str:
    """Return what all spellings of one model have in common: no date, ``-latest`` or vendor, and hyphens alone."""
    *_, name = spellings(model, provider)
    return _plain(name.removesuffix("-latest"))


def _plain(name: str) -> str:
    return name.replace(".", "-").replace("@", "-")


def how_named(entry: Entry, model: str, provider: str) -> tuple[str, str] | None:
    """Say how a model's name leads to its entry: ``own``, ``alias``, ``pattern`` or ``spelling``, and what it matched.

    ``None``: it does not. The order is that of :meth:`Models.find`, whose answer the entry must be.
    """
    for name in spellings(model, provider):
        if name == entry.model:
            return "own", name
        if name in entry.names:
            return "alias", name
        for pattern in sorted(entry.patterns, key=lambda each: len(_WILDCARD.sub("", each)), reverse=True):
            if fnmatchcase(name, pattern) and not any(fnmatchcase(name, each) for each in entry.exclusions):
                return "pattern", pattern
        if _plain(name) in map(_plain, (entry.model, *entry.names)):
            return "spelling", name
    return None


class Models:
    """The entries of one provider, by the names of their models. Filled while a book is made, then only read."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, Entry] = {}
        self._plain: dict[str, set[str]] = {}
        """The models that have a name, by its one spelling without ``.`` and ``@``."""
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
        for name, entry in self._names.items():
            self._plain.setdefault(_plain(name), set()).add(entry.model)
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
        """Return the entry that has exactly this name.

        Else it is the one whose longest pattern covers it, else the one that has the name in another spelling. No
        pattern covers the free text in the name of a fine-tuned model.
        """
        if entry := self._names.get(name):
            return entry
        if name.startswith(_FINE_TUNED) and ":" in name.removeprefix(_FINE_TUNED):
            return None
        for literal, pattern, entry in self._patterns:
            if (
                literal in name
                and fnmatchcase(name, pattern)
                and not any(fnmatchcase(name, exclusion) for exclusion in entry.exclusions)
            ):
                return entry
        spelled_alike = self._plain.get(_plain(name), set())
        return self._entries[next(iter(spelled_alike))] if len(spelled_alike) == 1 else None
