"""The values that requests and answers are made of, each with its form: what pydantic checks is what the document says.

What a form cannot say (a label that may be a secret, a moment that is past) is said by the function that is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints

from metrion.admission.labels import LONGEST_LABEL, LONGEST_TAG_NAME
from metrion.api.operation import Given, Shown

MOST = 1000
"""Items of a page."""

type Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
type Owner = Annotated[str, StringConstraints(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._@-]{0,63})$")]
"""An account, or ``*``: every account that has no key of its own."""
type Label = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_LABEL)]
type TagValue = Annotated[str, StringConstraints(max_length=LONGEST_LABEL)]
type TagName = Annotated[str, StringConstraints(pattern=rf"^[a-z0-9._-]{{1,{LONGEST_TAG_NAME}}}$")]
type Model = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_LABEL)]
type OperationName = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,64}$")]
type Network = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F.:]{2,45}(/[0-9]{1,3})?$")]
"""An address or a network, of IPv4 or IPv6: ``10.0.0.0/8``."""
type Count = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(whole)]
type Dollars = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,12}(\.[0-9]{1,12})?$")]
"""An exact amount, as a text."""
type Seconds = Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]
type Moment = AwareDatetime
type Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
type Point = Annotated[
    str,
    StringConstraints(
        pattern=r"^(now|today|yesterday|month|[0-9]{1,6}[mhdw]|[0-9]{4}-[0-9]{2}-[0-9]{2}"
        r"(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?)$"
    ),
]
"""A point in time as the command line takes it: ``7d``, ``today``, ``2026-11-01``, ``2026-11-01T08:00:00Z``."""


def whole(value: object) -> object:
    """Return 5 for 5.0, which JSON does not tell apart."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Named(Given):
    """A name in the path."""

    name: Name


class Paging(Given):
    """Which items of a list: at most ``limit``, those behind ``cursor``."""

    limit: Annotated[int, Field(ge=1, le=MOST, description="How many items, at most.")] = 100
    cursor: Annotated[
        str | None, StringConstraints(max_length=1000), Field(description="`next_cursor` of the page before.")
    ] = None


class Page[T](Shown):
    """A page of a list."""

    items: list[T]
    next_cursor: str | None = Field(description="The cursor of the next page; null: this is the last one.")


def paged[R, T](records: Iterable[R], position: Callable[[R], str], shown: Callable[[R], T], paging: Paging) -> Page[T]:
    """Return a page of records in the order of their positions, which never change and are all different.

    A cursor is the position of the last item before, so that what is added or removed meanwhile repeats and hides
    nothing.
    """
    ordered = sorted(records, key=position)
    behind = [each for each in ordered if paging.cursor is None or position(each) > paging.cursor]
    items = behind[: paging.limit]
    following = position(items[-1]) if len(behind) > paging.limit else None
    return Page(items=[shown(each) for each in items], next_cursor=following)


def plain(value: Any) -> Any:
    """Return a value of the store as JSON has it: decimals as texts, moments in ISO 8601 with ``Z``."""
    if value is None or isinstance(value, bool | int | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else f"{value.isoformat()}Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value)
