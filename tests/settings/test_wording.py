"""What each mistake in the configuration is worded as: the file, the key, and that key's own way out."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from metrion.errors import SettingsError
from metrion.settings import load_settings
from metrion.settings.frozen import Frozen
from metrion.settings.reading import _File
from metrion.settings.wording import explain

KINDS = {
    "null": "null",
    "text": "soon",
    "empty text": "''",
    "whole number": "3",
    "negative number": "-1",
    "fraction": "1.5",
    "infinity": ".inf",
    "truth value": "true",
    "date": "2026-11-01",
    "list": "[one, two]",
    "empty list": "[]",
    "mapping": "{soon: 3}",
    "empty mapping": "{}",
}
"""A value of each kind that YAML has, as it is written."""

MAPPING = "write a mapping, one `key: value` a line"
SECONDS = "write a number of seconds, 0 or more, as in 30"
COUNT = "write a whole number, 0 or more, as in 100"
TEXTS = {"text", "empty text"}
COUNTS = {"null", "whole number"}
MAPPINGS = {"null", "mapping", "empty mapping"}

KEYS: dict[str, tuple[str, set[str]]] = {
    # key: (its way out, the kinds of value that it may have, or whose parts are worded themselves)
    "listen": ("write HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080", {"null"}),
    "default_provider": ("write text", {"null"} | TEXTS),
    "providers": (MAPPING, MAPPINGS),
    "providers.openai": (MAPPING, MAPPINGS),
    "providers.openai.like": ("write text", {"null"} | TEXTS),
    "providers.openai.upstream": (
        "write scheme://host[:port][/prefix] with http or https, as in https://api.example.com",
        {"null"},
    ),
    "providers.openai.version": (
        'write it as it stands in paths, as in v1, or "" if paths have none',
        {"null", "empty text"},
    ),
    "providers.openai.credential": (
        "write the header of the key, or none for a server without keys: authorization, x-api-key, api-key, "
        "x-goog-api-key, none",
        {"null"},
    ),
    "providers.openai.timeout": (SECONDS, {"null", "whole number", "fraction"}),
    "providers.openai.include_usage": ("write inject, or leave the key out", {"null"}),
    "providers.openai.search_allowance": ("write none, or leave the key out", {"null"}),
    "plans": (MAPPING, MAPPINGS),
    "plans.free": (MAPPING, MAPPINGS),
    "plans.free.requests_per_minute": (COUNT, COUNTS),
    "plans.free.requests_per_month": (COUNT, COUNTS),
    "plans.free.timeout": (SECONDS, {"null", "whole number", "fraction"}),
    "cors": (MAPPING, MAPPINGS),
    "cors.origins": ("write a list, as in [one, two], also of one", {"list", "empty list"}),
    "intercept": (MAPPING, MAPPINGS),
    "intercept.account": ("write text of at least one character", {"text"}),
    "intercept.others": ("write refuse or tunnel, or leave the key out", set()),
    "intercept.ports": ("write a list of at least one entry, as in [443, 8443], or leave the key out", {"list"}),
    "rewrite_result_urls": ("write true or false", {"null", "truth value"}),
    "trusted_proxies": (
        "write addresses or networks, as in [127.0.0.1, 10.0.0.0/8, fd00::/8]",
        {"null", "empty list"},
    ),
    "pricing": ("write a list of at least one entry, as in [one, two], or leave the key out", {"null", "list"}),
    "store": ("write text of at least one character", {"null", "text"}),
    "timezone": ("write the name of a time zone, as in Europe/Berlin", {"null"}),
    "metrics": (MAPPING, MAPPINGS),
    "metrics.models": ("write a whole number, 1 or more, at most 200, as in 100", {"whole number"}),
    "metrics.old_names": ("write true or false", {"truth value"}),
    "metrics.mistral_names": ("write true or false", {"truth value"}),
    "metrics.users": ("write true or false", {"truth value"}),
    "budgets": (MAPPING, MAPPINGS),
    "budgets.remaining_header": ("write true or false", {"truth value"}),
    "guard": (MAPPING, MAPPINGS),
    "guard.token": (MAPPING, {"mapping", "empty mapping"}),
    "guard.token.usd_per_minute": (
        "write a number of US dollars, 0 or more, as in 2",
        {"null", "whole number", "fraction"},
    ),
    "guard.token.tokens_per_minute": ("write a whole number, 0 or more, as in 500000", COUNTS),
    "guard.account": (MAPPING, {"mapping", "empty mapping"}),
    "guard.account.usd_per_minute": (
        "write a number of US dollars, 0 or more, as in 2",
        {"null", "whole number", "fraction"},
    ),
    "guard.account.tokens_per_minute": ("write a whole number, 0 or more, as in 500000", COUNTS),
    "guard.identical_requests": ("write a whole number, 0 or more, as in 20", COUNTS),
    "guard.then": ("write refuse or warn, or leave the key out", set()),
    "dashboard": (MAPPING, MAPPINGS),
    "dashboard.currency": ("write the code of a currency, as in CHF", set()),
    "dashboard.currencies": ("write text of at least one character", {"null", "text"}),
    "otlp": (MAPPING, MAPPINGS),
    "otlp.endpoint": ("write http(s)://host[:port][/path], as in http://localhost:4318", {"null"}),
    "otlp.headers": ("write a mapping, as in {authorization: Bearer …}", {"null", "mapping", "empty mapping"}),
    "policies": (MAPPING, MAPPINGS),
    "policies.short": (MAPPING, MAPPINGS),
    "policies.short.aliases": (
        "write a mapping, as in {large: mistral-large-latest}",
        {"null", "mapping", "empty mapping"},
    ),
    "policies.short.model_paths": ("write true or false", {"null", "truth value"}),
    "policies.short.defaults": (MAPPING, {"null", "mapping", "empty mapping"}),
    "policies.short.caps": (MAPPING, {"null", "mapping", "empty mapping"}),
    "policies.short.tell": (
        "write a list of at least one entry, each cost-usd or event-id, as in [one, two], or leave the key out",
        {"null", "list"},
    ),
    "policies.short.retries": (MAPPING, {"truth value", *MAPPINGS}),
    "policies.short.retries.attempts": ("write a whole number, 2 or more, at most 20, as in 3", {"whole number"}),
    "policies.short.retries.ambiguous": ("write true or false", {"truth value"}),
    "policies.short.retries.backoff": (
        "write a number, more than 0, at most 60, as in 0.5",
        {"whole number", "fraction"},
    ),
    "policies.short.concurrency": (MAPPING, {"truth value", *MAPPINGS}),
    "policies.short.concurrency.at_once": (
        "write a whole number, 1 or more, at most 10000, as in 10",
        {"whole number"},
    ),
    "policies.short.concurrency.queue": (
        "write a whole number, 0 or more, at most 100000, as in 100",
        {"whole number"},
    ),
    "policies.short.concurrency.seconds": (
        "write a number, more than 0, at most 3600, as in 30",
        {"whole number", "fraction"},
    ),
    "policies.short.cache": (MAPPING, {"truth value", *MAPPINGS}),
    "policies.short.cache.seconds": (
        "write a number, more than 0, at most 31536000, as in 300",
        {"whole number", "fraction"},
    ),
    "policies.short.cache.megabytes": (
        "write a whole number, 1 or more, at most 1048576, as in 256",
        {"whole number"},
    ),
    "policies.short.cache.always": ("write true or false", {"truth value"}),
    "policies.short.fallback": (
        "write a list, as in [gpt-4o-mini, {provider: mistral, model: mistral-small-latest}]",
        {"null", "list"},
    ),
    "policies.short.batching": (MAPPING, {"truth value", *MAPPINGS}),
    "policies.short.batching.milliseconds": (
        "write a number, more than 0, at most 100, as in 5",
        {"whole number", "fraction"},
    ),
    "policies.short.batching.inputs": ("write a whole number, 2 or more, at most 100, as in 100", {"whole number"}),
    "policies.short.for": (
        "write everything, or whom it is for, as in {provider: mistral}",
        {"mapping", "empty mapping"},
    ),
    "policies.short.for.account": ("write text of at least one character", {"null", "text"}),
    "policies.short.for.token": ("write text of at least one character", {"null", "text"}),
    "policies.short.for.provider": ("write text of at least one character", {"null", "text"}),
    "policies.short.for.path": ("write a path that begins with /, as in /v1/chat/completions", {"null"}),
    "master_key_command": (
        "write a command and its arguments, as in [pass, show, metrion]; no shell reads it",
        {"null", "list", "empty list"} | TEXTS,
    ),
}
NAMES = {"providers": "openai", "plans": "free", "policies": "short"}


def walk(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every key of a model and of those in it; what people choose the names of is there by one name."""
    for field_name, field in model.model_fields.items():
        name = field.alias or field_name
        yield (key := above + name)
        for inner in models(field.annotation):
            if name in NAMES:
                yield (key := f"{key}.{NAMES[name]}")
            yield from walk(inner, f"{key}.")


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from models(part)


