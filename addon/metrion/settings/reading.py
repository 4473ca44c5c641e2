"""Configuration file and environment in, frozen ``Settings`` out; every mistake is a ``SettingsError``.

The error names the file or the variable, the key, and the way out. Reading makes nothing on disk, and an error never
repeats a value that may hold a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, override
from urllib.parse import urlsplit

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from metrion.errors import SettingsError
from metrion.model import CredentialPlace, Origin
from metrion.providers import PROVIDERS, UNASKED_USAGE, canonical_name
from metrion.settings import timezones
from metrion.settings.command import parse_command
from metrion.settings.frozen import Frozen
from metrion.settings.otlp import OtlpEntry
from metrion.settings.ownership import check_usable
from metrion.settings.policies.reading import read_policies
from metrion.settings.policies.values import Entry, Policy
from metrion.settings.secret_files import with_secret_files
from metrion.settings.values import (
    BudgetSettings,
    Cors,
    DashboardSettings,
    GuardSettings,
    Intercept,
    MetricsSettings,
    Plan,
    PlanName,
    ProviderSettings,
    Seconds,
    Settings,
    built_in_plans,
    own_prices,
)
from metrion.settings.wording import choice, explain

_RESERVED_NAMES = frozenset({"api", "health", "messages", "metrics", "v1"})
"""First path segments that are Metrion's own or Anthropic's: no provider can have such a name."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_UPSTREAM_VARIABLE = re.compile(r"METRION_([A-Z0-9_]+)_UPSTREAM")
_VERSION = re.compile(r"/v\d[\w.-]*$")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_TOKEN_PREFIX = "sk-metrion-"  # noqa: S105 -- what every token begins with, not a token


# --- the file ---------------------------------------------------------------------------------------------------------


def _parse_listen(value: object) -> object:
    """Read ``HOST:PORT``, IPv6 in brackets."""
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if host and port.isascii() and port.isdigit() and int(port) <= 65535 and (bracketed or ":" not in host):
            return host.strip("[]"), int(port)
    raise ValueError("write HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080")


def _parse_upstream(value: object) -> tuple[Origin, str] | None:
    """Read ``scheme://host[:port][/prefix]``. Never repeats the URL, which may hold a password."""
    form = "write scheme://host[:port][/prefix] with http or https, as in https://api.example.com"
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(form)  # noqa: TRY004 -- pydantic words only a ValueError as an error of this key
    try:
        url = urlsplit(value.strip())
        port = url.port
    except ValueError:
        raise ValueError(form) from None
    if url.scheme not in ("http", "https") or not url.hostname or _UNPRINTABLE.search(value.strip()):
        raise ValueError(form)
    if "@" in url.netloc:
        raise ValueError("leave user and password out of the URL; store a key with `metrion key set`")
    if "?" in value or "#" in value:
        raise ValueError("an upstream has no query and no fragment; " + form)
    prefix = url.path.rstrip("/")
    if not prefix.isascii() or any(part in (".", "..") for part in prefix.split("/")):
        raise ValueError("the path of an upstream is plain ASCII without dot segments")
    try:
        host = url.hostname.encode("ascii" if url.hostname.isascii() else "idna").decode("ascii")
    except UnicodeError:
        raise ValueError(form) from None
    return Origin(url.scheme, host.lower(), port or {"http": 80, "https": 443}[url.scheme]), prefix


def _parse_networks(value: object) -> tuple[IPv4Network | IPv6Network, ...]:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        with suppress(ValueError):
            return tuple(map(ip_network, value))
    raise ValueError("write addresses or networks, as in [127.0.0.1, 10.0.0.0/8, fd00::/8]")


def _parse_version(value: object) -> str | None:
    if value is None or value == "":
        return value
    if isinstance(value, str) and _VERSION.fullmatch(f"/{value}"):
        return f"/{value}"
    raise ValueError('write it as it stands in paths, as in v1, or "" if paths have none')


class _ProviderEntry(Frozen):
    like: str | None = None
    upstream: Annotated[tuple[Origin, str] | None, BeforeValidator(_parse_upstream)] = None
    version: Annotated[str | None, BeforeValidator(_parse_version)] = None
    credential: CredentialPlace | None = Field(
        default=None, description="the header of the key, or none for a server without keys"
    )
    timeout: Seconds | None = None
    include_usage: Literal["inject"] | None = None
    search_allowance: Literal["none"] | None = None


class _File(Frozen):
    """``metrion.yaml`` as written."""

    listen: Annotated[tuple[str, int], BeforeValidator(_parse_listen)] = ("127.0.0.1", 8080)
    default_provider: str | None = None
    providers: dict[str, _ProviderEntry | None] = Field(default={}, examples=["openai"])
    plans: dict[PlanName, Plan | None] = Field(default={}, examples=["pro"])
    cors: Cors = Cors()
    intercept: Intercept = Intercept()
    rewrite_result_urls: Annotated[bool, Field(strict=True)] = False
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_parse_networks)] = ()
    pricing: Annotated[tuple[str, ...], Field(min_length=1)] = ("pricing.yaml",)
    store: Annotated[str, Field(min_length=1)] = "usage.duckdb"
    timezone: Annotated[str, BeforeValidator(timezones.checked)] = "UTC"
    metrics: MetricsSettings = MetricsSettings()
    budgets: BudgetSettings = BudgetSettings()
    guard: GuardSettings = GuardSettings()
    dashboard: DashboardSettings = DashboardSettings()
    otlp: OtlpEntry = OtlpEntry()
    policies: dict[str, Entry | None] = Field(default={}, examples=["short-names"])
    master_key_command: Annotated[tuple[str, ...], BeforeValidator(parse_command)] = ()


