"""Rows in which something repeats a credential of their request."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from metrion.admission.codes import MISSING_TOKEN
from metrion.admission.redaction import Redactor
from metrion.metering.meter import measure
from metrion.metering.redacted import redacted
from metrion.model import COLUMN_TYPES, Event, Inbound, Reading, Refusal, Usage
from metrion.pricing import PriceBook
from tests.metering.test_meter import FORWARD, INBOUND, OUTCOME, READING, ROUTE, TOKEN

KEY = "xai-0123456789abcdefghijklmnopqrstuvwxyz"
REDACTOR = Redactor([KEY.encode(), TOKEN])
OURS = {"request_id", "account", "token_name", "credential", "provider", "operation", "end_reason", "usage_source"}
OURS |= {"cost_source", "price_version", "wire_format", "cost_parts"}
NO_PRICES = PriceBook({}, "none")


def event(**columns: object) -> Event:
    return replace(
        Event(event_id=OUTCOME.event_id, request_id="r", started_at=OUTCOME.started_at, provider="openai"),
        **columns,  # type: ignore[arg-type]  # columns of any type
    )


@pytest.mark.parametrize("column", [column.name for column in fields(Event) if column.name not in OURS])
def test_every_column_that_others_fill_is_masked(column: str) -> None:
    kind = COLUMN_TYPES[column]
    values: dict[str, list[object]] = {
        "VARCHAR": [f"of {KEY}"],
        "JSON": [json.dumps({"of": KEY}), json.dumps({KEY: 1.5}), json.dumps([f"Bearer {KEY}"])],
        "MAP(VARCHAR, VARCHAR)": [{"a": KEY}, {KEY: "a"}],
        "MAP(VARCHAR, BIGINT)": [{KEY: 3, "b": 4}],
    }
    for value in values.get(kind, []):
        masked = getattr(redacted(event(**{column: value}), REDACTOR), column)
        assert KEY not in repr(masked)
        assert "***" in repr(masked)
        if kind == "JSON":
            json.loads(masked)


def test_a_row_that_repeats_nothing_stays_the_same_object() -> None:
    row = event(model="gpt-4o", usage='{"prompt_tokens": 1}', tags={"team": "search"}, server_tools={"web_search": 2})
    assert redacted(row, REDACTOR) is row


def test_the_counts_of_a_row_stay() -> None:
    row = event(model=KEY, input_tokens=7, server_tools={"web_search": 2}, usage='{"n": 1e2}')
    masked = redacted(row, REDACTOR)
    assert (masked.model, masked.input_tokens, masked.server_tools, masked.usage) == (
        "***", 7, {"web_search": 2}, '{"n": 1e2}',
    )  # fmt: skip


def test_what_went_out_and_what_came_in_is_masked() -> None:
    forward = replace(FORWARD, credentials=(TOKEN, KEY.encode()))
    inbound = replace(INBOUND, headers=(*INBOUND.headers, (b"x-metrion-tag-note", KEY.encode())))
    usage = Usage(1, output_tokens=2, raw=json.dumps({"key": f"Bearer {KEY}", "token": TOKEN.decode()}))
    reading = replace(READING, model=f"m-{KEY}", generation_id=KEY, usage=usage, finish_reason=KEY, service_tier=KEY)
    outcome = replace(OUTCOME, provider_request_id=KEY, provider_limits=json.dumps({"x-ratelimit-a": KEY}))
    row = measure(inbound, forward, outcome, reading, NO_PRICES)
    assert row is not None
    assert KEY not in repr(row)
    assert TOKEN.decode() not in repr(row)
    assert (row.input_tokens, row.output_tokens) == (1, 2)


def test_a_path_that_has_the_callers_own_key_in_it() -> None:
    route = replace(ROUTE, target=b"/v1/models/" + KEY.encode())
    row = measure(INBOUND, replace(FORWARD, route=route, credentials=(KEY.encode(),)), OUTCOME, Reading(), NO_PRICES)
    assert row is not None
    assert row.path == "/v1/models/***"


def test_a_refused_request_keeps_none_either() -> None:
    inbound = Inbound(
        b"sk-metrion-" + b"t" * 43,
        b"/openai/v1/models/" + KEY.encode(),
        ((b"x-api-key", KEY.encode()), (b"x-metrion-user", KEY.encode())),
    )
    row = measure(inbound, Refusal(MISSING_TOKEN, "No.", "openai"), OUTCOME, Reading(), NO_PRICES)
    assert row is not None
    assert (row.method, row.path, row.user_label) == ("***", "/openai/v1/models/***", "***")
