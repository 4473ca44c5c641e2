"""``metrion key``: the keys of providers.

A key comes in through a hidden prompt or standard input, never through an argument, which the shell's history and the
process list would keep. Only masked keys go out.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from contextlib import closing
from datetime import UTC, datetime

import click
from click.core import ParameterSource

from metrion.cli.options import (
    Name,
    account_option,
    complete_providers,
    format_option,
    note,
    note_other_home,
    print_records,
    settings_option,
)
from metrion.cli.values import Until
from metrion.control import ALL_ACCOUNTS, DEFAULT_ACCOUNT, ControlStore, KeyRecord, suggestion
from metrion.providers import ALIASES, PROVIDERS, canonical_name
from metrion.settings import Settings

_for_all_option = click.option(
    "--for-all", is_flag=True, help="Of every account that has no key of its own at this provider."
)
_name_option = click.option(
    "--name", type=Name(), metavar="NAME", help="What it is called, beside the one that needs no name."
)
_LONGEST_KEY = 8192  # what a header may hold at most providers; a file piped in by mistake is longer


@click.group()
def key() -> None:
    """Store, list, replace and remove provider keys."""


@key.command("set", context_settings={"allow_extra_args": True})
@click.argument("provider", shell_complete=complete_providers)
@account_option
@_for_all_option
@_name_option
@settings_option
@click.pass_context
def set_(
    context: click.Context, provider: str, account: str, for_all: bool, name: str | None, settings: Settings
) -> None:
    """Store the key of PROVIDER, encrypted, in place of an older one.

    The command asks for the key and does not show it, or reads it from standard input. PROVIDER is anthropic, openai,
    google (or gemini), mistral, xai (or grok), or one that metrion.yaml defines.

    With --for-all, accounts share the key: each uses it that has none of its own. With --name, only tokens use it that
    are tied to that name (`metrion token create --key NAME`).

    \b
    Examples:
      metrion key set openai
      metrion key set anthropic --account team < key.txt
      metrion key set mistral --for-all
      metrion key set openai --name search
      printf %s "$OPENAI_API_KEY" | metrion key set openai
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    known = _checked(context, provider, settings)
    account = _whose(context, account, for_all)
    secret = _read_key(known)
    with closing(ControlStore.open(settings)) as store:
        store.set_key(known, secret, account, name)
    is_plain = name is None and _overrides(known, account, settings)
    overrides = f" It overrides {PROVIDERS[known].environment}." if is_plain else ""
    note(f"Stored the {_called(known, name)} for {_shown(account)}.{overrides}")
    note_other_home(settings)


@key.command(context_settings={"allow_extra_args": True})
@click.argument("provider", shell_complete=complete_providers)
@account_option
@_for_all_option
@_name_option
@click.option(
    "--keep",
    type=Until(),
    default="7d",
    metavar="DURATION",
    show_default=True,
    help="How long the old one is kept: 90s, 30m, 12h, 7d, 2w, 1mo.",
)
@click.option("--back", is_flag=True, help="Use the old one again, and keep the new one in its place.")
@settings_option
@click.pass_context
def rotate(
    context: click.Context,
    provider: str,
    account: str,
    for_all: bool,
    name: str | None,
    keep: datetime,
    back: bool,
    settings: Settings,
) -> None:
    """Put a new key in the place of the stored one of PROVIDER.

    The new key is asked for, or read from standard input. The next request goes out with it; what is on its way keeps
    the old one. The old one is kept for a while: `metrion key list` shows when it was last used, so that you know when
    to revoke it at the provider, and --back uses it again.

    \b
    Examples:
      metrion key rotate openai
      metrion key rotate openai --name search --keep 1d
      metrion key rotate openai --back
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    known = _checked(context, provider, settings)
    account = _whose(context, account, for_all)
    with closing(ControlStore.open(settings)) as store:
        if back:
            store.bring_key_back(known, account, name)
            note(f"The former {_called(known, name)} of {_shown(account)} is used again.")
        else:
            store.rotate_key(known, _read_key(known), account, keep, name)
            until = f"is kept until {keep:%Y-%m-%d %H:%M} UTC" if keep > datetime.now(UTC) else "is forgotten"
            note(f"The {_called(known, name)} of {_shown(account)} is a new one; the old one {until}.")
    note_other_home(settings)


@key.command("list")
@format_option("table", "json", "csv")
@settings_option
def list_(format_: str, settings: Settings) -> None:
    """List the provider keys, masked, which one is used where there are two, and when each was last used.

    The account `*` is every account that has no key of its own at that provider. The last use is known to a minute.

    \b
    Examples:
      metrion key list
      metrion key list --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        keys = store.keys()
    print_records(
        [
            {
                "provider": each.provider,
                "account": each.account,
                "key": each.shown,
                "source": PROVIDERS[each.provider].environment if each.source == "environment" else "stored",
                "state": _state(each),
                "stored_at": each.stored_at,
                "name": each.name,
                "ends_at": each.ends_at,
                "last_used_at": each.last_used_at,
            }
            for each in keys
        ],
        {name: name for name in ("provider", "account", "key", "source", "state")}
        | {"stored_at": "stored", "name": "name", "ends_at": "kept until", "last_used_at": "last used"},
        format_,
    )
    if problems := dict.fromkeys(each.problem for each in keys if each.problem):
        raise click.ClickException("\n".join(problems))
    if not keys and format_ == "table":
        note("There are no keys yet: `metrion key set PROVIDER` stores one.")