class _NoDuplicates(yaml.SafeLoader):
    """YAML that refuses a key given twice, where the last one would silently win."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[object]()
        for key_node, _ in node.value:
            key = (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else id(key_node)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} stands here twice; keep one", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# --- reading ----------------------------------------------------------------------------------------------------------


def load_settings(
    config: Path | None = None, environ: Mapping[str, str] = os.environ, *, policies: Sequence[Policy] = ()
) -> Settings:
    """Read the configuration file and the environment.

    The file is ``config``, else ``$METRION_CONFIG``, else ``metrion.yaml`` in ``$METRION_HOME`` (``~/.metrion``) if it
    is there. A variable ``METRION_<PROVIDER>_UPSTREAM`` wins over the file. ``policies``: those of somewhere else.

    :raises SettingsError: a named file cannot be read, a setting cannot be used, or the home is another user's.
    """
    environ = with_secret_files(environ)
    home = Path(environ.get("METRION_HOME") or "~/.metrion").expanduser().absolute()
    check_usable(home)
    path = _config_path(config, home, environ)
    try:
        file = _File.model_validate(_read_yaml(path) if path else {})
    except ValidationError as error:
        raise SettingsError(explain(path, _File, error)) from None
    providers = _providers(path, file.providers, environ)
    default_provider = canonical_name(file.default_provider) if file.default_provider is not None else None
    if default_provider is not None and default_provider not in providers:
        raise SettingsError(
            f"{path}: default_provider: no provider is called so; {choice(providers, default_provider)}"
        )
    if re.match(r"[a-z][a-z0-9+.-]+:", file.store):
        raise SettingsError(
            f"{path}: store: write the name of a DuckDB file, as in usage.duckdb. A ducklake: cannot be one yet."
        )
    return Settings(
        home=home,
        config_path=path,
        listen_host=file.listen[0],
        listen_port=file.listen[1],
        default_provider=default_provider,
        providers=providers,
        plans=_plans(file.plans),
        cors=file.cors,
        intercept=file.intercept,
        rewrite_result_urls=file.rewrite_result_urls,
        trusted_proxies=file.trusted_proxies,
        pricing=(
            tuple(_price_file(path, name, home) for name in file.pricing)
            if path and "pricing" in file.model_fields_set
            else (own_prices(home),)
        ),
        store=file.store,
        timezone=file.timezone,
        metrics=file.metrics,
        budgets=file.budgets,
        guard=file.guard,
        dashboard=file.dashboard,
        otlp=file.otlp.settings,
        policies=read_policies(path, file.policies, providers, policies),
        master_key_command=file.master_key_command,
        master_key=environ.get("METRION_MASTER_KEY") or None,
        environment_keys=_environment_keys(environ),
    )


def _config_path(config: Path | None, home: Path, environ: Mapping[str, str]) -> Path | None:
    named = config or environ.get("METRION_CONFIG")
    if named:
        return Path(named).expanduser().absolute()
    usual = home / "metrion.yaml"
    return usual if usual.exists() else None


def _read_yaml(path: Path) -> object:
    try:
        document = yaml.load(path.read_text("utf-8"), Loader=_NoDuplicates)  # noqa: S506 -- it is a SafeLoader
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file; name another with --config or $METRION_CONFIG") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; name another with --config") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{path}{place}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: 2026-13-01 is a YAML timestamp of no day.
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: must be a mapping, as in `listen: 127.0.0.1:8080`; {choice(_File.model_fields)}")
    # A key with nothing after it means its default.
    return {key: value for key, value in document.items() if value is not None or key not in _File.model_fields}


def _providers(
    path: Path | None, entries: Mapping[str, _ProviderEntry | None], environ: Mapping[str, str]
) -> dict[str, ProviderSettings]:
    """Join the built-in providers, the configured ones and the environment's upstreams."""
    configured = dict.fromkeys(PROVIDERS, _ProviderEntry())
    typed = dict[str, str]()
    for key, entry in entries.items():
        name = canonical_name(key)
        if name in typed:
            raise SettingsError(f"{path}: providers.{key}: is configured as {typed[name]} too; keep one")
        typed[name] = key
        configured[name] = entry or _ProviderEntry()
    variables = {
        _upstream_variable(name): provider
        for provider in configured
        for name in (*(PROVIDERS[provider].aliases if provider in PROVIDERS else ()), provider)
    }
    from_environment = dict[str, tuple[str, str]]()
    for variable, provider in variables.items():
        if value := environ.get(variable):
            from_environment[provider] = variable, value
    for variable in environ:
        if _UPSTREAM_VARIABLE.fullmatch(variable) and variable not in variables:
            raise SettingsError(f"${variable}: names no provider; {choice(variables, variable)}")
    return {
        name: _provider(f"{path}: providers.{typed.get(name, name)}", name, entry, from_environment.get(name))
        for name, entry in configured.items()
    }


