from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

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


DAY = datetime(2026, 11, 1)  # noqa: DTZ001 -- events have naive UTC times
UNKNOWN: dict[str, Any] = {"method": "POST", "generation_id": "resp_1", "cost_source": "unknown", "cost_usd": None}
READ_BACK: dict[str, Any] = {"method": "GET", "generation_id": "resp_1", "request_id": "later"}


@pytest.mark.parametrize(
    ("row", "later", "settled"),
    [
        (UNKNOWN, [], False),
        (UNKNOWN, [READ_BACK], True),
        (UNKNOWN | {"cost_source": None}, [READ_BACK], True),
        (UNKNOWN | {"cost_source": "computed"}, [READ_BACK], False),
        (UNKNOWN | {"cost_source": "unpriced"}, [READ_BACK], False),
        (UNKNOWN | {"generation_id": None}, [READ_BACK | {"generation_id": None}], False),
        (UNKNOWN, [READ_BACK | {"provider": "xai"}], False),
        (UNKNOWN, [READ_BACK | {"cost_source": "not_billed"}], False),
        (UNKNOWN, [READ_BACK | {"cost_source": "not_billed"}, READ_BACK], True),
        (UNKNOWN, [READ_BACK | {"generation_id": "done_1", "path": "/v1/chat/deferred-completion/resp_1"}], True),
        (UNKNOWN, [READ_BACK | {"method": "POST", "operation": "responses"}], False),
        (UNKNOWN, [READ_BACK | {"method": "POST", "operation": "runs"}], True),
        # An agent goes on with a session that was read back before.
        (UNKNOWN | {"started_at": DAY + timedelta(hours=1)}, [READ_BACK | {"started_at": DAY}], False),
        (UNKNOWN | {"started_at": DAY}, [READ_BACK | {"started_at": DAY + timedelta(hours=1)}], True),
    ],
)
@pytest.mark.parametrize("ingested", [False, True])
def test_a_row_is_settled_later_where_another_one_bills_it(
    tmp_path: Path, row: dict[str, Any], later: list[dict[str, Any]], settled: bool, ingested: bool
) -> None:
    home = Home(tmp_path)
    home.initialise()
    home.record(event(request_id="first", **row), *(event(**each) for each in later))
    if ingested:
        home.ingest()
    query = "SELECT settled_later FROM billing WHERE request_id = 'first'"
    assert home.values(query) == [(settled,)]
    with duckdb.connect(home.store_path, read_only=True) as connection:
        assert connection.execute(query).fetchall() == [(settled,)]


@pytest.mark.parametrize(
    ("row", "billed"),
    [
        ({"cost_source": "computed"}, True),
        ({"cost_source": "estimated"}, True),
        ({"cost_source": "provider"}, True),
        ({"cost_source": "unpriced", "cost_usd": None}, True),
        ({"cost_source": "unknown", "cost_usd": None}, True),
        ({"cost_source": None, "cost_usd": None}, True),
        ({"cost_source": "not_billed", "cost_usd": Decimal(0)}, False),
        ({"cost_source": "subscription", "cost_usd": Decimal(0)}, False),
    ],
)
def test_a_row_is_billed_where_it_has_a_cost_of_its_own(tmp_path: Path, row: dict[str, Any], billed: bool) -> None:
    home = Home(tmp_path)
    home.initialise()
    home.record(event(**row))
    assert home.values("SELECT billed FROM billing") == [(billed,)]


def test_what_is_settled_later_is_billed_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.initialise()
    home.record(event(**UNKNOWN), event(**READ_BACK))
    assert home.values("SELECT method, billed FROM billing ORDER BY method") == [("GET", True), ("POST", False)]


def test_billing_is_events_with_two_more_columns(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.initialise()
    home.record(event(), event(**UNKNOWN))
    more = ("settled_later", "billed")
    assert home.ask("FROM billing").columns == (*EVENT_COLUMNS, *more)
    assert home.values(f"SELECT * EXCLUDE ({', '.join(more)}) FROM billing") == home.values("FROM events")  # noqa: S608 -- names of columns
