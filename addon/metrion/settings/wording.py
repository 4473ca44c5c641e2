"""What pydantic finds wrong with a configuration → a line each: the file, the key, and that key's own way out.

The way out is built from the field where it is declared: from its type, the values and bounds that the type has, and,
where these do not say enough, from ``Field(description=…, examples=…)``. A validator's message is taken as it is. So a
new key of any type needs no edit here. No line ever repeats a value, which may be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

type _Schema = Mapping[str, Any]
"""What JSON Schema says of one value; references are resolved and alternatives kept."""

_NOUNS: Mapping[str, str] = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping, one `key: value` a line",
}
"""What to write, by the type's name in JSON Schema."""
_LENGTHS: Mapping[str, tuple[str, tuple[str, str]]] = {
    "minLength": ("at least {}", ("character", "characters")),
    "maxLength": ("at most {}", ("character", "characters")),
    "minItems": ("at least {}", ("entry", "entries")),
    "maxItems": ("at most {}", ("entry", "entries")),
}
_LIMITS: Mapping[str, str] = {
    "minimum": ", {} or more",
    "exclusiveMinimum": ", more than {}",
    "maximum": ", at most {}",
    "exclusiveMaximum": ", less than {}",
}
_KEY_IS_TEXT = "write this key as text"
_KEY_ITSELF = "[key]"
"""How pydantic marks that a key of a mapping is wrong, not its value."""


def explain(file: Path | None, model: type[BaseModel], error: ValidationError) -> str:
    """Word what is wrong with ``file``, which was to be a ``model``: a line for each mistake."""
    schema = _resolved(model.model_json_schema())
    lines = (": ".join((str(file), *filter(None, _word(schema, detail)))) for detail in error.errors())
    return "\n".join(dict.fromkeys(lines))


def choice(known: Iterable[str], wrong: str = "") -> str:
    """List what is known, and before it what is nearly what was written."""
    names = list(known)
    close = difflib.get_close_matches(wrong, names, 1)
    return (f"did you mean {close[0]}? " if close else "") + f"known: {', '.join(names)}"


def _word(root: _Schema, detail: Mapping[str, Any]) -> tuple[str, str]:
    """Return the key and the way out of one mistake."""
    kind, location = detail["type"], list(detail["loc"])
    found = _find(root, location)
    if kind in ("value_error", "assertion_error"):
        return _dotted(found.path), str(detail["ctx"]["error"])
    if kind == "extra_forbidden":
        return _dotted(location), _way_out_of_unknown(root, location)
    if kind == "invalid_key":
        return _dotted(location), _KEY_IS_TEXT
    if location[-1:] == [_KEY_ITSELF]:
        return _dotted(location[:-1]), _way_out_of_name(_find(root, location[:-2]).schema, str(location[-2]))
    way_out = _way_out(found) or f"{detail['msg'][:1].lower()}{detail['msg'][1:]}"
    return _dotted(found.path), f"is missing; {way_out}" if kind == "missing" else way_out


def _dotted(location: Iterable[object]) -> str:
    return ".".join(map(str, location))


def _way_out_of_unknown(root: _Schema, location: Sequence[str | int]) -> str:
    """Say which keys there are, or where a key belongs that was written at the top, as people do."""
    *parents, key = location
    if not parents and (place := next(_places(root, str(key)), None)):
        return f"belongs deeper, as in {place}"
    return f"unknown key; {choice(_first(_find(root, parents).schema, 'properties', {}), str(key))}"


def _way_out_of_name(mapping: _Schema, name: str) -> str:
    """Say what people may call an entry of a mapping whose keys they choose."""
    names = _values(_first(mapping, "propertyNames", {}))
    return f"unknown key; {choice(names, name)}" if names else _KEY_IS_TEXT


def _places(root: _Schema, key: str) -> Iterator[str]:
    """Show where a key of this name belongs, as it is written: ``plans: {pro: {timeout: …}}``."""
    for name, inner in _first(root, "properties", {}).items():
        if key in _first(inner, "properties", {}):
            yield f"{name}: {{{key}: …}}"
        entry = _first(inner, "additionalProperties", None)
        if isinstance(entry, Mapping) and key in _first(entry, "properties", {}):
            yield f"{name}: {{{next(iter(inner.get('examples', ())), 'NAME')}: {{{key}: …}}}}"


# --- the way out of a key ---------------------------------------------------------------------------------------------


