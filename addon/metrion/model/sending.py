"""How a request is sent, where a person has asked by name for more than once and at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retries:
    """A request goes out again after an answer that says "later", or a failure before all of it was out."""

    attempts: int = 3
    """How often it is sent at most, the first time included."""
    ambiguous: bool = False
    """Also after a failure before the first byte of an answer: the provider may have done the work, and billed it."""
    backoff: float = 0.5
    """Seconds before the second attempt; they double from one to the next."""


@dataclass(frozen=True, slots=True)
class Sending:
    """The policies of one request. ``None``: that one is off."""

    retries: Retries | None = None
