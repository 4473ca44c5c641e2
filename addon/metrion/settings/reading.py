"""Configuration file and environment in, frozen ``Settings`` out; every mistake is a ``SettingsError``.

The error names the file (or the variable), the key, and the way out. Reading makes nothing on disk and never repeats a
value that may hold a secret.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, override
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from metrion.model import CredentialPlace, Origin
from metrion.providers import PROVIDERS, UNASKED_USAGE, canonical_name
from metrion.settings.timezones import zone

RESERVED_NAMES = frozenset({"api", "health", "messages", "metrics", "v1"})
"""First path segments that are Metrion's own or Anthropic's: no provider can be called so."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_UPSTREAM_VARIABLE = re.compile(r"METRION_([A-Z0-9_]+)_UPSTREAM")
_VERSION = re.compile(r"/v\d[\w.-]*$")
_NO_LINE = re.compile(r"[\x00-\x20\x7f]")
_TOKEN_PREFIX = "sk-metrion-"  # noqa: S105 - what every token begins with, not a token
_BUILT_IN_PRICES = (Path(__file__).parents[1] / "pricing.yaml", Path(__file__).parents[3] / "pricing.yaml")


class SettingsError(Exception):
    """A setting that cannot be used. The message names the file, the key and the way out."""


# --- what the rest of the house reads ---------------------------------------------------------------------------------


class _Frozen(BaseModel):
    # The input is hidden because it may be a key, or a URL with a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


Limit = Annotated[int, Field(strict=True, ge=0)]
"""A number of requests. 0 and null: no limit."""
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
"""0: no timeout; null: whatever comes next of token, provider and plan."""


class Plan(_Frozen):
    """What an account may use."""

    requests_per_minute: Limit | None = 100
    requests_per_month: Limit | None = None
    timeout: Seconds | None = 600.0


class ProviderSettings(_Frozen):
    """Where one provider is. ``like`` is the entry of ``PROVIDERS`` that it speaks like: its own name if built in."""

    like: str
    upstream: Origin
    prefix: str = ""
    """The path put before every outgoing path: empty, or ``/…`` without a slash at its end."""
    version: str | None = None
    """What is put before a path that has no version: empty, or ``/v1`` and the like; ``None``: what ``like`` has."""
    credential: CredentialPlace | None = None
    """Where the stored key goes; ``None``: where ``like`` has it."""
    timeout: Seconds | None = None
    inject_usage: bool = False
    """The usage of a stream is asked for where the client does not: :mod:`metrion.relay.include_usage`."""

    @property
    def needs_key(self) -> bool:
        """Whether a key has to go out at all."""
        return self.credential is not CredentialPlace.NONE


class Cors(_Frozen):
    """Origins whose preflights are answered; empty: none."""

    origins: tuple[str, ...] = ()


class Intercept(_Frozen):
    """The account that transparent and local traffic belongs to."""

    account: Annotated[str, Field(min_length=1)] = "default"


def _built_in_providers() -> dict[str, ProviderSettings]:
    return {name: ProviderSettings(like=name, upstream=entry.upstream) for name, entry in PROVIDERS.items()}


def _built_in_plans() -> dict[str, Plan]:
    return {"free": Plan(requests_per_month=10_000, timeout=30.0), "pro": Plan()}


def _built_in_pricing() -> tuple[Path, ...]:
    return (next((path for path in _BUILT_IN_PRICES if path.is_file()), _BUILT_IN_PRICES[0]),)


class Settings(_Frozen):
    """Everything that is configured, with every default filled in."""

    home: Path
    config_path: Path | None = None
    """The file that was read; ``None``: there was none."""
    listen_host: str = "127.0.0.1"
    listen_port: int = 8080
    default_provider: str | None = None
    providers: Mapping[str, ProviderSettings] = Field(default_factory=_built_in_providers)
    """By name: the built-in ones, always all of them, then those with ``like``."""
    plans: Mapping[str, Plan] = Field(default_factory=_built_in_plans)
    """``free`` and ``pro``."""
    cors: Cors = Cors()
    intercept: Intercept = Intercept()
    pricing: tuple[Path, ...] = Field(default_factory=_built_in_pricing)
    """Existing price files; later ones win."""
    store: str = "usage.duckdb"
    timezone: str = "UTC"
    """Whose days and months reports show, by its IANA name."""
    environment_keys: Mapping[str, str] = Field(default_factory=dict, repr=False, exclude=True)
    """Provider name to the key that the environment holds for the account ``default``."""

    @property
    def control_db(self) -> Path:
        """Accounts, tokens and provider keys."""
        return self.home / "control.db"

    @property
    def counters_dir(self) -> Path:
        """How many requests each token has had forwarded."""
        return self.home / "counters"

    @property
    def generations_db(self) -> Path:
        """What providers still work at, and is to be billed later."""
        return self.home / "generations.db"

    @property
    def journal_dir(self) -> Path:
        """The journal's segments."""
        return self.home / "journal"

    @property
    def store_path(self) -> Path:
        """The DuckDB file that ``store`` names."""
        return self.home / Path(self.store).expanduser()

    @property
    def master_key_path(self) -> Path:
        """What the stored provider keys are encrypted with."""
        return self.home / "master.key"