@key.command()
@click.argument("provider", shell_complete=complete_providers)
@account_option
@_for_all_option
@_name_option
@click.option("--former", is_flag=True, help="Only the one that was replaced by `metrion key rotate`.")
@settings_option
@click.pass_context
def remove(
    context: click.Context,
    provider: str,
    account: str,
    for_all: bool,
    name: str | None,
    former: bool,
    settings: Settings,
) -> None:
    """Forget the stored key of PROVIDER, and the one that it has replaced.

    \b
    Examples:
      metrion key remove openai
      metrion key remove openai --account team
      metrion key remove mistral --for-all
      metrion key remove openai --name search
      metrion key remove openai --former
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    provider_name, account = canonical_name(provider), _whose(context, account, for_all)
    with closing(ControlStore.open(settings)) as store:
        keys = store.keys()
        known = {*settings.providers, *(each.provider for each in keys)}  # a provider may have left metrion.yaml
        if provider_name not in known:
            raise _no_such_provider(provider, settings, context)
        store.remove_key(provider_name, account, name, former=former)
        left = [each for each in store.keys() if each.provider == provider_name and each.in_use and each.name is None]  # noqa: SIM118 -- not a mapping's
    which = f"former {_called(provider_name, name)}" if former else _called(provider_name, name)
    note(f"Removed the {which} of {_shown(account)}.{_used_now(account, left) if name is None and not former else ''}")


def _checked(context: click.Context, provider: str, settings: Settings) -> str:
    """Return the name of a provider that can have a key."""
    name = canonical_name(provider)
    if context.args:
        raise click.UsageError(
            "the key is not taken from the command line, where history and process lists keep it: leave it out and "
            "paste it when asked, or pipe it in.",
            context,
        )
    if name not in settings.providers:
        raise _no_such_provider(provider, settings, context)
    if not settings.providers[name].needs_key:
        raise click.ClickException(
            f"{name} gets no key: {settings.config_path} has `credential: none` for it. Take that out first."
        )
    return name


def _called(provider: str, name: str | None) -> str:
    return f"{provider} key" if name is None else f"{provider} key {name}"


def _state(key: KeyRecord) -> str:
    if key.problem:
        return "unreadable"
    return "in use" if key.in_use else "former" if key.former else "overridden"


def _whose(context: click.Context, account: str, for_all: bool) -> str:
    """Return the account that a key belongs to."""
    if for_all and context.get_parameter_source("account") is not ParameterSource.DEFAULT:
        raise click.UsageError("a key belongs to one account or to all: leave out --account or --for-all.", context)
    return ALL_ACCOUNTS if for_all else account


def _shown(account: str) -> str:
    return "all accounts that have none of their own" if account == ALL_ACCOUNTS else f"account {account}"


def _used_now(removed: str, left: Collection[KeyRecord]) -> str:
    """Say which key takes the place of the one that is gone."""
    for key in left:
        if key.is_shared:
            return " The one for all accounts is used now."
        if key.source == "environment" and removed in (DEFAULT_ACCOUNT, ALL_ACCOUNTS):
            return f" {PROVIDERS[key.provider].environment} is used now" + (
                f" by account {DEFAULT_ACCOUNT}." if removed == ALL_ACCOUNTS else "."
            )
    return ""


def _no_such_provider(provider: str, settings: Settings, context: click.Context) -> click.BadParameter:
    known = (*settings.providers, *ALIASES)
    # Not repeated: it may be the key itself.
    message = f"no provider is called that.{suggestion(provider, known)} Known are: {', '.join(known)}."
    return click.BadParameter(message, context, param_hint="PROVIDER")


def _overrides(provider: str, account: str, settings: Settings) -> bool:
    return account in (DEFAULT_ACCOUNT, ALL_ACCOUNTS) and provider in settings.environment_keys


def _read_key(provider: str) -> str:
    """Return what was typed or piped in, checked for what can never be a key."""
    if sys.stdin is not None and sys.stdin.isatty():
        text: str = click.prompt(f"{provider} key", hide_input=True, err=True)
    else:
        raw = b"" if sys.stdin is None else sys.stdin.buffer.read(_LONGEST_KEY + 2)
        text = raw.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    again = f'Pipe the key alone, as in `printf %s "$KEY" | metrion key set {provider}`.'
    if not text:
        raise click.ClickException(f"no key came in: standard input was empty. {again}")
    if any(character.isspace() for character in text):
        raise click.ClickException(f"there is whitespace in what came in, so it is no key. {again}")
    if len(text) > _LONGEST_KEY or not (text.isascii() and text.isprintable()):
        raise click.ClickException(f"what came in has characters that no key has, or is far too long. {again}")
    if text.startswith("sk-metrion-"):
        raise click.ClickException(
            f"this is a Metrion token, which callers send to Metrion. Give the key that {provider} issued."
        )
    return text
