"""Who may call, and with which key: an immutable snapshot, in which tokens are found by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from metrion.admission.budgets import Budgets
from metrion.model import GuardLimits, LabelRules, TokenRules

_EVERY_ACCOUNT = "*"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token grants. A limit of 0 is no limit, one of ``None`` is the plan's."""

    name: str
    account: str
    plan: str
    requests_per_minute: int | None = None
    requests_per_month: int | None = None
    monthly_budget_usd: Decimal | None = None
    timeout: float | None = None
    """Seconds."""
    revoked: bool = False
    expires_at: datetime | None = None
    """UTC, naive or aware."""
    labels: LabelRules | None = None
    takes_unpriced: bool = False
    """It may use models without a price, also where they count for a budget."""
    rotated: bool = False
    """It is an earlier secret of a token that has a new one, and holds until ``expires_at``."""
    counted_as: bytes | None = field(default=None, repr=False)
    """The digest under which its requests are counted: all secrets of a token share one. ``None``: its own."""
    rules: TokenRules | None = None
    """``None``: it may do everything."""
    key: str | None = None
    """The name of the provider keys that it uses; ``None``: those without a name."""


@dataclass(frozen=True, slots=True)
class AccessSnapshot:
    """Every token and provider key, as of one moment. Immutable: a change is a new snapshot.

    Tokens are found by their digest: neither memory nor a leak of it holds a token, and the time of a look-up does not
    reveal how much of a guess was right.
    """

    tokens: Mapping[bytes, Token] = field(default_factory=dict)
    """By ``token_digest``."""
    provider_keys: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)
    """By account and provider; those of the environment included."""
    shared_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By provider: for every account that has none of its own."""
    named_keys: Mapping[tuple[str, str, str], str] = field(default_factory=dict, repr=False)
    """By account (``*``: every one that has none of its own), provider and name: for tokens that are tied to one."""
    key_ids: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What each key is called where it must not be known."""
    budgets: Budgets = field(default_factory=Budgets)
    guards: Mapping[tuple[str, str], GuardLimits] = field(default_factory=dict)
    """By scope (``token`` or ``account``) and name, of those that have their own."""

    def find_token(self, secret: str) -> Token | None:
        """Find a token by the whole of it."""
        return self.tokens.get(token_digest(secret))

    def provider_key(self, account: str, provider: str, name: str | None = None) -> str | None:
        """Find the key that an account uses at a provider, by this name: its own, else the shared one."""
        if name is not None:
            named = self.named_keys
            return named.get((account, provider, name)) or named.get((_EVERY_ACCOUNT, provider, name))
        return self.provider_keys.get((account, provider)) or self.shared_keys.get(provider)


def token_digest(secret: str | bytes) -> bytes:
    """Return the SHA-256 digest of a whole token. A token has at least 240 random bits: no salt, no stretching."""
    raw = secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogatepass")
    return hashlib.sha256(raw).digest()
