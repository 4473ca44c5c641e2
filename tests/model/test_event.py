"""The columns of the event, as they are declared."""

from __future__ import annotations

from dataclasses import MISSING, fields

from metrion.model import COLUMN_TYPES, EVENT_COLUMNS, Event


def test_every_column_says_its_type_in_order() -> None:
    assert tuple(COLUMN_TYPES) == EVENT_COLUMNS


def test_types_are_those_of_the_declaration() -> None:
    named = {name: COLUMN_TYPES[name] for name in ("event_id", "started_at", "status", "usage", "cost_usd", "tags")}
    assert named == {
        "event_id": "UUID",
        "started_at": "TIMESTAMP",
        "status": "SMALLINT",
        "usage": "JSON",
        "cost_usd": "DECIMAL(18, 12)",
        "tags": "MAP(VARCHAR, VARCHAR)",
    }


def test_what_is_not_known_is_null() -> None:
    defaults = {field.name: field.default for field in fields(Event)}
    required = [name for name, default in defaults.items() if default is MISSING]
    assert required == ["event_id", "request_id", "started_at", "provider"]
    given = {name: default for name, default in defaults.items() if default not in (None, MISSING)}
    assert given == {"attempt": 1, "usage_source": "none"}
