"""Who may call, and with which provider keys: accounts, tokens, and keys that are stored or in the environment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from metrion.control import DEFAULT_ACCOUNT, ControlStore, KeyRecord
from metrion.doctor.findings import Finding, Subject, fail, ok, warn
from metrion.errors import ControlError
from metrion.providers import PROVIDERS
from metrion.settings import Settings


def accounts_tokens_and_keys(subject: Subject) -> Iterator[Finding]:
    """Report the tokens that can be used, the keys of each provider, and whether the stored ones open."""
    settings = subject.settings
    if not settings.control_db.exists():
        yield warn("tokens: there is none", "`metrion token create` makes one, and so does the first `metrion serve`")
        yield from _keys(
            settings, [(name, f"from {PROVIDERS[name].environment}") for name in settings.environment_keys]
        )
        return
    try:
        if damage := _damage(settings.control_db):
            yield fail(f"{settings.control_db}: damaged ({damage})", "put a backup in its place while nothing runs")
            return
        with closing(ControlStore.open(settings)) as control:
            tokens, keys = control.tokens(), control.keys()
            accounts = {account.name for account in control.accounts()}
    except ControlError as error:
        yield fail(str(error).rstrip("."), "no request is admitted before this is well")
        return
    active = sum(token.state == "active" for token in tokens)
    if active:
        yield ok(f"tokens: {active} can be used")
    else:
        yield warn("tokens: none can be used", "`metrion token create` makes one")
    if settings.intercept.account not in accounts:
        yield warn(
            f"intercept: there is no account {settings.intercept.account}; intercepted traffic has its name anyway",
            f"`metrion account create {settings.intercept.account}`, or correct `intercept.account`",
        )
    for problem in dict.fromkeys(key.problem for key in keys if key.problem):
        yield fail(problem, "every request is refused until it opens")
    yield from _keys(settings, [(key.provider, _described(key)) for key in keys if key.in_use])


def _described(key: KeyRecord) -> str:
    """Return the masked key, and where it comes from."""
    source = "stored" if key.source == "stored" else f"from {PROVIDERS[key.provider].environment}"
    whose = " for all accounts" if key.is_shared else f" for account {key.account}"
    named = "" if key.name is None else f" by the name {key.name}"
    return f"{key.shown}, {source}{named}" + (whose if key.account != DEFAULT_ACCOUNT else "")


def _damage(path: Path) -> str | None:
    """Return what SQLite finds wrong with a database; ``None``: nothing, or what opening it will say better."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        ((verdict, *_),) = db.execute("PRAGMA quick_check(1)")
        return None if verdict == "ok" else str(verdict)
    return None


def _keys(settings: Settings, keys: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """Report each key, given as its provider and its description, and the providers without one."""
    for provider, description in keys:
        if provider in settings.providers:
            yield ok(f"keys: {provider}: {description}")
        else:
            yield warn(
                f"keys: {provider}: {description}, but no such provider is configured",
                f"configure it, or `metrion key remove {provider}`",
            )
    needy = [name for name, provider in settings.providers.items() if provider.needs_key]
    without = [name for name in needy if name not in {provider for provider, _ in keys}]
    if without and len(without) == len(settings.providers):
        yield warn(
            "keys: no provider has one, so only callers with a key of their own get through",
            "`metrion key set PROVIDER` stores one",
        )
    elif without:
        yield ok(f"keys: none for {', '.join(without)}", "`metrion key set PROVIDER`, should you need them")
