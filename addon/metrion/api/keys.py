"""Operations on provider keys and the master key. A key comes in and never goes out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from metrion.api.operation import Call, Desk, Given, Shown
from metrion.api.values import (
    Name,
    Owner,
    Page,
    paged,
)
from metrion.control import (
    KeyRecord,
    check_provider_key,
)
from metrion.errors import ControlError, UnknownNameError
from metrion.providers import canonical_name


class KeyPlace(Given):
    """Whose key it is, and of which provider."""

    account: Owner
    provider: Name


class KeyValue(Given):
    """A key as the provider shows it. It is stored sealed, and never read back."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class KeyShown(Shown):
    """A provider key, without the key."""

    provider: str
    account: str = Field(description="`*`: every account that has none of its own.")
    key: str | None = Field(description="The key, masked; null: it does not open.")
    source: Literal["stored", "environment"]
    in_use: bool
    stored_at: datetime | None
    problem: str | None = Field(description="Why it does not open, and the way out.")


class Resealed(Shown):
    """What was sealed under a new master key."""

    secrets: int
    resumed: bool = Field(description="An earlier run had begun it.")


def _key(record: KeyRecord) -> KeyShown:
    return KeyShown.model_validate(
        {
            "provider": record.provider,
            "account": record.account,
            "key": record.shown,
            "source": record.source,
            "in_use": record.in_use,
            "stored_at": record.stored_at,
            "problem": record.problem,
        }
    )


def list_keys(desk: Desk, call: Call) -> Page[KeyShown]:
    """List the provider keys, masked; shared ones first."""
    return paged(desk.control.keys(), lambda each: f"{each.account} {each.provider} {each.source}", _key, call.query)


def set_key(desk: Desk, call: Call) -> None:
    """Store a key in place of an older one."""
    name = canonical_name(call.path.provider)
    provider = desk.settings.providers.get(name)
    if provider is None:
        raise UnknownNameError("there is no such provider.")
    if not provider.needs_key:
        raise ControlError("this provider gets no key: metrion.yaml has `credential: none` for it.")
    desk.control.set_key(name, check_provider_key(call.body.key), call.path.account)


def remove_key(desk: Desk, call: Call) -> None:
    """Forget a stored key."""
    desk.control.remove_key(canonical_name(call.path.provider), call.path.account)


def rotate_master_key(desk: Desk, _: Call) -> Resealed:
    """Seal everything under a new master key."""
    done = desk.control.rotate_master_key()
    return Resealed(secrets=done.secrets, resumed=done.resumed)
