"""The outcome of measurements: figures with a name; and the extent: how much is measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

DEFAULT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Result:
    """One figure. ``None``: it cannot be measured here."""

    measurement: str
    target: str
    value: float | None
    unit: str
    against: str = ""
    """The target that the figure is a difference or a ratio to; empty: it is neither."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured. ``seconds``: of the whole, starting and ending the programs aside."""

    seconds: float = DEFAULT_SECONDS
    full: bool = False

    def part(self, share: float) -> float:
        """Return the seconds of a measurement that has this share of the whole."""
        return self.seconds * share

    def count(self, usual: int, full: int | None = None) -> int:
        """Return how many there are to be: the usual number, fewer where there is less time, or the full number."""
        if self.full:
            return full or usual
        return max(4, math.ceil(usual * min(1.0, self.seconds / DEFAULT_SECONDS)))


def median(values: Sequence[float]) -> float | None:
    """Return the median of the figures that exist."""
    return statistics.median(values) if values else None


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def median_ratio(own: Sequence[float], others: Sequence[float]) -> float | None:
    """Return the median of the ratios between neighbours."""
    return median([one / other for one, other in zip(own, others, strict=True)])


def ratios(measurement: str, values: Mapping[str, Sequence[float]], pairs: Iterable[tuple[str, str]]) -> list[Result]:
    """Return one ratio for each pair of targets that were both measured."""
    return [
        Result(measurement, one, median_ratio(values[one], values[other]), "ratio", other)
        for one, other in pairs
        if one in values and other in values
    ]
