"""How a provider answers, as one value: each provider's module has one, and the package's ``VENDORS`` has all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from metrion.simulator.answers.request import Json, Request, bearer_key
from metrion.simulator.delivery import Answer

type Operation = Callable[[Request], Answer | None]
"""Answers a request; ``None``: the request lacks what the operation needs."""

WRONG_KEY = 401
"""Names, in a vendor's errors, the one for a wrong key, whatever status the provider gives it."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """How one provider answers, and how it differs from the others."""

    host: str
    operations: Mapping[tuple[str, str], Operation]
    """By method and path. A path that starts with ``:`` is the verb at the end of any path."""
    errors: Mapping[int, Json]
    """Error bodies by status. There is one for 400, 401, 404 and 500 at least."""
    error_event: bytes
    """How a stream that fails halfway ends."""
    find_key: Callable[[Request], str | None] = bearer_key
    wrong_key_status: int = WRONG_KEY
    missing_key_error: Callable[[Request], int] = lambda _: WRONG_KEY
    """Which error a request without a key gets."""
    error_headers: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """A header of the provider's own on the errors with these statuses."""
    wrap_error: Callable[[str, Json], object] = lambda _, error: error
    """Return the body of an error on this path."""
