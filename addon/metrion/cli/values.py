"""The values that options of ``metrion token`` take: what a person typed in; an amount, a moment, a label out.

Anything else is bad usage, and the error says how to write it.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click

from metrion.errors import ControlError

COUNT = click.IntRange(0, 2**53)


class Dollars(click.ParamType[Decimal]):
    """An amount in US dollars, exact."""

    name = "usd"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Read ``50`` or ``49.99``."""
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", value):
            self.fail(f"{value!r} is no amount in US dollars. Write 50 or 49.99; 0 means no limit.", param, ctx)
        return Decimal(value)


class Amount(click.ParamType[Decimal]):
    """An amount in US dollars that may be nothing, exact."""

    name = "usd"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Read ``50``, ``49.99`` or ``0``."""
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", value, re.ASCII):
            self.fail(
                f"{value!r} is no amount in US dollars. Write 50 or 49.99: at most 12 digits before and after the "
                "point. 0 means that nothing may be spent.",
                param,
                ctx,
            )
        return Decimal(value)


class Seconds(click.ParamType[float]):
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


class Expiry(click.ParamType[datetime]):
    """A moment in the future."""

    name = "when"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read ``12h``, ``30d``, ``3mo``, ``1y``, ``2027-01-31`` or ``2027-01-31T12:00`` (UTC)."""
        from metrion.control.terms import expiry

        try:
            return expiry(value, datetime.now(UTC))
        except ControlError as error:
            self.fail(str(error), param, ctx)


class Until(click.ParamType[datetime]):
    """A length of time that begins now, as the moment at which it ends."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read ``0``, ``90s``, ``30m``, ``12h``, ``7d``, ``2w``, ``1mo`` or ``1y``."""
        from metrion.control.terms import after

        now = datetime.now(UTC)
        try:
            until = now if value == "0" else after(now, value, "smhdw")
        except (ValueError, OverflowError):
            until = None
        if until is None:
            self.fail(f"{value!r} is no length of time. Write 90s, 30m, 12h, 7d, 2w or 1mo; 0 is at once.", param, ctx)
        return until


class Or[T](click.ParamType[T | str]):
    """A value of another type, or one word."""

    def __init__(self, word: str, other: click.ParamType[T]) -> None:
        self.word = word
        self._other = other
        self.name = f"{other.name}|{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T | str:
        """Return the word as it is, and anything else as the other type reads it."""
        if value == self.word:
            return self.word
        try:
            return self._other.convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.rstrip('.')}. Or write {self.word}.", param, ctx)


class Label(click.ParamType[str]):
    """The label of a user, or a pattern of such."""

    name = "label"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return a label that events can have."""
        from metrion.control import check_label

        try:
            label = check_label(value)
        except ControlError as error:
            self.fail(str(error), param, ctx)
        if not label:
            self.fail("an empty label is none: leave the option out.", param, ctx)
        return label


class Tag(click.ParamType[tuple[str, str]]):
    """A tag."""

    name = "tag"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Read ``team=search``; the value may be empty."""
        from metrion.control import check_label, check_tag_name

        name, equals, text = value.partition("=")
        if not equals:
            self.fail("a tag is written NAME=VALUE, as in team=search.", param, ctx)
        try:
            return check_tag_name(name), check_label(text)
        except ControlError as error:
            self.fail(str(error), param, ctx)
