"""How a request is sent, where a person has asked by name for more than once and at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retries:
    """A request goes out again after an answer that says "later", or a failure before all of it was out."""

    policy: str = "retries"
    """The name of the policy."""
    attempts: int = 3
    """How often it is sent at most, the first time included."""
    ambiguous: bool = False
    """Also after a failure before the first byte of an answer: the provider may have done the work, and billed it."""
    backoff: float = 0.5
    """Seconds before the second attempt; they double from one to the next."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Only so many requests at once go out with one provider key; the others wait for their turn."""

    policy: str = "concurrency"
    at_once: int = 10
    queue: int = 100
    """How many wait at most, in each process."""
    seconds: float = 30.0
    """How long one waits at most."""


@dataclass(frozen=True, slots=True)
class Sending:
    """The policies of one request. ``None``: that one is off."""

    retries: Retries | None = None
    concurrency: Concurrency | None = None
