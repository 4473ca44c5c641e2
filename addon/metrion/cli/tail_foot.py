"""The line at the foot of ``metrion tail`` in a terminal: events in, what they come to since the start out.

Amounts that are not known are in no sum; they are counted beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click

from metrion.cli.dollars import dollars

_CLEAR = "\r\x1b[K"


@dataclass(slots=True)
class Foot:
    """The running totals, and the line that was drawn last."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    usd: Decimal = Decimal(0)
    without_cost: int = 0
    _requests: set[str] = field(default_factory=set)
    _drawn: str = ""

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add events up. The attempts and answers of one request count as one."""
        for event in events:
            self._requests.add(event["request_id"])
            self.usd += event["cost_usd"] or Decimal(0)
            self.without_cost += event["cost_usd"] is None

    def cleared(self) -> str:
        """Return what takes the line away."""
        was, self._drawn = self._drawn, ""
        return _CLEAR if was else ""

    def drawn(self, width: int) -> str:
        """Return what draws the line where it stands; empty while nothing has changed."""
        count = len(self._requests)
        parts = [
            f"{count:,} request{'' if count == 1 else 's'}",
            f"${dollars(self.usd)}",
            *([f"{self.without_cost:,} without a cost"] if self.without_cost else []),
            f"since {self.began:%H:%M:%S} UTC",
        ]
        line = " · ".join(parts)[: width - 1]
        if line == self._drawn:
            return ""
        self._drawn = line
        return _CLEAR + click.style(line, bold=True)
