"""What the guard against runaways bounds for a token or an account."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What may be used in any 60 seconds, and how often one request may come in a row; 0: as much as one likes."""

    usd_per_minute: Decimal = Decimal(0)
    tokens_per_minute: int = 0
    identical_requests: int = 0
    then: str = "refuse"
    """What happens beyond: ``refuse`` or ``warn``."""

    @property
    def is_on(self) -> bool:
        """Whether dollars or tokens are bounded."""
        return bool(self.usd_per_minute or self.tokens_per_minute)


@dataclass(frozen=True, slots=True)
class OwnGuard:
    """What a person set for one token or account: it takes the place of what is configured for all."""

    scope: str
    """``token`` or ``account``."""
    name: str
    limits: GuardLimits
