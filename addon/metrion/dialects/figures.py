"""The numbers in a provider's usage object, each checked before it is believed.

A count is an integer from 0 up to 2^63 - 1, an amount of money is a number that is not negative. What is absent or
null is ``None``; so is what is there and no such thing, and then a warning is noted. So is a sum that is no count any
more. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any, TypeGuard

from metrion.model import Usage

MOST = (1 << 63) - 1
"""The largest value of a BIGINT column."""

COUNTS = tuple(each.name for each in fields(Usage) if each.name.endswith("_tokens"))
MOST_SECONDS = 10**9
"""No recording lasts thirty years."""

TOOLS = ("server_tools", "unreported_tools")


class Figures:
    """One usage object, read by the paths of its members."""

    def __init__(self, usage: Mapping[str, Any], name: str = "usage") -> None:
        self._usage = usage
        self._name = name
        self.warnings: list[str] = []
        self._unread: list[str] = []
        """Those of the warnings that are about something billed."""

    def has(self, *path: str) -> bool:
        """Whether there is something other than null, readable or not."""
        return self._find(path) is not None

    def holds_object(self, *path: str) -> bool:
        """Whether there is a JSON object."""
        return isinstance(self._find(path), dict)

    def names(self, *path: str) -> tuple[str, ...]:
        """Return the names of what is in a JSON object; none where there is no such object."""
        value = self._find(path)
        return tuple(value) if isinstance(value, dict) else ()

    def count(self, *path: str) -> int | None:
        """Return a number of tokens or calls."""
        value = self._find(path)
        if _is_count(value):
            return value
        if value is not None:
            self._doubt(path, "no count")
        return None

    def first_count(self, *paths: tuple[str, ...]) -> int | None:
        """Return the first of several numbers that is there and can be read."""
        return next((count for path in paths if (count := self.count(*path)) is not None), None)

    def seconds(self, *path: str) -> float | None:
        """Return a length of time."""
        value = self._find(path)
        if value is None:
            return None
        if type(value) in (int, Decimal) and Decimal(value).is_finite() and 0 <= value <= MOST_SECONDS:
            return float(value)
        self._doubt(path, "no length of time")
        return None

    def added(self, *paths: tuple[str, ...]) -> int | None:
        """Return the sum of those numbers that are there; ``None`` where one of them cannot be read."""
        found = [self.count(*path) for path in paths if self.has(*path)]
        known = [count for count in found if count is not None]
        return sum(known) if known and len(known) == len(found) else None

    def dollars(self, *path: str) -> Decimal | None:
        """Return an amount in US dollars, with all the digits it was written with."""
        value = self._find(path)
        if value is None:
            return None
        if type(value) in (int, Decimal) and Decimal(value).is_finite() and 0 <= value <= MOST:
            return Decimal(value)
        self._doubt(path, "no amount of money", is_billed=False)  # what is charged can be computed all the same
        return None

    def text(self, *path: str) -> str | None:
        """Return a name."""
        value = self._find(path)
        return value if isinstance(value, str) and 0 < len(value) <= 256 else None

    def texts(self, *path: str) -> tuple[str, ...] | None:
        """Return the names in an array of them; ``None`` where there is no array."""
        value = self._find(path)
        return tuple(name for name in value if isinstance(name, str)) if isinstance(value, list) else None

    def calls(self, *path: str) -> dict[str, int] | None:
        """Return the counts in an object of counts that are not 0; ``None`` where there is no such object."""
        value = self._find(path)
        if not isinstance(value, dict):
            if value is not None:
                self._doubt(path, "no object")
            return None
        if not all(count is None or _is_count(count) for count in value.values()):
            self._doubt((*path, "*"), "no count")  # the name is not ours, and stays out of the warning
        return {name: count for name, count in value.items() if _is_count(count) and count}

    def objects(self, *path: str) -> dict[str, Figures] | None:
        """Return the objects in an object of them, by name; ``None`` where there is no such object."""
        value = self._find(path)
        if not isinstance(value, dict):
            if value is not None:
                self._doubt(path, "no object")
            return None
        return {name: self._within(entry, path) for name, entry in value.items() if isinstance(entry, dict)}

    def own_counts(self) -> dict[str, int]:
        """Return the counts that are here, by name. What is an object or null is none."""
        if not all(value is None or isinstance(value, dict) or _is_count(value) for value in self._usage.values()):
            self._doubt(("*",), "no count")
        return {name: value for name, value in self._usage.items() if _is_count(value)}

    def tally(self, *path: str, by: str, of: str) -> dict[str | int, int] | None:
        """Return the counts (member ``of``) in an array of objects, added up by what they are counts of (``by``).

        ``None`` where there is no such array. What has no count is left out; so is a kind of which one cannot be read.
        """
        tallied: dict[str | int, int] = {}
        unreadable = set[str | int]()
        entries = self.entries(*path)
        for entry in entries or ():
            kind, count = entry._usage.get(by), entry.count(of)
            if isinstance(kind, str | int) and count is not None:
                tallied[kind] = tallied.get(kind, 0) + count
            elif isinstance(kind, str | int) and entry.has(of):
                unreadable.add(kind)
        return None if entries is None else {kind: tallied[kind] for kind in tallied.keys() - unreadable}

    def entries(self, *path: str) -> list[Figures] | None:
        """Return the objects in an array of them, each to be read by itself; ``None`` where there is no array."""
        value = self._find(path)
        if not isinstance(value, list):
            if value is not None:
                self._doubt(path, "no array")
            return None
        found = []
        for entry in value:
            if isinstance(entry, dict):
                found.append(self._within(entry, path))
            else:
                self._doubt((*path, "*"), "no object")
        return found

    def checked(self, usage: Usage) -> Usage:
        """Return what was read here without sums that are no count."""
        sums: dict[str, Any] = {name: None for name in COUNTS if (getattr(usage, name) or 0) > MOST}
        for name in TOOLS:
            calls: Mapping[str, int] = getattr(usage, name) or {}
            if max(calls.values(), default=0) > MOST:
                sums[name] = {tool: count for tool, count in calls.items() if count <= MOST}
        for name in sums:
            self._note(f"the sum for {name} is no count")
        shares = usage.shares and tuple((model, self.checked(share)) for model, share in usage.shares)
        return replace(usage, shares=shares, **sums)

    def is_doubtful(self, usage: Usage, needs: Iterable[str] = ()) -> bool:
        """Whether something that is billed cannot be read here, or a count is not there that has to be."""
        shares = [share for _, share in usage.shares or ((None, usage),)]
        return bool(self._unread) or any(getattr(share, name) is None for share in shares for name in needs)

    def _within(self, entry: Mapping[str, Any], path: tuple[str, ...]) -> Figures:
        """Return the figures of an object within this one, whose own name stays out of the warnings."""
        figures = Figures(entry, f"{self._name}.{'.'.join((*path, '*'))}")
        figures.warnings, figures._unread = self.warnings, self._unread
        return figures

    def _find(self, path: tuple[str, ...]) -> Any:
        value: Any = self._usage
        for depth, name in enumerate(path):
            if not isinstance(value, dict):
                if value is not None:
                    self._doubt(path[:depth], "no object")
                return None
            value = value.get(name)
        return value

    def _doubt(self, path: tuple[str, ...], what: str, *, is_billed: bool = True) -> None:
        self._note(f"{self._name}.{'.'.join(path)} is {what}", is_billed=is_billed)

    def _note(self, warning: str, *, is_billed: bool = True) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)
            if is_billed:
                self._unread.append(warning)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MOST  # a bool is an int to isinstance
