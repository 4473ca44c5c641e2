"""Tokens, provider keys and accounts as lists show them: frozen values, none of which shows a secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from metrion.control.names import ALL_ACCOUNTS, DEFAULT_ACCOUNT
from metrion.model import LabelRules, TokenRules

_NO_RULES = TokenRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a token may use. ``None`` is the plan's limit, 0 is no limit."""

    requests_per_minute: int | None = None
    requests_per_month: int | None = None
    monthly_budget_usd: Decimal | None = None
    timeout: float | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTerms:
    """Everything about a token that can be changed."""

    account: str = DEFAULT_ACCOUNT
    limits: Limits = Limits()
    labels: LabelRules = LabelRules()  # noqa: RUF009 -- frozen, and nobody changes its tags
    expires_at: datetime | None = None
    """Aware; ``None``: never."""
    rules: TokenRules = _NO_RULES
    key: str | None = None
    """The name of the provider keys that it uses; ``None``: those without a name."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made, the only time its secret is known."""

    name: str
    account: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as it may be shown. Times are aware and in UTC."""

    name: str
    account: str
    plan: str
    shown: str
    """The masked token: ``sk-metrion-…abcd``."""
    limits: Limits
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    labels: LabelRules = LabelRules()  # noqa: RUF009 -- frozen, and nobody changes its tags
    last_used_at: datetime | None = None
    """When a request of it was last forwarded; ``None``: never, or too long ago to know."""
    rules: TokenRules = _NO_RULES
    key: str | None = None
    """The name of the provider keys that it uses; ``None``: those without a name."""

    @property
    def state(self) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            return "expired"
        return "active"


@dataclass(frozen=True, slots=True)
class NewAdmin:
    """An admin token that was just made, the only time its secret is known."""

    name: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AdminRecord:
    """An admin token as it may be shown. Times are aware and in UTC."""

    name: str
    shown: str
    """The masked token: ``sk-mta-…abcd``."""
    created_at: datetime
    revoked_at: datetime | None

    @property
    def state(self) -> str:
        """``active`` or ``revoked``."""
        return "active" if self.revoked_at is None else "revoked"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A provider key as it may be shown."""

    provider: str
    account: str
    """``*``: every account that has no key of its own."""
    shown: str | None
    """The masked key; ``None`` when it does not open."""
    source: str
    """``stored`` or ``environment``."""
    in_use: bool
    """False for a key from the environment that a stored one overrides, for one that does not open, and for a former
    one."""
    stored_at: datetime | None = None
    problem: str | None = None
    """Why it does not open, and the way out."""
    name: str | None = None
    """What it is called, beside the one that needs no name."""
    former: bool = False
    """Another is in its place."""
    ends_at: datetime | None = None
    """When a former one is forgotten."""
    last_used_at: datetime | None = None
    """When it last went out, to about a minute; ``None``: never, or not since a key was stored in its place."""

    @property
    def is_shared(self) -> bool:
        """Whether every account uses it that has none of its own."""
        return self.account == ALL_ACCOUNTS


@dataclass(frozen=True, slots=True)
class Account:
    """Whom tokens and provider keys belong to."""

    name: str
    plan: str
    created_at: datetime
