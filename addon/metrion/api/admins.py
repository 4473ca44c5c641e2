"""Operations on admin tokens, and the audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from metrion.api.operation import Call, Desk, Given, Shown
from metrion.api.values import (
    Name,
    Page,
    Point,
    Text,
    paged,
)
from metrion.control import (
    AdminRecord,
    AdminScope,
    AuditEntry,
)
from metrion.errors import ControlError
from metrion.reports import moment
from metrion.settings.timezones import zone


class NewAdmin(Given):
    """An admin token to make; without a name it is the next `admin-N`."""

    name: Name | None = None
    scope: Literal["read", "write"] = "write"


class MadeAdmin(Shown):
    """An admin token that was just made. This is the only time its secret is shown."""

    name: str
    secret: str


class AdminShown(Shown):
    """An admin token."""

    name: str
    token: str = Field(description="Its last four characters.")
    scope: AdminScope
    state: Literal["active", "revoked"]
    created_at: datetime
    revoked_at: datetime | None


def _admin(record: AdminRecord) -> AdminShown:
    return AdminShown.model_validate(
        {
            "name": record.name,
            "token": record.shown,
            "scope": record.scope,
            "state": record.state,
            "created_at": record.created_at,
            "revoked_at": record.revoked_at,
        }
    )


def list_admins(desk: Desk, call: Call) -> Page[AdminShown]:
    """List the admin tokens that were ever made, oldest first."""
    return paged(
        desk.control.admins(),
        lambda each: f"{each.created_at:%Y-%m-%dT%H:%M:%SZ} {each.name} {each.shown}",
        _admin,
        call.query,
    )


def create_admin(desk: Desk, call: Call) -> MadeAdmin:
    """Make an admin token."""
    made = desk.control.create_admin(call.body.name, call.body.scope)
    return MadeAdmin(name=made.name, secret=made.secret)


def revoke_admin(desk: Desk, call: Call) -> None:
    """Refuse an admin token from now on."""
    desk.control.revoke_admin(call.path.name)


class AuditFilters(Given):
    """Which entries, the latest first."""

    since: Point | None = None
    until: Point | None = None
    who: Text | None = Field(default=None, description="An admin, or a user of the operating system.")
    what: Text | None = Field(default=None, description="A kind of change: `token`, or `token.create`.")
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Annotated[int, Field(ge=1, le=2**53, description="`next_cursor` of the page before.")] | None = None


class EntryShown(Shown):
    """A change."""

    id: int
    at: datetime
    who: str
    way: str
    what: str
    subject: str
    details: dict[str, Any]


def point(desk: Desk, text: str | None) -> datetime | None:
    """Return a point in time; aware, UTC."""
    if text is None:
        return None
    try:
        return moment(text, datetime.now(UTC), zone(desk.settings.timezone)).replace(tzinfo=UTC)
    except ValueError as error:
        raise ControlError(str(error)) from error


def _entry(entry: AuditEntry) -> EntryShown:
    return EntryShown(
        id=entry.id,
        at=entry.at,
        who=entry.who,
        way=entry.way,
        what=entry.what,
        subject=entry.subject,
        details=dict(entry.details),
    )


def list_audit(desk: Desk, call: Call) -> Page[EntryShown]:
    """List who changed what, the latest first."""
    query: AuditFilters = call.query
    found = desk.control.audit(
        since=point(desk, query.since),
        until=point(desk, query.until),
        who=query.who,
        what=query.what,
        before=query.cursor,
        limit=query.limit + 1,
    )
    items = found[: query.limit]
    following = str(items[-1].id) if len(found) > query.limit else None
    return Page(items=[_entry(each) for each in items], next_cursor=following)
