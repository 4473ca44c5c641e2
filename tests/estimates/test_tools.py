"""Function definitions as they are declared to OpenAI's models."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrion.estimates.tools import declared


def declaration(tool: dict[str, Any]) -> str:
    return declared([tool]).removeprefix("namespace functions {\n\n").removesuffix("\n\n} // namespace functions")


def parameters(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": ["a"]}


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ({"name": "now"}, "type now = () => any;"),
        ({"name": "now", "description": "The time"}, "// The time\ntype now = () => any;"),
        (
            {"name": "f", "parameters": parameters(a={"type": "string", "description": "An a"}, b={"type": "integer"})},
            "type f = (_: {\n// An a\na: string,\nb?: number,\n}) => any;",
        ),
        (
            {"name": "f", "parameters": parameters(a={"type": "string", "enum": ["x", "y"]})},
            'type f = (_: {\na: "x" | "y",\n}) => any;',
        ),
        (
            {"name": "f", "parameters": parameters(a={"type": "array", "items": {"type": "number"}, "default": []})},
            "type f = (_: {\na: number[], // default: []\n}) => any;",
        ),
        (
            {"name": "f", "parameters": parameters(a={"anyOf": [{"type": "boolean"}, {"type": "null"}]})},
            "type f = (_: {\na: boolean | null,\n}) => any;",
        ),
        (
            {"name": "f", "parameters": parameters(a={"type": ["object", "null"], "properties": {"b": {}}})},
            "type f = (_: {\na: {\nb?: any,\n} | null,\n}) => any;",
        ),
    ],
)
def test_declaration(tool: dict[str, Any], expected: str) -> None:
    assert declaration(tool) == expected


MEMBERS = ["type", "anyOf", "oneOf", "enum", "items", "properties", "required", "default", "description", "object", "a"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([*MEMBERS, "array", "string"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=6),
    max_leaves=40,
)


@settings(deadline=None)  # the machine may be busy
@given(ANYTHING, ANYTHING)
def test_any_schema_at_all_is_declared(description: Any, schema: Any) -> None:
    assert declared([{"name": "f", "description": description, "parameters": schema}, {}])


def test_a_schema_made_to_be_long_is_not() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        schema = {"type": ["object", "array", "null"] * 20, "properties": {"a": schema, "b": {}}, "items": schema}
    tool = {"name": "f", "parameters": schema}
    assert len(declared([tool])) < 1_000_000


def test_declarations_are_shorter_than_the_schemas() -> None:
    tool = {"name": "f", "description": "Does", "parameters": parameters(a={"type": "string"}, b={"type": "string"})}
    assert len(declared([tool])) < len(json.dumps([tool]))