# --- what stands in the file ------------------------------------------------------------------------------------------


def _parse_listen(value: object) -> object:
    """``HOST:PORT``, IPv6 in brackets."""
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if host and port.isascii() and port.isdigit() and int(port) <= 65535 and (bracketed or ":" not in host):
            return host.strip("[]"), int(port)
    raise ValueError("write HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080")


def _parse_upstream(value: object) -> tuple[Origin, str] | None:
    """``scheme://host[:port][/prefix]`` to an origin and the prefix. Never repeats the URL: it may hold a password."""
    form = "write scheme://host[:port][/prefix] with http or https, as in https://api.example.com"
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(form)  # noqa: TRY004 - pydantic words only a ValueError as an error of this key
    try:
        url = urlsplit(value.strip())
        port = url.port
    except ValueError:
        raise ValueError(form) from None
    if url.scheme not in ("http", "https") or not url.hostname or _NO_LINE.search(value.strip()):
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


def _check_timezone(name: str) -> str:
    zone(name)
    return name


def _parse_version(value: object) -> str | None:
    if value is None or value == "":
        return value
    if isinstance(value, str) and _VERSION.fullmatch(f"/{value}"):
        return f"/{value}"
    raise ValueError('write it as it stands in paths, as in v1, or "" if paths have none')


PlanName = Literal["free", "pro"]


class _ProviderEntry(_Frozen):
    like: str | None = None
    upstream: Annotated[tuple[Origin, str] | None, BeforeValidator(_parse_upstream)] = None
    version: Annotated[str | None, BeforeValidator(_parse_version)] = None
    credential: CredentialPlace | None = None
    timeout: Seconds | None = None
    include_usage: Literal["inject"] | None = None


class _File(_Frozen):
    """``metrion.yaml`` as written."""

    listen: Annotated[tuple[str, int], BeforeValidator(_parse_listen)] = ("127.0.0.1", 8080)
    default_provider: str | None = None
    providers: dict[str, _ProviderEntry | None] = {}
    plans: dict[PlanName, Plan | None] = {}
    cors: Cors = Cors()
    intercept: Intercept = Intercept()
    pricing: Annotated[tuple[str, ...], Field(min_length=1)] = ("pricing.yaml",)
    store: Annotated[str, Field(min_length=1)] = "usage.duckdb"
    timezone: Annotated[str, AfterValidator(_check_timezone)] = "UTC"


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


