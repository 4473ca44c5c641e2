"""The numbers in a provider's usage object, each checked before it is believed.

A count is an integer from 0 up to 2^63 - 1, an amount of money is a number that is not negative. What is absent or
null is ``None``. What is there and is neither is ``None`` too, and so is a sum that is too large for a count: then the
reader records a warning. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from decimal import Decimal
from operator import attrgetter
from typing import Any, TypeGuard

from metrion.model import Usage

MOST = (1 << 63) - 1
"""The largest value of a BIGINT column."""

_COUNTS = tuple(each.name for each in fields(Usage) if each.name.endswith("_tokens"))
_MOST_SECONDS = 10**9
"""No recording lasts thirty years."""

_TOOLS = ("server_tools", "unreported_tools")

_counts = attrgetter(*_COUNTS)


class UsageReader:
    """One usage object, read by the paths of its members."""

    def __init__(
        self, usage: Mapping[str, Any], name: str = "usage", *, raw: str | None = None, model: str | None = None
    ) -> None:
        self._usage = usage
        self._name = name
        self.raw = raw
        """The text of the usage, for the column."""
        self.model = model
        """The model that the response names: providers that share a format count differently."""
        self.adds_up = False
        """Whether the reported total has shown that input and output are whole."""
        self.warnings: list[str] = []
        self._unread: list[str] = []
        """Those of the warnings that are about something billed."""

    @property
    def is_unreadable(self) -> bool:
        """Whether something that is billed could not be read so far."""
        return bool(self._unread)

    def contradict(self, *path: str, by: str) -> None:
        """Record that the count at this path cannot be true, beside what contradicts it."""
        self._doubt(path, f"contradicted by {by}")

    def has(self, *path: str) -> bool:
        """Whether there is something other than null, readable or not."""
        return self._find(path) is not None

    def is_true(self, *path: str) -> bool:
        """Whether there is ``true``."""
        return self._find(path) is True

    def holds_object(self, *path: str) -> bool:
        """Whether there is a JSON object."""
        return isinstance(self._find(path), dict)

    def count(self, *path: str) -> int | None:
        """Return a number of tokens or calls."""
        value = self._find(path)
        if value is None or _is_count(value):
            return value
        self._doubt(path, "no count")
        return None

    def counts(self, names: Iterable[str], *path: str) -> list[int | None]:
        """Return the numbers of these names in one object: in the usage itself, or in that at the path."""
        value = self._find(path)
        if not isinstance(value, dict):
            if value is not None:
                self._doubt(path, "no object")
            return [None for _ in names]
        found: list[int | None] = []
        for name in names:
            count = value.get(name)
            if count is None or (type(count) is int and 0 <= count <= MOST):  # as _is_count; the most often asked
                found.append(count)
            else:
                self._doubt((*path, name), "no count")
                found.append(None)
        return found

    def has_any(self, names: frozenset[str], *path: str) -> bool:
        """Whether one of these members is there, be it null: in the usage itself, or in the object at the path."""
        value = self._find(path)
        return isinstance(value, dict) and not names.isdisjoint(value)

    def first_count(self, *paths: tuple[str, ...]) -> int | None:
        """Return the first of these numbers that is there and can be read."""
        return next((count for path in paths if (count := self.count(*path)) is not None), None)

    def seconds(self, *path: str) -> float | None:
        """Return a length of time."""
        value = self._find(path)
        if value is None:
            return None
        if type(value) in (int, Decimal) and Decimal(value).is_finite() and 0 <= value <= _MOST_SECONDS:
            return float(value)
        self._doubt(path, "no length of time")
        return None

    def added(self, *paths: tuple[str, ...]) -> int | None:
        """Return the sum of those numbers that are there; ``None`` where one of them cannot be read."""
        found = [self.count(*path) for path in paths if self._find(path) is not None]
        return sum(filter(None, found)) if found and None not in found else None

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

    def objects(self, *path: str) -> dict[str, UsageReader] | None:
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
        entries = self._array(path)
        if entries is None:
            return None
        tallied: dict[str | int, int] = {}
        unreadable = set[str | int]()
        for entry in entries:
            kind, count = entry.get(by), entry.get(of)
            if not (count is None or _is_count(count)):
                self._doubt((*path, "*", of), "no count")
                unreadable.update([kind] if isinstance(kind, str | int) else ())
            elif count is not None and isinstance(kind, str | int):
                tallied[kind] = tallied.get(kind, 0) + count
        for kind in unreadable & tallied.keys():
            del tallied[kind]
        return tallied

    def entries(self, *path: str) -> list[UsageReader] | None:
        """Return the objects in an array of them, each to be read by itself; ``None`` where there is no array."""
        entries = self._array(path)
        return None if entries is None else [self._within(entry, path) for entry in entries]

    def _array(self, path: tuple[str, ...]) -> list[dict[str, Any]] | None:
        value = self._find(path)
        if not isinstance(value, list):
            if value is not None:
                self._doubt(path, "no array")
            return None
        found = [entry for entry in value if isinstance(entry, dict)]
        if len(found) < len(value):
            self._doubt((*path, "*"), "no object")
        return found

    def checked(self, usage: Usage) -> Usage:
        """Return this usage without sums that are too large for a count."""
        if not (usage.shares or usage.server_tools or usage.unreported_tools):
            largest = max(filter(None, _counts(usage)), default=0)
            if largest <= MOST:
                return usage
        sums: dict[str, Any] = {name: None for name in _COUNTS if (getattr(usage, name) or 0) > MOST}
        for name in _TOOLS:
            calls: Mapping[str, int] = getattr(usage, name) or {}
            if max(calls.values(), default=0) > MOST:
                sums[name] = {tool: count for tool, count in calls.items() if count <= MOST}
        for name in sums:
            self._warn(f"the sum for {name} is no count")
        shares = usage.shares and tuple((model, self.checked(share)) for model, share in usage.shares)
        return replace(usage, shares=shares, **sums)

    def _within(self, entry: Mapping[str, Any], path: tuple[str, ...]) -> UsageReader:
        """Return the reader of an object within this one, whose own name stays out of the warnings."""
        reader = UsageReader(entry, f"{self._name}.{'.'.join((*path, '*'))}", model=self.model)
        reader.warnings, reader._unread = self.warnings, self._unread
        return reader

    def _find(self, path: tuple[str, ...]) -> Any:
        value: Any = self._usage
        for name in path:
            if not isinstance(value, dict):
                if value is not None:
                    self._doubt_object(path)
                return None
            value = value.get(name)
        return value

    def _doubt_object(self, path: tuple[str, ...]) -> None:
        """Record which place on the way is not an object."""
        value: Any = self._usage
        depth = 0
        while isinstance(value, dict):
            value = value.get(path[depth])
            depth += 1
        self._doubt(path[:depth], "no object")

    def _doubt(self, path: tuple[str, ...], what: str, *, is_billed: bool = True) -> None:
        self._warn(f"{self._name}.{'.'.join(path)} is {what}", is_billed=is_billed)

    def _warn(self, warning: str, *, is_billed: bool = True) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)
            if is_billed:
                self._unread.append(warning)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MOST  # a bool is an int to isinstance
