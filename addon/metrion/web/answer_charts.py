"""The answer to a query as a picture: its columns and rows as text in; a block, or why there is no picture, out. Pure.

The first column says what each step is; all others are numbers, and each is a series. The steps are the rows, in the
order of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from markupsafe import Markup

from metrion.web import charts, formats
from metrion.web.blocks import Block, Column

DRAWN: Mapping[str, Callable[..., Markup]] = {"bars": charts.bars, "lines": charts.lines}
MOST_ROWS = 400
_MOST_LABEL = 18
_NUMBER = re.compile(r"-?\d{1,15}(\.\d*)?(e[+-]?\d\d?)?", re.IGNORECASE)
_LARGEST = 1e15


def draw(columns: Sequence[str], rows: Sequence[Sequence[str]], kind: str) -> Block | str:
    """Draw an answer as ``kind``, one of :data:`DRAWN`; a text: why it cannot be drawn."""
    if not rows:
        return "There is nothing to draw: the answer has no rows."
    if not 2 <= len(columns) <= charts.COLOURS + 1:
        return (
            f"A chart needs a first column that says what each step is, and 1 to {charts.COLOURS} columns of numbers."
        )
    shown = rows[:MOST_ROWS]
    series = []
    for n, name in enumerate(columns[1:]):
        values = _numbers([row[n + 1] for row in shown])
        if isinstance(values, str):
            return f"The column {formats.text(name)} cannot be drawn: {values}."
        series.append((n, name, values if kind == "lines" else [value or 0.0 for value in values]))
    stacks = [[value or 0.0 for value in step] for step in zip(*(values for *_, values in series), strict=True)]
    top = charts.nice(max(max(step) if kind == "lines" else sum(step) for step in stacks))
    axis = [_axis(columns[1:], top), _axis(columns[1:], top / 2), _axis(columns[1:], 0)]
    tips = [
        f"{formats.text(row[0])}: "
        + ", ".join(f"{formats.text(name)} {row[n] or formats.UNKNOWN}" for n, name in enumerate(columns[1:], 1))
        for row in shown
    ]
    chart = DRAWN[kind]("The answer", _labels([row[0] for row in shown]), series, axis, top, tips)
    return Block(
        "chart", "Chart", [Column(f"c{n}", name) for n, name in enumerate(columns)], [tuple(row) for row in rows],
        chart, [(n, name) for n, name, _ in series], _note(len(rows)), wide=True,
    )  # fmt: skip


def _note(rows: int) -> str:
    first = f"The first {MOST_ROWS} rows. " if rows > MOST_ROWS else ""
    return f"{first}One step a row, in the order of the answer."


def _numbers(texts: Sequence[str]) -> list[float | None] | str:
    """Return the values of a column, ``None`` for NULL; a text: what is wrong with it."""
    values: list[float | None] = []
    for text in texts:
        if text and not _NUMBER.fullmatch(text):
            return f"{formats.text(text)} is no number, or too large a one"
        value = float(text) if text else None
        if value is not None and not 0 <= value <= _LARGEST:
            return f"{formats.text(text)} is below zero, or too large"
        values.append(value)
    return "it has no numbers" if all(value is None for value in values) else values


def _axis(names: Sequence[str], value: float) -> str:
    if all(name.endswith("_usd") for name in names):
        return formats.usd(Decimal(str(value)))
    return formats.short(value) if value >= 10 or value == 0 else f"{value:g}"


def _labels(texts: Sequence[str]) -> list[str]:
    """Return what is beneath the steps: times without what all of them share."""
    try:
        moments = [datetime.fromisoformat(text) if "-" in text else None for text in texts]
    except ValueError:
        moments = [None]
    known = [moment for moment in moments if moment]
    if len(known) != len(texts):
        return [_cut(text) for text in texts]
    if not any(moment.hour or moment.minute or moment.second for moment in known):
        return [f"{moment:%b %d}" for moment in known]
    one_day = len({moment.date() for moment in known}) == 1
    return [f"{moment:{'%H:%M' if one_day else '%b %d %H:%M'}}" for moment in known]


def _cut(text: str) -> str:
    shown = formats.text(text or None)
    return shown if len(shown) <= _MOST_LABEL else shown[: _MOST_LABEL - 1] + "…"