def load_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the configuration file and the environment.

    The file is ``config``, else ``$METRION_CONFIG``, else ``metrion.yaml`` in ``$METRION_HOME`` (``~/.metrion``) if it
    is there. A variable ``METRION_<PROVIDER>_UPSTREAM`` wins over the file.

    Raises:
        SettingsError: a named file cannot be read, or a setting cannot be used.
    """
    home = Path(environ.get("METRION_HOME") or "~/.metrion").expanduser().absolute()
    path = _config_path(config, home, environ)
    try:
        file = _File.model_validate(_read_yaml(path) if path else {})
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(path, detail) for detail in error.errors())) from None
    providers = _providers(path, file.providers, environ)
    default_provider = canonical_name(file.default_provider) if file.default_provider is not None else None
    if default_provider is not None and default_provider not in providers:
        raise SettingsError(
            f"{path}: default_provider: no provider is called so; {_choice(providers, default_provider)}"
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
        pricing=(
            tuple(_price_file(path, name) for name in file.pricing)
            if path and "pricing" in file.model_fields_set
            else _built_in_pricing()
        ),
        store=file.store,
        timezone=file.timezone,
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
        document = yaml.load(path.read_text("utf-8"), Loader=_NoDuplicates)  # noqa: S506 - it is a SafeLoader
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
        raise SettingsError(f"{path}: must be a mapping, as in `listen: 127.0.0.1:8080`; {_choice(_File.model_fields)}")
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
            raise SettingsError(f"${variable}: names no provider; {_choice(variables, variable)}")
    return {
        name: _provider(f"{path}: providers.{typed.get(name, name)}", name, entry, from_environment.get(name))
        for name, entry in configured.items()
    }


def _provider(where: str, name: str, entry: _ProviderEntry, variable: tuple[str, str] | None) -> ProviderSettings:
    like = canonical_name(entry.like) if entry.like is not None else name
    if name in PROVIDERS:
        if like != name:
            raise SettingsError(f"{where}.like: {name} is built in; give a server that speaks like {like} another name")
    elif name in RESERVED_NAMES or not _NAME.fullmatch(name):
        taken = ", ".join(sorted(RESERVED_NAMES))
        raise SettingsError(f"{where}: choose a name out of a-z, 0-9, - and _ that is none of {taken}")
    elif entry.like is None:
        raise SettingsError(
            f"{where}: is not built in: add `like: openai`, or check the name; {_choice(PROVIDERS, name)}"
        )
    elif like not in PROVIDERS:
        raise SettingsError(f"{where}.like: no built-in provider is called so; {_choice(PROVIDERS, like)}")

    upstream, source = entry.upstream, f"{where}.upstream"
    if variable:
        source = f"${variable[0]}"
        try:
            upstream = _parse_upstream(variable[1])
        except ValueError as error:
            raise SettingsError(f"{source}: {error}") from None
    if upstream is None and name not in PROVIDERS:
        raise SettingsError(f"{source}: is missing; write where the server is, as in http://localhost:8000")
    origin, prefix = upstream or (PROVIDERS[name].upstream, "")
    prefix, at_end = _split_version(prefix)
    if at_end is not None and entry.version is not None:
        raise SettingsError(f"{where}.version: stands at the end of {source} too; write it in one place")
    version = at_end if entry.version is None else entry.version
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
        version=version,
        credential=entry.credential,
        timeout=entry.timeout,
        inject_usage=inject_usage,
    )


def _split_version(prefix: str) -> tuple[str, str | None]:
    """Tell the version at the end of an upstream, where base URLs of SDKs have it, from the prefix before it."""
    found = _VERSION.search(prefix)
    return (prefix[: found.start()], found[0]) if found else (prefix, None)


def why_not_inject(origin: Origin, like: str) -> str | None:
    """Say why the usage of streams is not to be asked for at a server, by where it is and by whom it speaks like.

    ``None``: it may be.
    """
    return UNASKED_USAGE.get(origin.host) or UNASKED_USAGE.get(PROVIDERS[like].upstream.host)


def _upstream_variable(name: str) -> str:
    return f"METRION_{name.upper().replace('-', '_')}_UPSTREAM"


def _plans(entries: Mapping[PlanName, Plan | None]) -> dict[str, Plan]:
    """Lay what is configured over the built-in plans, field by field."""
    plans = _built_in_plans()
    for name, entry in entries.items():
        plans[name] = plans[name].model_copy(update=entry.model_dump(exclude_unset=True) if entry else {})
    return plans


def _price_file(config: Path, name: str) -> Path:
    path = config.parent / Path(name).expanduser()
    if path.is_file():
        return path  # one beside the configuration that is called pricing.yaml was put there to be used
    if name == "pricing.yaml":
        return _built_in_pricing()[0]
    raise SettingsError(f"{config}: pricing: there is no file {path}; paths are relative to the configuration file")


def _environment_keys(environ: Mapping[str, str]) -> dict[str, str]:
    keys = dict[str, str]()
    for name, provider in PROVIDERS.items():
        key = environ.get(provider.environment, "").strip()
        # Whoever points an SDK at Metrion sets OPENAI_API_KEY to a Metrion token; it is no key of the provider.
        if not key or _TOKEN_PREFIX in key:
            continue
        if not key.isascii() or _NO_LINE.search(key):
            raise SettingsError(f"${provider.environment}: a key is printable ASCII without spaces; copy it again")
        keys[name] = key
    return keys


# --- wording ----------------------------------------------------------------------------------------------------------

_WORDS = {
    "bool_type": "write true or false",
    "enum": f"write the header of the key, or none for a server without keys: {', '.join(CredentialPlace)}",
    "dict_type": "write a mapping, one `key: value` a line",
    "finite_number": "write a number of seconds, as in 30",
    "float_type": "write a number of seconds, as in 30",
    "greater_than_equal": "write 0 or more",
    "int_type": "write a whole number, as in 100",
    "invalid_key": "write this key as text",
    "literal_error": "write inject, or leave the key out",
    "model_type": "write a mapping, one `key: value` a line",
    "string_too_short": "write at least one character",
    "string_type": "write text",
    "too_short": "write at least one entry, or leave the key out",
    "tuple_type": "write a list, as in [one, two], also of one",
}
"""Findings of pydantic's in the words of someone who edits YAML."""

_KEYS: Mapping[str, Iterable[str]] = {
    "": _File.model_fields,
    "providers": _ProviderEntry.model_fields,
    "plans": Plan.model_fields,
    "cors": Cors.model_fields,
    "intercept": Intercept.model_fields,
}


def _explain(path: Path | None, detail: Mapping[str, Any]) -> str:
    """Word one finding as file, key and way out."""
    *parents, key = (str(part) for part in detail["loc"] if part != "[key]")
    message = _WORDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        unknown = f"unknown key; {_choice(_KEYS[parents[0] if parents else ''], key)}"
        message = unknown if parents else _deeper(key) or unknown
    elif parents == ["plans"] and detail["type"] == "literal_error":
        message = f"no plan is called so; {_choice(_built_in_plans(), key)}"
    return f"{path}: {'.'.join((*parents, key))}: {message[0].lower()}{message[1:]}"


def _deeper(key: str) -> str | None:
    """Say where a key belongs that was written at the top, as people do."""
    examples = {"providers": "providers: {openai: {%s: …}}", "plans": "plans: {pro: {%s: …}}"}
    return next((f"belongs deeper, as in {form % key}" for name, form in examples.items() if key in _KEYS[name]), None)


def _choice(known: Iterable[str], wrong: str = "") -> str:
    names = list(known)
    close = difflib.get_close_matches(wrong, names, 1)
    return (f"did you mean {close[0]}? " if close else "") + f"known: {', '.join(names)}"
