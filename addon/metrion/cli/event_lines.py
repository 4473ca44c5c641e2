"""Events as lines of columns: how wide the terminal is in, a layout out that makes a line of each event. Pure.

What comes first fits first: a narrow terminal has the columns that matter most, a wide one has all. Text that a caller
chose reaches the terminal without its control characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrion.cli.dollars import dollars
from metrion.cli.printable import cut, padded, printable

_GAP = "  "


@dataclass(frozen=True, slots=True)
class _Column:
    """``least`` and ``usual`` are widths in characters; the column gets one in between. Numbers are on the right."""

    heading: str
    text: Callable[[Mapping[str, Any]], object]
    rank: int
    """Which columns a narrow terminal has: those of the lowest ranks."""
    least: int
    usual: int
    is_number: bool = False


_COLUMNS = (
    _Column("time (UTC)", lambda event: f"{event['started_at']:%Y-%m-%d %H:%M:%S}", 0, 8, 19),
    _Column("user", lambda event: event["user_label"], 6, 8, 12),
    _Column("provider", lambda event: event["provider"], 5, 9, 9),
    _Column("model", lambda event: event["model"] or event["model_requested"], 1, 14, 28),
    _Column("status", lambda event: event["status"], 2, 6, 6, is_number=True),
    _Column("in", lambda event: _count(event["input_tokens"]), 7, 7, 9, is_number=True),
    _Column("out", lambda event: _count(event["output_tokens"]), 8, 6, 9, is_number=True),
    _Column("cached", lambda event: _count(event["cache_read_tokens"]), 11, 7, 9, is_number=True),
    _Column("cost", lambda event: _cost(event), 3, 12, 12, is_number=True),
    _Column("took", lambda event: _milliseconds(event["latency_ms"]), 10, 9, 9, is_number=True),
    _Column("token", lambda event: event["token_name"], 9, 10, 25),
    _Column("account", lambda event: event["account"], 14, 8, 12),
    _Column("tags", lambda event: _tags(event["tags"]), 13, 10, 20),
    _Column("session", lambda event: event["session_id"], 15, 10, 36),
    _Column("client", lambda event: event["client"], 12, 10, 20),
    _Column("end", lambda event: " ".join(filter(None, (event["end_reason"], event["error_type"]))), 4, 8, 20),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of every line, and how wide each is. Where lines may be of any length, no text is cut."""

    columns: Sequence[tuple[_Column, int]]
    cuts: bool

    def heading(self) -> str:
        """Return the line above the lines."""
        return self._joined(
            [column.heading if width >= len(column.heading) else "UTC" for column, width in self.columns]
        )

    def line(self, event: Mapping[str, Any]) -> str:
        """Return the line of an event, a mapping with the columns of ``events``."""
        return self._joined([column.text(event) for column, _ in self.columns])

    def _joined(self, cells: Sequence[object]) -> str:
        padded = (
            self._padded("-" if cell in (None, "") else printable(str(cell)), column, width)
            for cell, (column, width) in zip(cells, self.columns, strict=True)
        )
        return _GAP.join(padded).rstrip()

    def _padded(self, text: str, column: _Column, width: int) -> str:
        if self.cuts and column.rank and not column.is_number:  # of a number no digit may be missing
            text = cut(text, width)
        elif self.cuts and not column.rank:
            text = text[-width:]  # the day is known
        return text.rjust(width) if column.is_number else padded(text, width)


def columns_that_fit(width: int | None) -> Layout:
    """Return the layout for a terminal of this width; ``None``: there is no terminal."""
    if width is None:
        return Layout([(column, column.usual) for column in _COLUMNS], cuts=False)
    left = width + len(_GAP)
    widths: dict[int, int] = {}
    for column in sorted(_COLUMNS, key=lambda column: column.rank):
        left -= column.least + len(_GAP)
        if left < 0 and widths:
            left += column.least + len(_GAP)
            break
        widths[column.rank] = column.least
    for column in sorted(_COLUMNS, key=lambda column: column.rank):
        if column.rank in widths:
            more = min(left, column.usual - column.least)
            if column.rank:  # the time is whole or without its day
                widths[column.rank] += more
            elif more == column.usual - column.least:
                widths[column.rank] = column.usual
            else:
                continue
            left -= more
    return Layout([(column, widths[column.rank]) for column in _COLUMNS if column.rank in widths], cuts=True)


def _count(tokens: int | None) -> str | None:
    return None if tokens is None else f"{tokens:,}"


def _milliseconds(latency: float | None) -> str | None:
    return None if latency is None else f"{latency:,.0f} ms"


def _tags(tags: Mapping[str, str] | None) -> str | None:
    return ",".join(f"{name}={value}" for name, value in tags.items()) if tags else None


def _cost(event: Mapping[str, Any]) -> str:
    cost, at_least, source = event["cost_usd"], event["cost_at_least_usd"], event["cost_source"] or "unknown"
    match source:
        case "subscription":
            return "subscription"  # a flat-rate plan covers it
        case _ if cost == 0 and cost is not None:
            return "$0"
        case "estimated" if cost is not None:
            return f"~${dollars(cost)}"
        case _ if cost is not None:
            return f"${dollars(cost)}"
        case _ if at_least is not None:
            return f"≥${dollars(at_least)}"
    return str(source)
