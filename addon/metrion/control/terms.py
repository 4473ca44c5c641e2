"""What of a token's terms is sent by its name, as the admin API and forms do: values in, terms out. Pure.

Each value is checked as ``metrion token`` checks its options. Every error is a :class:`~metrion.errors.ControlError`
that says what to write.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

from metrion.admission.labels import MOST_TAGS
from metrion.control.names import check_label, check_tag_name
from metrion.control.records import TokenTerms
from metrion.endpoints import OPERATIONS
from metrion.errors import ControlError
from metrion.providers import canonical_name

MEMBERS: Mapping[str, Callable[[TokenTerms, Any], TokenTerms]] = {
    "account": lambda terms, value: replace(terms, account=value),
    "requests_per_minute": lambda terms, value: _limited(terms, requests_per_minute=value),
    "requests_per_month": lambda terms, value: _limited(terms, requests_per_month=value),
    "monthly_budget_usd": lambda terms, value: _limited(
        terms, monthly_budget_usd=None if value is None else Decimal(value)
    ),
    "timeout": lambda terms, value: _limited(terms, timeout=value),
    "expires_at": lambda terms, value: replace(terms, expires_at=_future(value)),
    "user_label": lambda terms, value: _labelled(terms, user=None if value is None else check_label(value) or None),
    "tags": lambda terms, value: _labelled(terms, tags=_tagged(value)),
    "label_fixed": lambda terms, value: _labelled(terms, fixed=value),
    "allowed_labels": lambda terms, value: _labelled(terms, allowed=_each(value, check_label)),
    "key": lambda terms, value: replace(terms, key=value),
    "allowed_providers": lambda terms, value: _ruled(terms, providers=_each(value, canonical_name)),
    "allowed_models": lambda terms, value: _ruled(terms, models=_each(value, check_label)),
    "allowed_operations": lambda terms, value: _ruled(terms, operations=_each(value, _operation)),
    "allowed_networks": lambda terms, value: _ruled(terms, networks=_each(value, _network)),
    "takes_unpriced": lambda terms, value: replace(terms, takes_unpriced=value),
}
"""What each of them changes."""

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_MONTHS = {"mo": 1, "y": 12}


def check_providers(names: Sequence[str], known: Collection[str]) -> None:
    """Return if each is the name of a provider.

    :raises ControlError: one is not.
    """
    for name in names:
        if canonical_name(name) not in known:
            raise ControlError(f"no provider is called {name!r}. Known are: {', '.join(known)}.")


def after(now: datetime, text: str, units: str) -> datetime | None:
    """Return the moment so long after ``now``; ``None``: this is no length of time in these units, months or years.

    :raises ValueError: it is further away than a calendar reaches.
    :raises OverflowError: likewise.
    """
    written = re.fullmatch(rf"([0-9]{{1,6}})(mo|y|[{units}])", text)
    if written is None:
        return None
    count, unit = int(written[1]), written[2]
    if unit in _UNITS:
        return now + count * _UNITS[unit]
    years, month = divmod(now.month - 1 + count * _MONTHS[unit], 12)
    year, month = now.year + years, month + 1
    return now.replace(year=year, month=month, day=min(now.day, calendar.monthrange(year, month)[1]))


def expiry(text: str, now: datetime) -> datetime:
    """Read when a token ends: ``12h``, ``30d``, ``3mo``, ``1y``, ``2027-01-31`` or ``2027-01-31T12:00`` (UTC).

    :raises ControlError: it is none of these, or past.
    """
    try:
        # Not minutes: whoever writes 3m means months.
        moment = after(now, text, "hdw") or _utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise ControlError(
            f"{text!r} is no time. Write 12h, 30d, 2w, 2027-01-31 or 2027-01-31T12:00 (UTC). Months are 3mo, years 1y."
        ) from None
    if moment <= now:
        raise ControlError(f"{text!r} is in the past.")
    return moment


def _limited(terms: TokenTerms, **limits: Any) -> TokenTerms:
    return replace(terms, limits=replace(terms.limits, **limits))


def _labelled(terms: TokenTerms, **labels: Any) -> TokenTerms:
    return replace(terms, labels=replace(terms.labels, **labels))


def _ruled(terms: TokenTerms, **rules: Any) -> TokenTerms:
    return replace(terms, rules=replace(terms.rules, **rules))


def _tagged(tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > MOST_TAGS:
        raise ControlError(f"{len(tags)} tags are more than the {MOST_TAGS} of an event.")
    return {check_tag_name(name): check_label(text) for name, text in tags.items()}


def _each(values: Sequence[str], checked: Callable[[str], str]) -> tuple[str, ...]:
    """Return every value once, as it is kept; what is empty is left out."""
    return tuple(dict.fromkeys(filter(None, map(checked, values))))


def _operation(name: str) -> str:
    if name not in OPERATIONS:
        raise ControlError(f"no operation is called {name!r}. There are: {', '.join(sorted(OPERATIONS))}.")
    return name


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ControlError(f"{text!r} is no network. Write 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32.") from None


def _future(value: datetime | None) -> datetime | None:
    if value is not None and value <= datetime.now(UTC):
        raise ControlError("the moment is past.")
    return value


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
