"""What the tables of operations and of paths say, and that nothing they name is missing."""

from __future__ import annotations

import re

import pytest

from metrion import endpoints as operations
from metrion.dialects import DIALECTS, SESSIONS
from metrion.endpoints import GOOGLE_PATHS, OPERATIONS, PATHS, Path
from metrion.model import Operation
from metrion.providers import PROVIDERS

ROWS = [*PATHS.items(), *GOOGLE_PATHS.items()]


def test_every_operation_has_a_path_and_a_name_of_its_own() -> None:
    rows = [row for row in vars(operations).values() if isinstance(row, Operation)]
    assert sorted(row.name for row in rows) == sorted(OPERATIONS)
    assert all(OPERATIONS[row.name] is row for row in rows)


def test_what_no_provider_charges_for() -> None:
    assert {name for name, row in OPERATIONS.items() if not row.billed} == {
        "agents",
        "assistants",
        "batch",
        "cancel",
        "configuration",
        "count_tokens",
        "files",
        "models",
        "sessions",
        "telemetry",
        "vector_stores",
    }


@pytest.mark.parametrize(
    ("operation", "provider", "billed"),
    [
        ("chat", "openai", True),
        ("models", "openai", False),
        ("conversations", "openai", False),
        ("conversations", "mistral", True),
        ("moderations", "openai", False),
        ("moderations", "mistral", True),
        ("moderations", "my-vllm", True),
        ("other", "google", True),
    ],
)
def test_what_a_provider_charges_for(operation: str, provider: str, *, billed: bool) -> None:
    assert OPERATIONS[operation].is_billed_at(provider) is billed


def test_providers_that_a_row_names_are_there() -> None:
    assert {provider for row in OPERATIONS.values() for provider in row.free_at} <= PROVIDERS.keys()


def test_one_operation_is_a_session_and_one_is_billed_in_the_answer_to_a_later_post() -> None:
    assert [name for name, row in OPERATIONS.items() if row.session] == ["realtime"]
    assert [name for name, row in OPERATIONS.items() if row.deferred] == ["runs"]


@pytest.mark.parametrize(("path", "row"), ROWS)
def test_wire_formats_that_a_path_names_are_there(path: str, row: Path) -> None:
    assert {row.post, row.get} <= {None, *DIALECTS}, path
    assert row.session is None or row.session in SESSIONS
    assert row.get is None or row.session is None, "a GET has one answer"
    assert row.get or not row.is_output


@pytest.mark.parametrize("table", [PATHS, GOOGLE_PATHS], ids=["plain", "google"])
def test_paths_in_a_table_are_written_as_routing_looks_them_up(table: dict[str, object]) -> None:
    """Segments without slashes around them, * for an id; a verb alone, behind its colon, or behind a publisher too."""
    for path in table:
        assert re.fullmatch(r"\w*:\w+|[\w-]+(/([\w-]+|\*))*", path), path


@pytest.mark.parametrize(
    ("path", "method", "operation", "wire_format"),
    [
        ("responses", b"POST", "responses", "openai_responses"),
        ("responses", b"GET", "realtime", "openai_realtime"),
        ("responses", b"DELETE", "responses", None),
        ("responses/*", b"GET", "responses", "openai_responses"),
        ("responses/*", b"POST", "responses", None),
        ("files", b"GET", "files", None),
        ("files/*/content", b"GET", "files", "mistral_batch_output"),
        ("realtime", b"POST", "realtime", None),
        ("threads/*/runs/*", b"GET", "assistants", "openai_runs"),
    ],
)
def test_what_is_asked_for_by_a_method(path: str, method: bytes, operation: str, wire_format: str | None) -> None:
    asked, answer = PATHS[path].asked_with(method)
    assert (asked.name, answer) == (operation, wire_format)


@pytest.mark.parametrize(
    ("method", "operation", "dialect", "expected"),
    [
        (b"POST", "chat", "openai_chat", True),
        (b"POST", "completions", "openai_chat", True),
        (b"GET", "chat", "openai_chat", False),
        (b"POST", "batch", "openai_chat", False),
        (b"POST", "completions", "anthropic_completions", False),
        (b"POST", "responses", "openai_responses", False),
        (b"POST", "embeddings", "openai_embeddings", False),
        (b"POST", "chat", None, False),
        (b"POST", "generate_content", "gemini", False),
    ],
)
def test_where_the_usage_of_a_stream_can_be_asked_for(
    method: bytes, operation: str, dialect: str | None, *, expected: bool
) -> None:
    assert Path(OPERATIONS[operation], dialect, get=dialect).asks_usage(method) is expected
