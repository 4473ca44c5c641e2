"""Names with ``*`` in them: what a person allows, and whether a name is meant by it."""

from __future__ import annotations

_ANY = "*"


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern, in which ``*`` is anything, is the whole of a name. Linear for any pattern."""
    first, *parts = pattern.split(_ANY)
    if not parts:
        return name == pattern
    *middle, last = parts
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
