"""The form of a token on the page Integrate: what was typed in; out a token that is made or changed, or what is wrong.

Its fields are everything that ``metrion token set`` can change. What is typed is read here, and checked where the admin
API has it checked; each mistake is told beside its field, and then nothing is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import reduce
from typing import Any

from metrion.budgets.changing import open_control
from metrion.control import ControlStore, TokenRecord, TokenTerms, check_name
from metrion.control.terms import MEMBERS, check_providers, expiry
from metrion.errors import ControlError, NameTakenError, StoreError
from metrion.settings import Settings
from metrion.web import formats
from metrion.web.display import Display

type Form = Mapping[str, str]

YES = "yes"
_OF_PLAN = "the plan's; 0: no limit"


@dataclass(frozen=True, slots=True)
class Field:
    """A field: how it is labelled, what an empty one means, how it is read, and what it has for a token."""

    label: str
    empty: str
    read: Callable[[str], Any]
    written: Callable[[TokenTerms], str]
    kind: str = "text"
    """``text``, ``number``, ``lines`` or ``check``."""
    example: str = ""


def _count(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,16}", text, re.ASCII) or int(text) > 2**53:
        raise ControlError("write a whole number. Empty: the plan's; 0: no limit.")
    return int(text)


def _dollars(text: str) -> str | None:
    if text and not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text, re.ASCII):
        raise ControlError("write an amount in US dollars: 50 or 49.99. Empty: none.")
    return text or None


def _seconds(text: str) -> float | None:
    if text and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII):
        raise ControlError("write a number of seconds: 30 or 0.5. Empty: the plan's; 0: no limit.")
    return float(text) if text else None


def _moment(text: str) -> datetime | None:
    return None if text in ("", "never") else expiry(text, datetime.now(UTC))


def _tags(text: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in text.splitlines()]
    if any(not equals for _, equals, _ in pairs):
        raise ControlError("a tag is written NAME=VALUE, as in team=search, one a line.")
    return {name: value for name, _, value in pairs}


def _key(text: str) -> str | None:
    return check_name(text) if text else None


def _words(text: str) -> list[str]:
    return re.split(r"[\s,]+", text) if text else []


def _number(value: float | None) -> str:
    return "" if value is None else f"{Decimal(str(value)).normalize():f}"


FIELDS: Mapping[str, Field] = {
    "account": Field("Account", "default", lambda text: text or "default", lambda terms: terms.account),
    "expires_at": Field(
        "Expires", "never", _moment,
        lambda terms: f"{terms.expires_at:%Y-%m-%dT%H:%M:%SZ}" if terms.expires_at else "",
        example="30d, 3mo or 2027-01-31",
    ),
    "requests_per_minute": Field(
        "Requests per minute", _OF_PLAN, _count, lambda terms: _number(terms.limits.requests_per_minute), "number", "20"
    ),
    "requests_per_month": Field(
        "Requests per month", _OF_PLAN, _count, lambda terms: _number(terms.limits.requests_per_month), "number", "5000"
    ),
    "monthly_budget_usd": Field(
        "Budget per month, USD", "none", _dollars,
        lambda terms: "" if terms.limits.monthly_budget_usd is None else f"{terms.limits.monthly_budget_usd:f}",
        "number", "49.99",
    ),
    "timeout": Field(
        "Timeout, seconds", _OF_PLAN, _seconds, lambda terms: _number(terms.limits.timeout), "number", "600"
    ),
    "allowed_providers": Field(
        "Providers that it may use", "all", _words, lambda terms: "\n".join(terms.rules.providers), "lines", "anthropic"
    ),
    "allowed_models": Field(
        "Models that it may ask for", "all", str.splitlines, lambda terms: "\n".join(terms.rules.models), "lines",
        "claude-*",
    ),
    "allowed_operations": Field(
        "Operations that it may ask for", "all", _words, lambda terms: "\n".join(terms.rules.operations), "lines",
        "chat",
    ),
    "allowed_networks": Field(
        "Networks that it may call from", "everywhere", _words, lambda terms: "\n".join(terms.rules.networks), "lines",
        "10.0.0.0/8",
    ),
    "user_label": Field("User's label", "what requests send", lambda text: text or None,
                        lambda terms: terms.labels.user or "", example="ann"),
    "allowed_labels": Field(
        "Labels that requests may send", "all", str.splitlines, lambda terms: "\n".join(terms.labels.allowed), "lines",
        "team-*",
    ),
    "tags": Field(
        "Tags", "none", _tags, lambda terms: "\n".join(f"{name}={value}" for name, value in terms.labels.tags.items()),
        "lines", "team=search",
    ),
    "key": Field("Name of the provider keys", "those without a name", _key, lambda terms: terms.key or "",
                 example="search"),
    "label_fixed": Field("Its label and tags hold whatever a request sends", "", YES.__eq__,
                         lambda terms: YES if terms.labels.fixed else "", "check"),
    "takes_unpriced": Field("It may use models without a price on a budget", "", YES.__eq__,
                            lambda terms: YES if terms.takes_unpriced else "", "check"),
}  # fmt: skip
"""All fields but the name, by the members that they change."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What came of a form: a token, or what is wrong, by field."""

    name: str = ""
    secret: str = field(default="", repr=False)
    """Of a token that was made: shown this once."""
    wrong: Mapping[str, str] = field(default_factory=dict)