def written(key: str, value: str) -> str:
    """Write a value at a dotted key."""
    *above, last = key.split(".")
    text = f"{last}: {value}"
    for name in reversed(above):
        text = f"{name}: {{{text}}}"
    return text


def test_every_key_has_its_row() -> None:
    assert list(walk(_File)) == list(KEYS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_value_is_worded_as_the_file_the_key_and_its_own_way_out(tmp_path: Path, key: str, kind: str) -> None:
    way_out, fitting = KEYS[key]
    file = tmp_path / "metrion.yaml"
    file.write_text(written(key, KINDS[kind]), "utf-8")
    assert (mistake(file) == f"{file}: {key}: {way_out}") is (kind not in fitting)


def mistake(file: Path) -> str:
    try:
        load_settings(file, {"METRION_HOME": str(file.parent)})
    except SettingsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("text", "key", "way_out"),
    [
        ("cors: {origins: [3]}", "cors.origins.0", "write text"),
        ("pricing: [a, b, null]", "pricing.2", "write text"),
        ("providers: {3: {}}", "providers.3", "write this key as text"),
        ("3: here", "3", "write this key as text"),
        ("plans: {3: {}}", "plans.3", "unknown key; known: free, pro"),
        ("plans: {prp: {}}", "plans.prp", "unknown key; did you mean pro? known: free, pro"),
        ("cors: {origin: []}", "cors.origin", "unknown key; did you mean origins? known: origins"),
        ("origins: []", "origins", "belongs deeper, as in cors: {origins: …}"),
        ("timeout: 3", "timeout", "belongs deeper, as in providers: {openai: {timeout: …}}"),
        (
            "requests_per_minute: 3",
            "requests_per_minute",
            "belongs deeper, as in plans: {pro: {requests_per_minute: …}}",
        ),
    ],
)
def test_parts_of_values_and_keys_that_are_wrong_themselves(tmp_path: Path, text: str, key: str, way_out: str) -> None:
    file = tmp_path / "metrion.yaml"
    file.write_text(text, "utf-8")
    assert mistake(file) == f"{file}: {key}: {way_out}"