def _way_out(found: _Found) -> str:
    """Say what to write; empty where the schema does not say it."""
    alternatives = _alternatives(found.schema)
    nouns = list(dict.fromkeys(filter(None, map(_noun, alternatives))))
    if not nouns:
        return ""
    is_choice = all((_values(each) and "description" not in each) or each.get("minItems") for each in alternatives)
    return f"write {' or '.join(nouns)}{', or leave the key out' if is_choice and found.is_optional else ''}"


def _noun(schema: _Schema) -> str:
    """Say what one alternative is: ``a whole number, 0 or more, as in 100``."""
    values, description = _values(schema), schema.get("description", "")
    if values:
        return f"{description}: {', '.join(values)}" if description else _listed(values)
    noun = description or _NOUNS.get(schema.get("type", ""), "")
    return noun and f"{noun}{_bounds(schema)}{_each(schema)}{_example(schema)}"


def _bounds(schema: _Schema) -> str:
    lengths = [form.format(_count(schema[key], *unit)) for key, (form, unit) in _LENGTHS.items() if key in schema]
    limits = [form.format(schema[key]) for key, form in _LIMITS.items() if key in schema]
    return (f" of {' and '.join(lengths)}" if lengths else "") + "".join(limits)


def _count(number: int, one: str, several: str) -> str:
    return f"one {one}" if number == 1 else f"{number} {several}"


def _each(schema: _Schema) -> str:
    values = _values(schema["items"]) if isinstance(schema.get("items"), Mapping) else []
    return f", each {_listed(values)}" if values else ""


def _example(schema: _Schema) -> str:
    examples = schema.get("examples", ())
    if schema.get("type") == "array":
        shown = f", as in [{', '.join(map(str, examples or ('one', 'two')))}]"
        return shown if schema.get("minItems") else f"{shown}, also of one"
    return f", as in {examples[0]}" if examples and schema.get("type") != "object" else ""


def _values(schema: _Schema) -> list[str]:
    """Return the only values that there are, as YAML has them; none where any of a type will do."""
    values = schema.get("enum", [schema["const"]] if "const" in schema else ())
    return [yaml.safe_dump(value).removesuffix("...\n").strip() for value in values]


def _listed(values: Sequence[str]) -> str:
    *all_but_last, last = values
    return f"{', '.join(all_but_last)} or {last}" if all_but_last else last


# --- the schema -------------------------------------------------------------------------------------------------------


def _resolved(schema: Any, definitions: Mapping[str, Any] | None = None) -> Any:
    """Put definitions in the place of references to them, without the docstrings of their classes."""
    if isinstance(schema, list):
        return [_resolved(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    if reference := schema.get("$ref"):
        defined = definitions[reference.rpartition("/")[2]]
        schema = {**{key: value for key, value in defined.items() if key != "description"}, **schema}
    return {key: _resolved(value, definitions) for key, value in schema.items() if key not in ("$ref", "$defs")}


def _alternatives(schema: _Schema) -> list[_Schema]:
    """Return what a value may be, without null; what is said of all of them is said of each."""
    if "anyOf" not in schema:
        return [schema]
    common = {key: value for key, value in schema.items() if key in ("description", "examples")}
    return [{**each, **common} for each in schema["anyOf"] if each.get("type") != "null"]


def _first(schema: _Schema, key: str, default: Any) -> Any:
    """Return what the first alternative that has ``key`` has there."""
    return next((each[key] for each in _alternatives(schema) if key in each), default)


class _Found(NamedTuple):
    """What may be written at a place of the configuration."""

    schema: _Schema
    path: Sequence[str | int]
    is_optional: bool
    """Whether the key may be left out."""


def _find(root: _Schema, location: Sequence[str | int]) -> _Found:
    """Follow a location as far as it leads.

    Behind the place of a value that may be of several types pydantic names the type, which leads nowhere.
    """
    schema, is_optional = root, False
    for depth, part in enumerate(location):
        properties, others = _first(schema, "properties", {}), _first(schema, "additionalProperties", None)
        if part in properties:
            schema, is_optional = properties[part], part not in _first(schema, "required", ())
        elif isinstance(others, Mapping):
            schema, is_optional = others, False
        elif isinstance(part, int) and (items := _first(schema, "items", None)):
            schema, is_optional = items, False
        else:
            return _Found(schema, location[:depth], is_optional)
    return _Found(schema, location, is_optional)
