"""Environments that other proxies are run with: their variables → settings and policies, only where they are asked for.

A stray ``DEBUG`` in a shell must not change a request, so that nothing here is read without ``serve --env NAME``. The
names, and what they mean, are those of a widely copied guide to a proxy of one's own for Mistral; what it calls
``mistral-embedding`` is ``mistral-embed`` at Mistral, and its ``SAFE_MODE`` is ``safe_prompt``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from metrion.errors import SettingsError
from metrion.model import ErrorShape
from metrion.model.policies import Scalar
from metrion.settings.policies.values import AliasTarget, Asked, Policy, Scope
from metrion.settings.reading import load_settings
from metrion.settings.values import Settings

MISTRAL_PROXY = "mistral-proxy"
ENVIRONMENTS = (MISTRAL_PROXY,)

_ALIASES = {
    "large": "mistral-large-latest",
    "small": "mistral-small-latest",
    "tiny": "mistral-tiny",
    "code": "codestral-latest",
    "codestral": "codestral-latest",
    "embedding": "mistral-embed",
    "mistral-embedding": "mistral-embed",
}
_LEVELS = {
    "error": "error",
    "warn": "warning",
    "warning": "warning",
    "info": "info",
    "http": "info",
    "verbose": "debug",
    "debug": "debug",
    "silly": "debug",
    "trace": "debug",
}
_NOTHING = frozenset({"", "null", "none", "undefined"})
_SWITCH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class Environment(NamedTuple):
    """What an environment comes to. ``log_level``: what the log says; ``None``: what it says anyway."""

    settings: Settings
    log_level: str | None


def load_environment(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Environment:
    """Read the configuration as :func:`load_settings` does, and ``mistral-proxy``'s variables over it.

    :raises SettingsError: as :func:`load_settings`; or a variable cannot be used, or contradicts a policy of the file.
    """
    read = _Variables(environ)
    ours, named = dict(environ), dict[str, str]()
    if key := read.text("MISTRAL_KEY"):
        ours["MISTRAL_API_KEY"], named["$MISTRAL_API_KEY"] = key, "$MISTRAL_KEY"
        ours.pop("MISTRAL_API_KEY_FILE", None)
    if (url := read.text("MISTRAL_URL")) and not ours.get("METRION_MISTRAL_UPSTREAM"):
        ours["METRION_MISTRAL_UPSTREAM"] = url.removesuffix("/chat/completions")
        named["$METRION_MISTRAL_UPSTREAM"] = "$MISTRAL_URL"
    try:
        settings = load_settings(config, ours, policies=_policies(read))
    except SettingsError as error:
        words = str(error)
        for name, theirs in named.items():
            words = words.replace(name, theirs)
        raise SettingsError(words) from None
    mistral = settings.providers["mistral"].model_copy(update={"error_shape": ErrorShape.MISTRAL_PROXY})
    if (milliseconds := read.number("TIMEOUT", "milliseconds", least=1)) is not None:
        mistral = mistral.model_copy(update={"timeout": milliseconds / 1000})
    found: dict[str, object] = {
        "environment": MISTRAL_PROXY,
        "default_provider": settings.default_provider or "mistral",
        "providers": {**settings.providers, "mistral": mistral},
        "metrics": settings.metrics.model_copy(update={"mistral_names": True}),
    }
    if (port := read.number("PORT", "a port, at most 65535", least=0)) is not None:
        if port > 65535:
            raise SettingsError("$PORT: write a port, at most 65535")
        found["listen_port"] = port
    return Environment(settings.model_copy(update=found), read.log_level())


def _policies(read: _Variables) -> tuple[Policy, ...]:
    asked = Asked(model_paths=True).model_copy(
        update={"aliases": {name: AliasTarget(model) for name, model in _ALIASES.items()}}
    )
    scope = Scope(provider="mistral")
    policies = [Policy(name=MISTRAL_PROXY, scope=scope, asked=asked, source=f"--env {MISTRAL_PROXY}")]
    model = read.text("PRIMARY_MODEL")
    defaults: dict[str, tuple[str, Scalar | None]] = {
        "PRIMARY_MODEL": ("model", _ALIASES.get(model, model) if model is not None else None),
        "MAX_TOKENS": ("max_tokens", read.number("MAX_TOKENS", "a number of tokens", least=1)),
        "SAFE_MODE": ("safe_prompt", read.switch("SAFE_MODE") or None),
        "RANDOM_SEED": ("random_seed", read.number("RANDOM_SEED", "a whole number, or null", least=0)),
    }
    for variable, (member, value) in defaults.items():
        if value is not None:
            wanted = Asked(defaults={member: value})
            policies.append(Policy(name=variable, scope=scope, asked=wanted, source=f"${variable}"))
    return tuple(policies)


class _Variables:
    """The variables of an environment, and what is wrong with them. A value that says nothing is as none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str | None:
        value = self._environ.get(name, "").strip()
        return None if value.lower() in _NOTHING else value

    def number(self, name: str, what: str, *, least: int) -> int | None:
        return self._read(name, f"write {what}", lambda value: _whole(value, least))

    def switch(self, name: str) -> bool | None:
        return self._read(name, "write true or false", lambda value: _SWITCH[value.lower()])

    def log_level(self) -> str | None:
        """Return what the log is to say. ``DEBUG`` holds the names of what is to be said, unless it is a switch."""
        debug = self.text("DEBUG")
        if debug is not None and _SWITCH.get(debug.lower(), True):
            return "debug"
        return self._read("LOG_LEVEL", f"write one of {', '.join(_LEVELS)}", lambda value: _LEVELS[value.lower()])

    def _read[T](self, name: str, way_out: str, read: Callable[[str], T]) -> T | None:
        value = self.text(name)
        try:
            return None if value is None else read(value)
        except (ValueError, KeyError):
            raise SettingsError(f"${name}: {way_out}") from None


def _whole(value: str, least: int) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 18 or int(value) < least:
        raise ValueError(value)
    return int(value)
