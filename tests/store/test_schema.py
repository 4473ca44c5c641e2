from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from metrion.model import EVENT_COLUMNS
from metrion.store import schema
from tests.store.events import Home, event


def test_the_columns_are_those_of_the_event_in_its_order() -> None:
    assert tuple(schema.COLUMN_TYPES) == EVENT_COLUMNS


def test_the_view_has_the_columns_with_their_types(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.initialise()
    with duckdb.connect(home.store_path, read_only=True) as connection:
        described = connection.execute("DESCRIBE events").fetchall()
    assert {name: kind for name, kind, *_ in described} == {
        name: kind.replace("(18, 12)", "(18,12)") for name, kind in schema.COLUMN_TYPES.items()
    }
    assert tuple(name for name, *_ in described) == EVENT_COLUMNS


@pytest.mark.parametrize("name", ["with space", "it's", "[x]*", "provider=x"])
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    home.initialise()
    home.record(event(provider="mistral"))
    assert home.values("SELECT provider FROM events") == [("mistral",)]
    home.ingest()
    assert home.segments == []
    assert home.values("SELECT provider FROM events") == [("mistral",)]


def test_any_duckdb_from_the_first_with_this_format_on_opens_the_store(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.initialise()
    with duckdb.connect(home.store_path, read_only=True) as connection:
        (tags,) = connection.execute(
            "SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal"
        ).fetchall()
    assert tags == ("v1.4.0+",)
