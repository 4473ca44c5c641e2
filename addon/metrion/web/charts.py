"""Pictures, as SVG made here: numbers in, markup out. Pure.

A picture fills whatever width there is; its labels are HTML beside it, so that they keep their size. No style is
inline: a class says which colour a part has. What a part shows is in its ``<title>``, and all numbers are in the table
beneath.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

COLOURS = 8
"""Classes ``c0`` to ``c7``; the last is what is left over."""
REST = COLOURS - 1
_WIDTH, _HEIGHT = 1000.0, 200.0
_MOST_LABELS = 12
"""Beneath a picture; a narrow screen shows every other one."""


def nice(top: float) -> float:
    """Return a round number that is not below ``top``."""
    if top <= 0:
        return 1.0
    size = 10.0 ** (len(f"{int(top)}") - 1) if top >= 1 else 1.0
    while size > top:
        size /= 10
    return next(step * size for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15) if step * size >= top * 0.999999)


def spark(values: Sequence[float | None], worse: Sequence[float | None] = ()) -> Markup:
    """Draw the course of a figure; ``worse`` is a second line, such as what failed."""
    top = max([*(v or 0 for v in values), *(v or 0 for v in worse), 0]) or 1
    lines = [_area(values, top)] + ([_line(worse, top, "spark-bad")] if any(worse) else [])
    return Markup(
        '<svg class="spark" viewBox="0 0 100 28" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(Markup("").join(lines))


def _points(values: Sequence[float | None], top: float) -> list[str]:
    step = 100 / max(1, len(values) - 1)
    return [f"{n * step:.2f},{26.5 - 25 * (value or 0) / top:.2f}" for n, value in enumerate(values)]


def _area(values: Sequence[float | None], top: float) -> Markup:
    points = _points(values if len(values) > 1 else [*values, *values], top)
    return Markup(
        '<polygon class="spark-area" points="0,28 {p} 100,28"/><polyline class="spark-line" points="{p}"/>'
    ).format(p=" ".join(points))


def _line(values: Sequence[float | None], top: float, name: str) -> Markup:
    points = _points(values if len(values) > 1 else [*values, *values], top)
    return Markup('<polyline class="{}" points="{}"/>').format(name, " ".join(points))


def bars(
    title: str,
    labels: Sequence[str],
    series: Sequence[tuple[int, str, Sequence[float]]],
    top_label: Sequence[str],
    top: float,
    tips: Sequence[str],
) -> Markup:
    """Draw stacked bars: one for each label, of each series (its colour, name and values) a part.

    ``top_label`` are the labels of the axis, from ``top`` down to zero; ``tips`` say what each bar shows.
    """
    slot = _WIDTH / max(1, len(labels))
    gap = min(slot * 0.22, 10)
    parts = []
    for n in range(len(labels)):
        base = _HEIGHT
        rects = []
        for colour, _, values in series:
            height = _HEIGHT * values[n] / top
            if height <= 0:
                continue
            base -= height
            rects.append(
                Markup('<rect class="c{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>').format(
                    colour, n * slot + gap / 2, base, slot - gap, height
                )
            )
        hit = Markup('<rect class="hit" x="{:.2f}" y="0" width="{:.2f}" height="{:.0f}"/>').format(
            n * slot, slot, _HEIGHT
        )
        parts.append(Markup("<g><title>{}</title>{}{}</g>").format(tips[n], Markup("").join(rects), hit))
    return _framed(title, Markup("").join(parts), labels, top_label)


def lines(
    title: str,
    labels: Sequence[str],
    series: Sequence[tuple[int, str, Sequence[float | None]]],
    top_label: Sequence[str],
    top: float,
    tips: Sequence[str],
) -> Markup:
    """Draw lines, as :func:`bars` draws bars; a value that is not known leaves a gap."""
    slot = _WIDTH / max(1, len(labels))
    drawn = []
    for colour, _, values in series:
        for run in _runs(values):
            points = [f"{(n + 0.5) * slot:.2f},{_HEIGHT - _HEIGHT * min(value, top) / top:.2f}" for n, value in run]
            if len(points) == 1:
                x = (run[0][0] + 0.5) * slot
                points = [
                    f"{x - slot * 0.3:.2f},{points[0].split(',')[1]}",
                    f"{x + slot * 0.3:.2f},{points[0].split(',')[1]}",
                ]
            drawn.append(Markup('<polyline class="line l{}" points="{}"/>').format(colour, " ".join(points)))
    hits = [
        Markup('<g><title>{}</title><rect class="hit" x="{:.2f}" y="0" width="{:.2f}" height="{:.0f}"/></g>').format(
            tips[n], n * slot, slot, _HEIGHT
        )
        for n in range(len(labels))
    ]
    return _framed(title, Markup("").join([*drawn, *hits]), labels, top_label)


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = [[]]
    for n, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((n, value))
    return [run for run in runs if run]


def _framed(title: str, drawn: Markup, labels: Sequence[str], top_label: Sequence[str]) -> Markup:
    grid = Markup("").join(
        Markup('<line class="grid" x1="0" x2="1000" y1="{0:.0f}" y2="{0:.0f}"/>').format(
            _HEIGHT * n / (len(top_label) - 1)
        )
        for n in range(len(top_label))
    )
    axis = Markup("").join(Markup("<span>{}</span>").format(label) for label in top_label)
    step = -(-len(labels) // _MOST_LABELS)
    below = Markup("").join(
        Markup("<span{}>{}</span>").format(
            Markup(' class="odd"') if n // step % 2 else "", Markup("<i>{}</i>").format(label) if n % step == 0 else ""
        )
        for n, label in enumerate(labels)
    )
    return Markup(
        '<div class="plot"><div class="axis-y" aria-hidden="true">{}</div>'
        '<svg viewBox="0 0 1000 200" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>'
        '<div class="axis-x" aria-hidden="true">{}</div></div>'
    ).format(axis, escape(title), grid, drawn, below)


def share(part: float) -> Markup:
    """Draw a part of one as a bar."""
    return Markup(
        '<svg class="share" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="share-all" width="100" height="6"/><rect class="c0" width="{:.2f}" height="6"/></svg>'
    ).format(100 * min(1.0, max(0.0, part)))
