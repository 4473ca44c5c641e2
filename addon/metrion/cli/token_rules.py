"""The options of ``metrion token`` that say what a token may do: what was typed in; rules, and words for them, out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import click

from metrion.cli.options import Decorator, Name, complete_providers, together
from metrion.control import TokenRecord, check_label, suggestion
from metrion.endpoints import OPERATIONS
from metrion.errors import ControlError
from metrion.model import TokenRules
from metrion.providers import ALIASES, canonical_name
from metrion.settings import Settings

_FIELDS = {
    "allow_provider": ("providers", "allow_any_provider", "--allow-provider and --allow-any-provider"),
    "allow_model": ("models", "allow_any_model", "--allow-model and --allow-any-model"),
    "allow_operation": ("operations", "allow_any_operation", "--allow-operation and --allow-any-operation"),
    "from_": ("networks", "from_anywhere", "--from and --from-anywhere"),
}
"""Which rule an option is, which takes it away, and how the two are called together."""
OPPOSITES = (
    *((option, opposite, both) for option, (_, opposite, both) in _FIELDS.items()),
    ("key", "no_key", "--key and --no-key"),
)
FLAGS = tuple(opposite for _, opposite, _ in OPPOSITES)


class Model(click.ParamType[str]):
    """The name of a model, or a pattern of such."""

    name = "model"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return a name without blanks around it."""
        try:
            pattern = check_label(value)
        except ControlError as error:
            self.fail(str(error), param, ctx)
        if not pattern:
            self.fail("an empty name is none: write one such as gpt-4o, or 'claude-*'.", param, ctx)
        return pattern


class OperationName(click.ParamType[str]):
    """What can be asked of providers, as in the column ``operation``."""

    name = "operation"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name of an operation, whatever its case, and with hyphens too."""
        name = value.strip().lower().replace("-", "_")
        if name not in OPERATIONS:
            known = ", ".join(sorted(OPERATIONS))
            self.fail(f"no operation is called that.{suggestion(name, OPERATIONS)} There are: {known}.", param, ctx)
        return name


class Network(click.ParamType[str]):
    """An address or a network, of IPv4 or IPv6."""

    name = "network"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read ``10.0.0.0/8``, ``192.0.2.7``, ``2001:db8::/32``."""
        text = re.sub(r"[\[\]]", "", value.strip())
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            self.fail(f"{value!r} is no address. Write 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32.", param, ctx)
        address = text.partition("/")[0]
        if ip_address(address) != network.network_address:
            self.fail(f"{value!r} may mean {network}, or {address} alone: write one of them.", param, ctx)
        return str(network)


def rules_options(*, changing: bool) -> Decorator:
    """Add the options for what a token may do."""
    options = [
        click.option(
            "--allow-provider",
            multiple=True,
            metavar="PROVIDER",
            shell_complete=complete_providers,
            help="A provider that it may use, and no other. May be repeated.",
        ),
        click.option(
            "--allow-model",
            type=Model(),
            multiple=True,
            metavar="MODEL",
            help="A model that it may ask for, and no other; * stands for any text. May be repeated.",
        ),
        click.option(
            "--allow-operation",
            type=OperationName(),
            multiple=True,
            metavar="OPERATION",
            help="What it may ask for, as chat or embeddings, and nothing else. May be repeated.",
        ),
        click.option(
            "--from",
            "from_",
            type=Network(),
            multiple=True,
            metavar="NETWORK",
            help="Where its requests may come from, as 10.0.0.0/8, and from nowhere else. May be repeated.",
        ),
        click.option(
            "--key",
            type=Name(),
            metavar="NAME",
            help="The provider keys that it uses: those of this name, and no other.",
        ),
    ]
    if changing:
        options += [
            click.option("--no-key", is_flag=True, help="Let it use the keys without a name again."),
            click.option("--allow-any-provider", is_flag=True, help="Let it use every provider again."),
            click.option("--allow-any-model", is_flag=True, help="Let it ask for every model again."),
            click.option("--allow-any-operation", is_flag=True, help="Let it ask for everything again."),
            click.option("--from-anywhere", is_flag=True, help="Let its requests come from everywhere again."),
        ]
    return together(*options)


def changed_rules(rules: TokenRules, given: Mapping[str, Any], settings: Settings) -> TokenRules:
    """Return the rules with those that were given in the place of what was there."""
    changes: dict[str, Any] = {}
    for option, (field, opposite, _) in _FIELDS.items():
        values = given[option]
        if option == "allow_provider":
            values = [_provider(value, settings) for value in values]
        if values or given.get(opposite):
            changes[field] = tuple(dict.fromkeys(values))
    return replace(rules, **changes)


def described_rules(token: TokenRecord) -> list[str]:
    """Say what a token may do, for a sentence; nothing where it may do everything."""
    rules = token.rules
    said = (("providers", rules.providers), ("models", rules.models), ("operations", rules.operations))
    parts = [f"only the {what} {' '.join(names)}" for what, names in said if names]
    parts += [f"only from {' '.join(rules.networks)}"] if rules.networks else []
    return parts + ([f"only the keys named {token.key}"] if token.key else [])


def shown_rules(token: TokenRecord) -> str:
    """Say what a token may do, for a column."""
    rules = token.rules
    parts = [*rules.providers, *rules.models, *rules.operations, *(f"from {network}" for network in rules.networks)]
    parts += [f"key {token.key}"] if token.key else []
    return ", ".join(parts) or "-"


def _provider(value: str, settings: Settings) -> str:
    name = canonical_name(value.strip().lower())
    if name in settings.providers:
        return name
    if (name := canonical_name(value.strip())) in settings.providers:
        return name
    known = (*settings.providers, *ALIASES)
    message = f"no provider is called that.{suggestion(value, known)} Known are: {', '.join(known)}."
    raise click.BadParameter(message, param_hint="'--allow-provider'")