def _provider(where: str, name: str, entry: _ProviderEntry, variable: tuple[str, str] | None) -> ProviderSettings:
    like = _like(where, name, entry)
    upstream, source = _upstream(where, entry, variable)
    if upstream is None and name not in PROVIDERS:
        raise SettingsError(f"{source}: is missing; write where the server is, as in http://localhost:8000")
    origin, prefix = upstream or (PROVIDERS[name].upstream, "")
    prefix, at_end = _split_version(prefix)
    if at_end is not None and entry.version is not None:
        raise SettingsError(f"{where}.version: stands at the end of {source} too; write it in one place")
    if PROVIDERS[like].compatible:
        theirs = {f"{where}.version": entry.version, f"{where}.credential": entry.credential, source: at_end}
        for key, value in theirs.items():
            if value is not None:
                raise SettingsError(f"{key}: leave {value or 'it'} out: {like} has two APIs, and each has its own")
    inject_usage = entry.include_usage == "inject"
    if inject_usage and (reason := why_not_inject(origin, like)):
        raise SettingsError(f"{where}.include_usage: {reason}; leave the key out")
    return ProviderSettings(
        like=like,
        upstream=origin,
        prefix=prefix,
        version=at_end if entry.version is None else entry.version,
        credential=entry.credential,
        timeout=entry.timeout,
        inject_usage=inject_usage,
        search_allowance=entry.search_allowance != "none",
    )


def _like(where: str, name: str, entry: _ProviderEntry) -> str:
    """Return the built-in provider that ``name`` speaks like."""
    like = canonical_name(entry.like) if entry.like is not None else name
    if name in PROVIDERS:
        if like != name:
            raise SettingsError(f"{where}.like: {name} is built in; give a server that speaks like {like} another name")
    elif name in _RESERVED_NAMES or not _NAME.fullmatch(name):
        taken = ", ".join(sorted(_RESERVED_NAMES))
        raise SettingsError(f"{where}: choose a name out of a-z, 0-9, - and _ that is none of {taken}")
    elif entry.like is None:
        raise SettingsError(
            f"{where}: is not built in: add `like: openai`, or check the name; {choice(PROVIDERS, name)}"
        )
    elif like not in PROVIDERS:
        raise SettingsError(f"{where}.like: no built-in provider is called so; {choice(PROVIDERS, like)}")
    return like


def _upstream(
    where: str, entry: _ProviderEntry, variable: tuple[str, str] | None
) -> tuple[tuple[Origin, str] | None, str]:
    """Return the configured origin with its prefix, and what configures it: the environment before the file."""
    if variable is None:
        return entry.upstream, f"{where}.upstream"
    name, value = variable
    try:
        return _parse_upstream(value), f"${name}"
    except ValueError as error:
        raise SettingsError(f"${name}: {error}") from None


def _split_version(prefix: str) -> tuple[str, str | None]:
    """Split off the version that an upstream ends with, as base URLs of SDKs do."""
    found = _VERSION.search(prefix)
    return (prefix[: found.start()], found[0]) if found else (prefix, None)


def why_not_inject(origin: Origin, like: str) -> str | None:
    """Say why Metrion must not ask a server for the usage of streams, by its address and by whom it speaks like.

    ``None``: it may.
    """
    return UNASKED_USAGE.get(origin.host) or UNASKED_USAGE.get(PROVIDERS[like].upstream.host)


def _upstream_variable(name: str) -> str:
    return f"METRION_{name.upper().replace('-', '_')}_UPSTREAM"


def _plans(entries: Mapping[PlanName, Plan | None]) -> dict[str, Plan]:
    """Lay the configured plans over the built-in ones, field by field."""
    plans = built_in_plans()
    for name, entry in entries.items():
        plans[name] = plans[name].model_copy(update=entry.model_dump(exclude_unset=True) if entry else {})
    return plans


def _price_file(config: Path, name: str, home: Path) -> Path:
    path = config.parent / Path(name).expanduser()
    if path.is_file():
        return path  # one beside the configuration that is called pricing.yaml was put there to be used
    if name == "pricing.yaml":
        return own_prices(home)
    raise SettingsError(f"{config}: pricing: there is no file {path}; paths are relative to the configuration file")


def _environment_keys(environ: Mapping[str, str]) -> dict[str, str]:
    keys = dict[str, str]()
    for name, provider in PROVIDERS.items():
        key = environ.get(provider.environment, "").strip()
        # Whoever points an SDK at Metrion sets OPENAI_API_KEY to a Metrion token, which is not a provider's key.
        if not key or _TOKEN_PREFIX in key:
            continue
        if not key.isascii() or _UNPRINTABLE.search(key):
            raise SettingsError(f"${provider.environment}: a key is printable ASCII without spaces; copy it again")
        keys[name] = key
    return keys
