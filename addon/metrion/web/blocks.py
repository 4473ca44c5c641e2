"""What a page is made of: cards and blocks, frozen values. A block is a table, with a picture where one helps.

Every block has its address: the page's path, ``/``, its id and ``.csv`` or ``.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

NOTHING = Markup("")
"""No picture."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``kind`` is one of :data:`metrion.web.formats.FORMATS`."""

    name: str
    label: str
    kind: str = "text"
    links: str = ""
    """What a cell leads to: a dimension (the same page with that filter), ``request`` or ``session``."""


@dataclass(frozen=True, slots=True)
class Block:
    """A table with a title."""

    id: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[tuple[Any, ...]]
    chart: Markup = NOTHING
    legend: Sequence[tuple[int, str]] = ()
    """The classes of the chart's colours, each with what has it."""
    note: str = ""
    empty: str = "Nothing was metered in this period."
    wide: bool = False
    open: bool = False
    """Whether the table is shown at once, and not beneath the picture."""
    bars: str = ""
    """The column whose shares are drawn as bars."""


@dataclass(frozen=True, slots=True)
class Card:
    """A figure, what it was before, and its course."""

    label: str
    value: str
    detail: str = ""
    change: str = ""
    tone: str = ""
    """``good`` or ``bad``: what the change means; empty: neither."""
    spark: Markup = NOTHING


@dataclass(frozen=True, slots=True)
class Page:
    """A page between its head and its foot."""

    title: str
    blocks: Sequence[Block] = ()
    cards: Sequence[Card] = ()
    beside: Sequence[tuple[str, str, str]] = ()
    """What is in no sum: a figure, what it counts, and the way out."""
    notes: Sequence[str] = ()
    is_empty: bool = False
    """Whether nothing was ever metered."""
