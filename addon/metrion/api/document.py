"""The OpenAPI document of the API, made from the table of operations. Pure: the same table, the same document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from metrion import __version__
from metrion.api.operation import Operation, Shown
from metrion.api.operations import OPERATIONS

PROBLEM = "application/problem+json"
_REFERENCE = "#/components/schemas/{model}"
_ABOUT = (
    "Accounts, tokens, budgets, provider keys, alerts and what was metered, for whoever has an admin token "
    "(`metrion admin create`). What the command line can do with control data, this can. A token that may only read "
    "gets 403 for what writes."
)
_ALWAYS: Mapping[HTTPStatus, str] = {
    HTTPStatus.UNAUTHORIZED: "There is no admin token, or it does not hold.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A value has not the form that it must have, or is not known here.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many log-ins failed: `retry-after` says how long to wait.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The control database, the store or the master key cannot be used at this moment.",
}
_OF_WRITING = {HTTPStatus.FORBIDDEN: "The admin token may only read."}
_OF_BODIES = {
    HTTPStatus.BAD_REQUEST: "The body is not JSON.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body has more than 256 KB.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not `application/json`.",
}


class Mistake(Shown):
    """What is wrong with one value. The value is not repeated."""

    where: str = Field(description="`body`, `query` or `path`, and the member.")
    detail: str


class Problem(Shown):
    """What went wrong, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Mistake] = Field(default=[])


class _Schemas(GenerateJsonSchema):
    """Schemas whose names say what they are, without titles that repeat the names of members."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 -- pydantic's signature
        """Never: a title would say what the member's name says."""
        return False


def document() -> dict[str, Any]:
    """Return the document."""
    schemas, names = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Metrion's admin API", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/admin/v1"}],
        "security": [{"admin": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "admin": {"type": "http", "scheme": "bearer", "description": "An admin token: `sk-mta-…`."}
            },
        },
    }


def _models() -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    yield Problem, "serialization"
    for operation in OPERATIONS:
        if operation.body is not None:
            yield operation.body, "validation"
        if operation.answer is not None:
            yield operation.answer, "serialization"


def _schemas() -> tuple[dict[str, Any], Mapping[type[BaseModel], Mapping[str, str]]]:
    """Return every schema by its name, and the reference to each model's."""
    references, made = models_json_schema(
        list(dict.fromkeys(_models())), ref_template=_REFERENCE, schema_generator=_Schemas
    )
    names: dict[Any, Mapping[str, str]] = {model: found for (model, _), found in references.items()}
    return {name: _tidied(schema) for name, schema in made["$defs"].items()}, names


def _operation(operation: Operation, names: Mapping[type[BaseModel], Mapping[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.path.split("/")[1]],
        "summary": operation.summary,
        "parameters": [*_parameters(operation.place, "path"), *_parameters(operation.query, "query")],
        "responses": {str(int(status)): answer for status, answer in _answers(operation, names)},
    }
    if operation.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": names[operation.body]}}}
    return found


def _answers(operation: Operation, names: Mapping[type[BaseModel], Mapping[str, str]]) -> Iterator[tuple[int, Any]]:
    good: dict[str, Any] = {"description": "Done."}
    if operation.answer is not None:
        good["content"] = {"application/json": {"schema": names[operation.answer]}}
    yield operation.status, good
    for status, why in problems(operation).items():
        yield status, {"description": why, "content": {PROBLEM: {"schema": names[Problem]}}}


def problems(operation: Operation) -> Mapping[HTTPStatus, str]:
    """Return what an operation may answer when something is wrong, by its status, and why."""
    return dict(
        sorted(
            {
                **_ALWAYS,
                **(_OF_WRITING if operation.writes else {}),
                **(_OF_BODIES if operation.body is not None else {}),
                **(operation.fails or {}),
            }.items()
        )
    )


def _parameters(model: type[BaseModel], place: str) -> Iterator[dict[str, Any]]:
    schema = TypeAdapter(model).json_schema(schema_generator=_Schemas)
    for name, member in schema.get("properties", {}).items():
        member = _inlined(member, schema.get("$defs", {}))
        described = member.pop("description", None)
        yield {
            "name": name,
            "in": place,
            "required": name in schema.get("required", ()),
            **({"description": described} if described else {}),
            "schema": _without_null(_tidied(member)),
        }


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Put what is referred to in the place of the references."""
    if isinstance(schema, dict):
        if reference := schema.get("$ref"):
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return {**_inlined(definitions[reference.rpartition("/")[2]], definitions), **rest}
        return {key: _inlined(value, definitions) for key, value in schema.items()}
    return [_inlined(each, definitions) for each in schema] if isinstance(schema, list) else schema


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's schema: one that is left out is null, and none is written as null."""
    others = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(others) == 1:
        schema = {**{key: value for key, value in schema.items() if key != "anyOf"}, **others[0]}
    return {key: value for key, value in schema.items() if not (key == "default" and value is None)}


def _tidied(schema: Any) -> Any:
    """Return a schema with its descriptions on one line."""
    if isinstance(schema, dict):
        return {
            key: re.sub(r"\s+", " ", value) if key == "description" and isinstance(value, str) else _tidied(value)
            for key, value in schema.items()
        }
    return [_tidied(each) for each in schema] if isinstance(schema, list) else schema