# --- keys of tomorrow -------------------------------------------------------------------------------------------------


class Colour(StrEnum):
    """A docstring is for who reads the source, and in no message."""

    RED = "red"
    GREEN = "green"


def _even(value: object) -> object:
    if isinstance(value, int) and value % 2 == 0:
        return value
    raise ValueError("write an even number, as in 2")


class Inner(Frozen):
    """The same."""

    depth: Annotated[int, Field(strict=True, ge=1, le=9)] = 1
    needed: str


class Tomorrow(Frozen):
    """A configuration with keys of every type that there may be."""

    mode: Literal["inject"] = "inject"
    log_level: Literal["debug", "info", "off"] = "info"
    retries: Literal[0, 1, 2] = 0
    colour: Colour | None = None
    painted: Annotated[Colour, Field(description="the colour of the door")] = Colour.RED
    wide: Annotated[bool, Field(strict=True)] = False
    share: Annotated[float, Field(strict=True, gt=0, lt=1, examples=[0.5])] = 0.5
    title: Annotated[str, Field(min_length=2, max_length=8)] = "title"
    doors: Annotated[tuple[Colour, ...], Field(max_length=2, examples=["red"])] = ()
    either: Annotated[int, Field(strict=True)] | Literal["all"] = "all"
    even: Annotated[int, BeforeValidator(_even)] = 2
    by_colour: dict[Colour, int] = {}  # noqa: RUF012 -- pydantic copies it
    file: Path | None = None
    inner: Inner | None = None
    required: Literal["a", "b"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("mode: x", "mode: write inject, or leave the key out"),
        ("log_level: inject", "log_level: write debug, info or 'off', or leave the key out"),
        ("log_level: off", "log_level: write debug, info or 'off', or leave the key out"),
        ("retries: 3", "retries: write 0, 1 or 2, or leave the key out"),
        ("colour: blue", "colour: write red or green, or leave the key out"),
        ("painted: blue", "painted: write the colour of the door: red, green"),
        ("wide: 3", "wide: write true or false"),
        ("share: 2", "share: write a number, more than 0, less than 1, as in 0.5"),
        ("share: x", "share: write a number, more than 0, less than 1, as in 0.5"),
        ("title: x", "title: write text of at least 2 characters and at most 8 characters"),
        ("doors: red", "doors: write a list of at most 2 entries, each red or green, as in [red], also of one"),
        ("doors: [blue]", "doors.0: write red or green"),
        ("either: some", "either: write a whole number or all"),
        ("even: 3", "even: write an even number, as in 2"),
        ("by_colour: 3", "by_colour: write a mapping, one `key: value` a line"),
        ("by_colour: {blue: 3}", "by_colour.blue: unknown key; known: red, green"),
        ("by_colour: {red: x}", "by_colour.red: write a whole number"),
        ("file: 3", "file: write text"),
        ("inner: 3", "inner: write a mapping, one `key: value` a line"),
        ("inner: {needed: x, depth: 10}", "inner.depth: write a whole number, 1 or more, at most 9"),
        ("inner: {depth: 1}", "inner.needed: is missing; write text"),
        ("required: c", "required: write a or b"),
        ("depth: 1", "depth: belongs deeper, as in inner: {depth: …}"),
    ],
)
def test_a_new_key_of_any_type_has_its_own_way_out(text: str, line: str) -> None:
    document = {"required": "a"} | yaml.safe_load(text)
    with pytest.raises(ValidationError) as raised:
        Tomorrow.model_validate(document)
    assert explain(Path("metrion.yaml"), Tomorrow, raised.value) == f"metrion.yaml: {line}"
