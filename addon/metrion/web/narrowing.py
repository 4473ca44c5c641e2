"""Filters beside the dimensions: what a parameter of the URL says → a condition in SQL. Pure.

Some of them the sums answer. A view by one of the others reads rows of ``events``, over at most :data:`LONGEST`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

LONGEST = timedelta(days=31)
NONE = "(none)"
"""What a page calls a value that is NULL."""
_TOP = Decimal(10) ** 12

type Condition = tuple[str, Mapping[str, Any]]
"""SQL over columns that rows have, or over ``{failed}``; its ``$`` parameters."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A filter, as people see it and as it is read; what makes no sense is read as ``None``."""

    label: str
    hint: str
    read: Callable[[str, str], Condition | None]
    key: str = ""
    """The column of the sums that answers it; without one, only rows do."""
    choices: tuple[str, ...] = ()
    number: bool = False


def _equal(column: str) -> Callable[[str, str], Condition]:
    def read(name: str, value: str) -> Condition:
        return (f"{column} IS NULL", {}) if value == NONE else (f"{column} = ${name}", {name: value})

    return read


def _tagged(name: str, value: str) -> Condition | None:
    key, has_value, text = value.partition("=")
    if not key:
        return None
    found = f"tags[${name}]"
    return (
        (f"{found} = ${name}_is", {name: key, f"{name}_is": text})
        if has_value
        else (f"{found} IS NOT NULL", {name: key})
    )


def _outcome(_name: str, value: str) -> Condition | None:
    condition = {"good": "NOT {failed}", "failed": "{failed}"}.get(value)
    return None if condition is None else (condition, {})


def _status(name: str, value: str) -> Condition | None:
    """Read a status, ``429``, or all that begin alike, ``4xx``."""
    if value == NONE:
        return "status IS NULL", {}
    if not re.fullmatch(r"[1-9]([0-9]{2}|xx)", value, re.ASCII):
        return None
    first, last = value.replace("x", "0"), value.replace("x", "9")
    return f"status BETWEEN ${name}::INT AND ${name}_to::INT", {name: first, f"{name}_to": last}


def _bound(column: str, sign: str, kind: str) -> Callable[[str, str], Condition | None]:
    def read(name: str, value: str) -> Condition | None:
        try:
            amount = Decimal(value)
        except InvalidOperation:
            return None
        if not amount.is_finite() or not 0 <= amount < _TOP:
            return None
        return f"{column} {sign} ${name}::{kind}", {name: format(amount, "f")}

    return read


def _searched(name: str, value: str) -> Condition:
    texts = "request_id, generation_id, provider_request_id, path, error_type, user_label, session_id"
    return f"contains(concat_ws(' ', {texts}, event_id::VARCHAR), ${name})", {name: value}


_MONEY = "DECIMAL(38, 12)"
NARROWINGS: Mapping[str, Narrowing] = {
    "outcome": Narrowing("Outcome", "good or failed", _outcome, "failed", ("good", "failed")),
    "status": Narrowing("Status", "429 or 5xx", _status, "status"),
    "session": Narrowing("Session", "any", _equal("session_id")),
    "client": Narrowing("Client", "any", _equal("client")),
    "tag": Narrowing("Tag", "team=search", _tagged),
    "cost_from": Narrowing("USD from", "0.05", _bound("cost_usd", ">=", _MONEY), number=True),
    "cost_to": Narrowing("USD up to", "1.5", _bound("cost_usd", "<=", _MONEY), number=True),
    "latency_from": Narrowing("Milliseconds from", "2000", _bound("latency_ms", ">=", "DOUBLE"), number=True),
    "latency_to": Narrowing("Milliseconds up to", "30000", _bound("latency_ms", "<=", "DOUBLE"), number=True),
    "search": Narrowing("Text", "id, path, label", _searched),
}
"""All of them, by the parameter."""


def condition(name: str, value: str) -> Condition | None:
    """Return what rows must meet for a filter; ``None``: the value makes no sense."""
    return NARROWINGS[name].read(f"x_{name}", value)
