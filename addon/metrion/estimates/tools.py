"""Function definitions as OpenAI's models see them: as types of TypeScript, not as JSON schemas.

OpenAI does not publish the form. This is what its counts of prompt tokens agree with, on the recorded requests to the
last token for most; see docs/estimates.md. Definitions come from strangers. Nothing here raises.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from metrion.dialects.dialect import mapping

_DEEPEST = 16
"""Levels of a schema that are looked into."""

_NAMES = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}


def declared(tools: Iterable[Mapping[str, Any]]) -> str:
    """Return the declarations of functions that have ``name``, ``description`` and ``parameters``."""
    return "namespace functions {\n\n" + "".join(map(_function, tools)) + "} // namespace functions"


def _function(tool: Mapping[str, Any]) -> str:
    members = _members(mapping(tool.get("parameters")), 0)
    parameters = f"_: {{\n{members}}}" if members else ""
    return f"{_comment(tool.get('description'))}type {tool.get('name')} = ({parameters}) => any;\n\n"


def _members(schema: Mapping[str, Any], depth: int) -> str:
    required = schema.get("required")
    required = required if isinstance(required, list) else ()
    members = ""
    for name, member in mapping(schema.get("properties")).items():
        member = mapping(member)
        comment = _comment(member.get("description")) if depth == 0 else ""
        default = f" // default: {member['default']}" if "default" in member else ""
        members += f"{comment}{name}{'' if name in required else '?'}: {_type(member, depth)},{default}\n"
    return members


def _type(schema: Mapping[str, Any], depth: int) -> str:
    options = schema.get("anyOf") or schema.get("oneOf")
    values = schema.get("enum")
    kind = schema.get("type")
    if depth > _DEEPEST:
        return "any"
    if isinstance(options, list):
        return " | ".join(_type(mapping(option), depth + 1) for option in options)
    if isinstance(values, list):
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in values)
    kinds = [each for each in (kind if isinstance(kind, list) else (kind,)) if isinstance(each, str)]
    if "array" in kinds:
        return " | ".join((f"{_type(mapping(schema.get('items')), depth + 1)}[]", *_names(kinds)))
    if "object" in kinds or "properties" in schema:
        members = _members(schema, depth + 1)
        return " | ".join((f"{{\n{members}{'  ' * depth}}}" if members else "object", *_names(kinds)))
    return " | ".join(_names(kinds)) or "any"


def _names(kinds: list[str]) -> list[str]:
    return [_NAMES[kind] for kind in kinds if kind in _NAMES]


def _comment(text: object) -> str:
    return f"// {text}\n" if isinstance(text, str) and text else ""
