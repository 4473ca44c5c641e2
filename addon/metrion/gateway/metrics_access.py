"""Decides who may read ``GET /metrics``: a request head in, a refusal out, or ``None`` for one that may. Fails closed.

Whoever is on this machine may, and whoever has an admin token. A request that came through another proxy is not from
this machine, whatever address it came from. Wrong tokens are looked up ten times a second at most: each look takes the
event loop a moment.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable

from metrion.addresses import address_of, is_loopback
from metrion.admission.codes import INVALID_TOKEN, MISSING_TOKEN
from metrion.control import ADMIN_PREFIX
from metrion.model import Inbound, Refusal

_SECONDS_BETWEEN_GUESSES = 0.1
_WAY_OUT = (
    "/metrics answers to this machine itself, and elsewhere or through another proxy to an admin token in "
    "Authorization: Bearer; `metrion admin create` makes one."
)


class MetricsAccess:
    """See the module. ``admin_of`` returns whose an admin token is; ``None``: it is none."""

    def __init__(self, admin_of: Callable[[str], str | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._admin_of = admin_of
        self._clock = clock
        self._last_guess = -math.inf
        self._valid = b""
        """The digest of the token that was valid last; it is looked up again each time."""

    def refusal(self, inbound: Inbound) -> Refusal | None:
        """Refuse a request for the metrics, unless its client may have them."""
        fields = [(name.lower(), value) for name, value in inbound.headers]
        if is_loopback(address_of(inbound.peer)) and not any(_is_of_a_proxy(name) for name, _ in fields):
            return None
        credentials = [value for name, value in fields if name == b"authorization"]
        if not credentials:
            return Refusal(MISSING_TOKEN, _WAY_OUT)
        is_admins = len(credentials) == 1 and self._is_admins(credentials[0])
        return None if is_admins else Refusal(INVALID_TOKEN, _WAY_OUT)

    def _is_admins(self, credential: bytes) -> bool:
        scheme, _, secret = credential.decode("latin-1").strip().partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret.startswith(ADMIN_PREFIX):
            return False
        digest, now = hashlib.sha256(secret.encode("latin-1")).digest(), self._clock()
        if digest != self._valid and now - self._last_guess < _SECONDS_BETWEEN_GUESSES:
            return False
        if self._admin_of(secret) is None:
            self._last_guess = now
            return False
        self._valid = digest
        return True


def _is_of_a_proxy(name: bytes) -> bool:
    return name in (b"forwarded", b"via") or name.startswith(b"x-forwarded-")