def filled(terms: TokenTerms | None = None) -> dict[str, str]:
    """Return what the fields have for a token; without one, for a new one."""
    return {name: each.written(terms or TokenTerms()) for name, each in FIELDS.items()}


def typed(form: Form) -> dict[str, str]:
    """Return what was typed into the fields, blanks and empty lines left out."""
    return {name: "\n".join(filter(None, map(str.strip, form.get(name, "").splitlines()))) for name in FIELDS}


def terms_of(token: TokenRecord) -> TokenTerms:
    """Return what can be changed of a token."""
    return TokenTerms(
        account=token.account,
        limits=token.limits,
        labels=token.labels,
        expires_at=token.expires_at,
        rules=token.rules,
        key=token.key,
        takes_unpriced=token.takes_unpriced,
    )


def make(settings: Settings, control: ControlStore, form: Form) -> Saved:
    """Make a token.

    :raises ControlError: the control store cannot be used.
    """
    values, wrong = _read(settings, control, form, TokenTerms())
    name = form.get("name", "").strip() or None
    try:
        name = name and check_name(name)
    except ControlError as error:
        wrong["name"] = str(error)
    if wrong:
        return Saved(wrong=wrong)
    terms = _changed(TokenTerms(), values)
    try:
        with _control(settings, control, values) as store:
            made = store.create_token(
                name,
                account=terms.account,
                limits=terms.limits,
                labels=terms.labels,
                expires_at=terms.expires_at,
                rules=terms.rules,
                key=terms.key,
                takes_unpriced=terms.takes_unpriced,
            )
    except (ControlError, StoreError) as error:
        return Saved(wrong=_placed(error, values))
    return Saved(made.name, made.secret)


def change(settings: Settings, control: ControlStore, form: Form) -> Saved:
    """Change a token: only what was typed anew.

    :raises ControlError: no token of this name is in use, or the control store cannot be used.
    """
    name = form.get("name", "")
    token = in_use(control, name)
    if token is None:
        raise ControlError(f"there is no token named {name!r}.")
    values, wrong = _read(settings, control, form, terms_of(token))
    if wrong:
        return Saved(wrong=wrong)
    try:
        with _control(settings, control, values) as store:
            store.change_token(name, lambda terms: _changed(terms, values))
    except (ControlError, StoreError) as error:
        return Saved(wrong=_placed(error, values))
    return Saved(name)


def in_use(control: ControlStore, name: str) -> TokenRecord | None:
    """Return the token of this name that is not revoked; ``None``: there is none."""
    return next((each for each in control.tokens() if each.name == name and each.revoked_at is None), None)


def _read(
    settings: Settings, control: ControlStore, form: Form, before: TokenTerms
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of the fields that differ from what a token has, and what is wrong with some of them."""
    values, wrong, had = dict[str, Any](), dict[str, str](), typed(filled(before))
    for name, text in typed(form).items():
        if text == had[name] or (not text and name == "account"):
            continue
        try:
            values[name] = FIELDS[name].read(text)
            MEMBERS[name](before, values[name])
            if name == "allowed_providers":
                check_providers(values[name], settings.providers)
        except ControlError as error:
            wrong[name] = str(error)
    if "account" in values and values["account"] not in {each.name for each in control.accounts()}:
        wrong["account"] = "there is no account of this name."
    return values, wrong


def _changed(terms: TokenTerms, values: Mapping[str, Any]) -> TokenTerms:
    return reduce(lambda made, item: MEMBERS[item[0]](made, item[1]), values.items(), terms)


def _control(
    settings: Settings, control: ControlStore, values: Mapping[str, Any]
) -> AbstractContextManager[ControlStore]:
    """Return the control store; where a budget is set, one that counts it."""
    return open_control(settings) if values.get("monthly_budget_usd") is not None else nullcontext(control)


def _placed(error: Exception, values: Mapping[str, Any]) -> dict[str, str]:
    """Return an error with the field that it is about; none: it is about all of them."""
    if isinstance(error, NameTakenError):
        return {"name": str(error)}
    if isinstance(error, StoreError):
        return {"monthly_budget_usd": str(error)}
    return {"key" if values.get("key") else "": str(error)}


def summary(token: TokenRecord, display: Display) -> str:
    """Say in a few words what a token may use: its own limits and rules; those of its plan are on another page."""
    limits, rules, expires_at = token.limits, token.rules, token.expires_at
    budget = limits.monthly_budget_usd
    said = [
        "expired" if token.state == "expired" else "",
        _limit(limits.requests_per_minute, "a minute"),
        _limit(limits.requests_per_month, "a month"),
        f"{formats.usd(budget, display.currency)} a month" if budget else "",
        f"until {formats.moment(expires_at.replace(tzinfo=None), display.timezone)[:16]}" if expires_at else "",
        *(", ".join(each) for each in (rules.providers, rules.models, rules.operations) if each),
        f"from {', '.join(rules.networks)}" if rules.networks else "",
        f"labelled {token.labels.user}" if token.labels.user else "",
    ]
    return "; ".join(filter(None, said))


def _limit(count: int | None, per: str) -> str:
    if count is None:
        return ""
    return f"{count:,} requests {per}" if count else f"any number of requests {per}"
