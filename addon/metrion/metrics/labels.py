"""Labels: the columns of an event in, texts out of which there is a bounded number.

Providers and operations are those of the configuration and of Metrion's table, errors those of a fixed set. Models and
users are whatever people write: the first so many have a label of their own, the rest is ``other``.
"""

from __future__ import annotations

from metrion.endpoints import OPERATIONS
from metrion.metrics.tables import OTHER
from metrion.model import EndReason, Event

_CHARACTERS = 96
_FAILED_SHARE = 4
"""One in so many of the labels may be a name of which no request has succeeded: somebody may just be guessing."""

OPERATION_NAMES = {
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
}
"""What the conventions call an operation, where they call it otherwise than the column does."""
PROVIDER_NAMES = {"google": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai"}
"""What the conventions call a provider, where they call it otherwise."""

_STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_ERRORS = {status: str(status) for status in range(400, 600)}
_ENDED_BADLY = frozenset(EndReason) - {EndReason.COMPLETE, EndReason.REFUSED}


def status_class(status: int | None) -> str:
    """Return ``2xx`` and the like; empty where the client got no status."""
    return _STATUS_CLASSES[status // 100 - 1] if status is not None and 100 <= status < 600 else ""


def error_of(event: Event) -> str:
    """Return the error of an event; empty: there is none. It is Metrion's code, how it ended, or the status."""
    if event.end_reason == EndReason.REFUSED:
        return event.error_type or OTHER
    if event.end_reason in _ENDED_BADLY:
        return str(event.end_reason)
    return "" if event.status is None or event.status < 400 else _ERRORS.get(event.status, OTHER)


def is_inference(operation: str) -> bool:
    """Whether an operation is one that a provider bills as a rule."""
    return operation in OPERATIONS and OPERATIONS[operation].billed


class Names:
    """The names that have a label of their own, at most ``most``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known = set[str]()
        self._guesses = 0

    def label(self, name: str | None, *, succeeded: bool = True) -> str:
        """Return the label of a name; empty: there is none."""
        if not name:
            return ""
        if name in self._known:
            return name
        label = "".join(each if each.isprintable() else "?" for each in name[:_CHARACTERS])
        if label in self._known:
            return label
        if len(self._known) >= self._most or not (succeeded or self._guesses < self._most // _FAILED_SHARE):
            return OTHER
        self._known.add(label)
        self._guesses += not succeeded
        return label
