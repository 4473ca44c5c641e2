"""Text that a caller chose (a path, a label) as it may reach a terminal. Pure."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What could change what a terminal shows."""


def printable(text: str) -> str:
    """Return the text with its control characters escaped."""
    return text if text.isascii() and text.isprintable() else CONTROL.sub(_escaped, text)


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: an ideograph and most emoji take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # takes 10 ms

    return cell_len(text)


def padded(text: str, width: int) -> str:
    """Return the text with spaces after it, up to so many columns."""
    return text + " " * (width - width_of(text))


def cut(text: str, most: int) -> str:
    """Return the text in at most so many columns, with an ellipsis where something is left out."""
    kept = text[: 8 * most]  # an accent may be a character of no width
    if kept == text and width_of(text) <= most:
        return text
    while width_of(kept) >= most:
        kept = kept[:-1]
    return f"{kept}…"


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
