"""Text that a caller chose (a path, a label) as it may reach a terminal. Pure."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What could change what a terminal shows."""


def printable(text: str) -> str:
    """Return the text with its control characters escaped."""
    return CONTROL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
