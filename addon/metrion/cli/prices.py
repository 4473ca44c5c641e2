"""``metrion prices``: show what a model costs, and take a newer price file. Never by itself, never from the network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metrion.cli.options import note, settings_option
from metrion.errors import PricingError

if TYPE_CHECKING:  # these import pydantic and YAML, which --help need not load
    from metrion.pricing.changes import Changes
    from metrion.settings import Settings

_MOST_MODELS = 40
"""So many are named of those that are added or removed."""


@click.group()
def prices() -> None:
    """Show what models cost, and take a newer price file."""


@prices.command()
@click.argument("model")
@settings_option
def show(settings: Settings, model: str) -> None:
    """Show what MODEL costs today: US dollars per million tokens, fees per 1,000.

    MODEL is a name as a response has it, with `provider/` before it where several have one.

    \b
    Examples:
      metrion prices show gpt-4o-mini
      metrion prices show anthropic/claude-sonnet-4-5
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.model import Usage
    from metrion.pricing import PriceBook
    from metrion.pricing.changes import rates_of

    book = PriceBook.load(settings.pricing)
    provider, slash, name = model.partition("/")
    asked = (
        [(provider, name)]
        if slash and provider in settings.providers
        else [(each, model) for each in settings.providers]
    )
    now, found = datetime.now(UTC), 0
    for provider, name in asked:
        priced = book.priced_by(provider=provider, model=name, model_requested=None, usage=Usage(), when=now)
        if priced is None:
            continue
        entry, found = priced[0], found + 1
        click.echo(f"{provider}/{entry.model}")
        rates = rates_of(entry, now.date())
        width = max(map(len, rates), default=0)
        for what, amount in rates.items():
            click.echo(f"  {what:<{width}}  {amount}")
    if not found:
        raise PricingError(
            f"no model called {model} has a price; give it one in a file of your own (docs/pricing.md), or look at "
            "`metrion report unpriced`"
        )


@prices.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Install it without asking.")
@settings_option
def update(settings: Settings, file: Path, yes: bool) -> None:
    """Take a newer pricing.yaml: check FILE, show what differs, and install it into the home.

    It takes the place of Metrion's own prices, and no place of price files of your own. It asks before. Nothing is ever
    fetched.

    \b
    Examples:
      metrion prices update pricing.yaml
      metrion prices update --yes pricing.yaml
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.pricing import PriceBook
    from metrion.pricing.changes import changes
    from metrion.pricing.files import last_checked, read_bytes, read_entries
    from metrion.settings.values import own_prices

    current = own_prices(settings.home)
    old, new = read_bytes(current), read_bytes(file)
    PriceBook.read([(file, new)])
    was, is_ = last_checked(old), last_checked(new)
    if was is not None and (is_ is None or is_ < was):
        raise PricingError(
            f"{file}: is older than what is in use ({current}: checked until {was}, this one until {is_ or 'no day'})."
            " To use it all the same, name it under `pricing` in metrion.yaml."
        )
    found = changes(read_entries(current, old), read_entries(file, new), datetime.now(UTC).date())
    if old == new:
        note(f"{file} is what is in use: {current}")
        return
    for line in _shown(found):
        click.echo(line)
    if not yes:
        if not sys.stdin.isatty():
            raise PricingError("nothing was installed: nobody is there to ask; give --yes")
        if not click.confirm("Install it?", err=True):
            raise PricingError("nothing was installed")
    target = settings.home / "pricing.yaml"
    _install(target, new)
    note(f"Installed as {target}. `metrion reload` has a running proxy take it, `metrion reprice` prices rows again.")
    if current not in settings.pricing:
        note("metrion.yaml names other price files alone: with pricing.yaml among those under `pricing`, it counts.")


def _shown(found: Changes) -> Iterator[str]:
    for word, names in (("added", found.added), ("removed", found.removed)):
        if names:
            more = f" and {len(names) - _MOST_MODELS} more" if len(names) > _MOST_MODELS else ""
            yield f"{word} ({len(names)}): {', '.join(names[:_MOST_MODELS])}{more}"
    for name, rates in found.changed.items():
        if not rates:
            yield f"{name}: names, days or sources of its prices"
        for rate in rates:
            yield f"{name}: {rate.what}: {rate.before or 'none'} → {rate.after or 'none'}"
    if not found:
        yield "No price differs."


def _install(target: Path, content: bytes) -> None:
    """Put it in place whole or not at all."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PricingError(f"{target}: cannot be written: {error.strerror}") from error
