"""``metrion token``: what callers identify themselves with.

`create` prints a token once, alone on standard output. Nothing else can ever show it again.
"""

from __future__ import annotations

import math
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import click

from metrion.cli.options import (
    Name,
    account_option,
    complete_tokens,
    format_option,
    note,
    note_other_home,
    print_records,
    settings_option,
)
from metrion.control import ControlStore, Limits, TokenRecord
from metrion.settings import Plan, Settings


class _Dollars(click.ParamType[Decimal]):
    """An amount in US dollars, exact."""

    name = "usd"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Read ``50`` or ``49.99``."""
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", value):
            self.fail(f"{value!r} is no amount in US dollars. Write 50 or 49.99; 0 means no limit.", param, ctx)
        return Decimal(value)


class _Seconds(click.ParamType[float]):
    """A length of time."""

    name = "seconds"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read ``30`` or ``0.5``."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            self.fail(f"{value!r} is no number of seconds. Write 30 or 0.5; 0 means no limit.", param, ctx)
        return seconds


_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class _Expiry(click.ParamType[datetime]):
    """A moment in the future."""

    name = "when"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read ``12h``, ``30d``, ``2027-01-31`` or ``2027-01-31T12:00`` (UTC)."""
        now = datetime.now(UTC)
        try:
            if after := re.fullmatch(r"([0-9]{1,5})([hdw])", value):
                moment = now + int(after[1]) * _UNITS[after[2]]
            else:
                moment = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time. Write 12h, 30d, 2w, 2027-01-31 or 2027-01-31T12:00 (UTC).", param, ctx)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if moment <= now:
            self.fail(f"{value!r} is in the past.", param, ctx)
        return moment


_COUNT = click.IntRange(0, 2**53)


@click.group()
def token() -> None:
    """Make, list and revoke the tokens that callers use."""


@token.command()
@click.argument("name", type=Name(), required=False)
@account_option
@click.option("--rate", type=_COUNT, metavar="N", help="Requests in any 60 seconds.")
@click.option("--monthly-requests", type=_COUNT, metavar="N", help="Requests in a calendar month (UTC).")
@click.option("--monthly-budget", type=_Dollars(), metavar="USD", help="Cost in a calendar month (UTC).")
@click.option("--timeout", type=_Seconds(), metavar="SECONDS", help="Wait for the first byte and between bytes.")
@click.option("--expires", type=_Expiry(), metavar="WHEN", help="When it ends: 12h, 30d, 2w, 2027-01-31.")
@settings_option
def create(
    name: str | None,
    account: str,
    rate: int | None,
    monthly_requests: int | None,
    monthly_budget: Decimal | None,
    timeout: float | None,
    expires: datetime | None,
    settings: Settings,
) -> None:
    """Make a token called NAME, or token-1, token-2 ….

    It is printed alone on standard output, this once. A limit that is not given is the plan's; 0 means no limit.

    \b
    Examples:
      metrion token create laptop
      metrion token create ci --account team --rate 20 --monthly-requests 5000 --expires 30d
      TOKEN=$(metrion token create script)
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    limits = Limits(
        requests_per_minute=rate,
        requests_per_month=monthly_requests,
        monthly_budget_usd=monthly_budget,
        timeout=timeout,
    )
    with closing(ControlStore.open(settings)) as store:
        made = store.create_token(name, account=account, limits=limits, expires_at=expires)
    click.echo(made.secret)
    note(f"Token {made.name} for account {made.account}. It cannot be shown again: keep it now.")
    note_other_home(settings)


@token.command("list")
@format_option("table", "json")
@settings_option
def list_(format_: str, settings: Settings) -> None:
    """List the tokens, with the limits that hold for them.

    \b
    Examples:
      metrion token list
      metrion token list --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        tokens = store.tokens()
    if format_ == "json":
        print_records([_record(each) for each in tokens], {}, format_)
        return
    headings = ("name", "account", "token", "rate", "monthly requests", "monthly budget", "timeout", "created", "state")
    rows = [_row(each, settings.plans[each.plan]) for each in tokens]
    print_records(rows, {name: name for name in headings}, format_)
    if not tokens:
        note("There are no tokens yet: `metrion token create` makes one.")


@token.command()
@click.argument("name", type=Name(), shell_complete=complete_tokens)
@settings_option
def revoke(name: str, settings: Settings) -> None:
    """Refuse the token NAME from now on.

    \b
    Examples:
      metrion token revoke laptop
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        store.revoke_token(name)
    note(f"Token {name} is revoked.")


def _record(token: TokenRecord) -> dict[str, object]:
    limits = token.limits
    return {
        "name": token.name,
        "account": token.account,
        "plan": token.plan,
        "token": token.shown,
        "requests_per_minute": limits.requests_per_minute,
        "requests_per_month": limits.requests_per_month,
        "monthly_budget_usd": None if limits.monthly_budget_usd is None else format(limits.monthly_budget_usd, "f"),
        "timeout": limits.timeout,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "state": token.state,
    }


def _row(token: TokenRecord, plan: Plan) -> dict[str, object]:
    limits = token.limits
    return {
        "name": token.name,
        "account": token.account,
        "token": token.shown,
        "rate": _limit(limits.requests_per_minute, plan.requests_per_minute, "/min"),
        "monthly requests": _limit(limits.requests_per_month, plan.requests_per_month),
        "monthly budget": _limit(limits.monthly_budget_usd, None, " USD"),
        "timeout": _limit(limits.timeout, plan.timeout, " s"),
        "created": token.created_at,
        "state": token.state,
    }


def _limit(own: float | Decimal | None, plan: float | None, unit: str = "") -> str:
    """Show the limit that holds: the token's own, else the plan's; 0 and ``None`` are none."""
    holds = plan if own is None else own
    return f"{holds:,}{unit}".replace(".0 s", " s") if holds else "-"
