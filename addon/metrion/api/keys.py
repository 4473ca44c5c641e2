"""Operations on provider keys and the master key. A key comes in and never goes out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from metrion.api.operation import Call, Desk, Given, Shown
from metrion.api.values import (
    Moment,
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


class KeyName(Given):
    """Which of an account's keys at a provider."""

    name: Name | None = Field(default=None, description="One beside the key that goes out for every token.")


class FormerKey(KeyName):
    """Which of an account's keys at a provider, and whether the one that it has replaced."""

    former: bool = Field(default=False, description="Only the one that was replaced.")


class NewKey(Given):
    """A key to put in the place of a stored one, which can be brought back until `keep_until`."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    keep_until: Moment


class KeyValue(Given):
    """A key as the provider shows it. It is stored sealed, and never read back."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class KeyShown(Shown):
    """A provider key, without the key."""

    provider: str
    account: str = Field(description="`*`: every account that has none of its own.")
    name: str | None
    former: bool
    ends_at: datetime | None
    last_used_at: datetime | None
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
            "name": record.name,
            "former": record.former,
            "ends_at": record.ends_at,
            "last_used_at": record.last_used_at,
            "key": record.shown,
            "source": record.source,
            "in_use": record.in_use,
            "stored_at": record.stored_at,
            "problem": record.problem,
        }
    )


def _position(record: KeyRecord) -> str:
    return f"{record.account} {record.provider} {record.name or ''} {record.source} {record.former}"


def list_keys(desk: Desk, call: Call) -> Page[KeyShown]:
    """List the provider keys, masked; shared ones first."""
    return paged(desk.control.keys(), _position, _key, call.query)


def set_key(desk: Desk, call: Call) -> None:
    """Store a key in place of an older one."""
    name, key = _provider(desk, call), check_provider_key(call.body.key)
    desk.control.set_key(name, key, call.path.account, call.query.name)


def rotate_key(desk: Desk, call: Call) -> None:
    """Put a key in the place of a stored one, which is kept for a while."""
    if call.body.keep_until <= datetime.now(UTC):
        raise ControlError("the moment is past.")
    name, key = _provider(desk, call), check_provider_key(call.body.key)
    desk.control.rotate_key(name, key, call.path.account, call.body.keep_until, call.query.name)


def bring_key_back(desk: Desk, call: Call) -> None:
    """Use the key again that was replaced."""
    desk.control.bring_key_back(canonical_name(call.path.provider), call.path.account, call.query.name)


def _provider(desk: Desk, call: Call) -> str:
    """Return the name of a provider that can have a key."""
    name = canonical_name(call.path.provider)
    provider = desk.settings.providers.get(name)
    if provider is None:
        raise UnknownNameError("there is no such provider.")
    if not provider.needs_key:
        raise ControlError("this provider gets no key: metrion.yaml has `credential: none` for it.")
    return name


def remove_key(desk: Desk, call: Call) -> None:
    """Forget a stored key."""
    desk.control.remove_key(
        canonical_name(call.path.provider), call.path.account, call.query.name, former=call.query.former
    )


def rotate_master_key(desk: Desk, _: Call) -> Resealed:
    """Seal everything under a new master key."""
    done = desk.control.rotate_master_key()
    return Resealed(secrets=done.secrets, resumed=done.resumed)
