"""What a request's row says, and above all what it costs: a table of outcomes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tabulate import tabulate

from metrion.admission.codes import BAD_REQUEST, INVALID_TOKEN, UNKNOWN_ROUTE
from metrion.admission.routing import Router
from metrion.endpoints import CHAT, OPERATIONS, REALTIME
from metrion.metering.meter import measure
from metrion.metering.outcome import Outcome
from metrion.metering.tap import Tap
from metrion.model import (
    Caller,
    CredentialPlace,
    EndReason,
    ErrorShape,
    Event,
    Forward,
    Head,
    Inbound,
    Origin,
    Reading,
    Refusal,
    Route,
    Usage,
)
from metrion.model.event_id import uuid7
from metrion.pricing import PriceBook
from metrion.settings import load_settings
from tests.corpus import Exchange, at_least, exchanges
from tests.metering.test_tap import EXPECTED_NAMES
from tests.recordings import read, route

TOKEN = b"sk-metrion-" + b"t" * 43
ROUTE = Route(
    provider="openai",
    upstream=Origin("https", "api.openai.com", 443),
    target=b"/v1/chat/completions?a=b",
    operation=CHAT,
    dialect="openai_chat",
    credential_place=CredentialPlace.BEARER,
    error_shape=ErrorShape.OPENAI,
)
CALLER = Caller(account="default", token_name="laptop", credential="stored")
INBOUND = Inbound(
    b"POST",
    b"/openai/v1/chat/completions?a=b",
    (
        (b"authorization", b"Bearer " + TOKEN),
        (b"x-metrion-user", "Zoë".encode()),
        (b"x-metrion-tag-team", b"search"),
        (b"x-stainless-retry-count", b"2"),
    ),
)
FORWARD = Forward(ROUTE, CALLER, wire=Head(b"", ()), shown=Head(b"", ()))
OUTCOME = Outcome(
    event_id=uuid7(),
    request_id="r",
    started_at=datetime(2026, 11, 1, tzinfo=UTC).replace(tzinfo=None),
    end_reason=EndReason.COMPLETE,
    status=200,
    reached_upstream=True,
)
USAGE = Usage(input_tokens=1000, output_tokens=100, raw="{}")
READING = Reading(model="test-1", usage=USAGE, finish_reason="stop")
ESTIMATED = replace(READING, finish_reason=None, estimated=True)
NONE = Reading()


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    file = tmp_path_factory.mktemp("prices") / "prices.yaml"
    file.write_text(
        "openai:\n  test-1: {input: 2, output: 10}\n  heard-1: {audio_hour: 0.36}\n"
        "  spoken-1: {fees: {input_character: 0.015}}\n"
    )
    return PriceBook.load([file])


def event(prices: PriceBook, **change: Any) -> Event:
    """Measure the usual request, changed in this or that."""
    decision = change.pop("decision", FORWARD)
    inbound = replace(INBOUND, method=change.pop("method", b"POST"))
    reading = change.pop("reading", READING)
    settles, policy, sent = change.pop("settles", False), change.pop("policy", None), change.pop("model_sent", None)
    if operation := change.pop("operation", None):
        decision = replace(FORWARD, route=replace(ROUTE, operation=OPERATIONS[operation]))
    measured = measure(
        inbound,
        decision,
        replace(OUTCOME, **change),
        reading,
        prices,
        model_requested="asked-for",
        settles=settles,
        policy=policy,
        model_sent=sent,
    )
    assert measured is not None
    return measured


def test_what_stands_in_a_row(prices: PriceBook) -> None:
    row = event(prices)
    assert (row.account, row.token_name, row.credential) == ("default", "laptop", "stored")
    assert (row.user_label, row.tags, row.client_retry) == ("Zoë", {"team": "search"}, 2)
    assert (row.provider, row.operation, row.method, row.path) == ("openai", "chat", "POST", "/v1/chat/completions")
    assert (row.model_requested, row.model, row.finish_reason) == ("asked-for", "test-1", "stop")
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (1000, 100, None)
    assert (row.usage_source, row.usage) == ("reported", "{}")
    assert row.cost_usd == row.computed_cost_usd == Decimal("0.003")
    assert row.cost_parts == {"input": Decimal("0.002"), "output": Decimal("0.001")}


@pytest.mark.parametrize(
    ("counted", "shown", "columns"),
    [
        ({"a": 2}, {"b": 1}, ({"a": 2}, {"b": 1})),
        ({}, {}, (None, None)),
        (None, None, (None, None)),
    ],
)
def test_tools_that_the_usage_counts_and_those_that_only_the_answer_shows_stand_apart(
    counted: dict[str, int] | None,
    shown: dict[str, int] | None,
    columns: tuple[dict[str, int] | None, dict[str, int] | None],
    prices: PriceBook,
) -> None:
    usage = replace(USAGE, server_tools=counted, unreported_tools=shown)
    row = event(prices, reading=replace(READING, usage=usage))
    assert (row.server_tools, row.unreported_tools) == columns


@pytest.mark.parametrize(
    ("change", "source", "cost"),
    [
        ({}, "computed", Decimal("0.003")),
        ({"reading": replace(READING, model="nobody-knows")}, "unpriced", None),
        ({"reading": NONE}, "unknown", None),
        # the provider answered with an error, or refused
        ({"reading": NONE, "status": 400}, "not_billed", Decimal(0)),
        ({"reading": NONE, "status": 529}, "not_billed", Decimal(0)),
        ({"reading": replace(NONE, stream_error=True), "end_reason": EndReason.STREAM_ERROR}, "not_billed", Decimal(0)),
        ({"reading": replace(NONE, is_error=True)}, "not_billed", Decimal(0)),
        ({"reading": replace(NONE, is_error=True), "end_reason": EndReason.CLIENT_ABORT}, "unknown", None),
        ({"status": 500}, "computed", Decimal("0.003")),
        # it may have worked for nobody
        ({"reading": NONE, "status": 504, "end_reason": EndReason.TIMEOUT}, "unknown", None),
        ({"reading": NONE, "status": None, "end_reason": EndReason.CLIENT_ABORT}, "unknown", None),
        ({"reading": NONE, "status": 502, "end_reason": EndReason.UPSTREAM_ERROR}, "unknown", None),
        # it never heard of it
        ({"reading": NONE, "status": 502, "reached_upstream": False}, "not_billed", Decimal(0)),
        # counts of half a stream are no bill; those that came with the end are
        ({"reading": replace(READING, finish_reason=None), "end_reason": EndReason.CLIENT_ABORT}, "unknown", None),
        ({"end_reason": EndReason.CLIENT_ABORT}, "computed", Decimal("0.003")),
        # what is estimated says so, and half an estimate is none
        ({"reading": ESTIMATED}, "estimated", Decimal("0.003")),
        ({"reading": ESTIMATED, "end_reason": EndReason.CLIENT_ABORT}, "estimated", Decimal("0.003")),
        ({"reading": replace(ESTIMATED, usage=Usage(output_tokens=100))}, "unknown", None),
        ({"reading": ESTIMATED, "operation": "count_tokens"}, "not_billed", Decimal(0)),
        # nothing to bill
        ({"method": b"GET"}, "not_billed", Decimal(0)),
        ({"method": b"GET", "settles": True}, "computed", Decimal("0.003")),
        ({"operation": "count_tokens"}, "not_billed", Decimal(0)),
        ({"operation": "files", "reading": NONE}, "not_billed", Decimal(0)),
        ({"operation": "moderations"}, "not_billed", Decimal(0)),
        ({"reading": replace(READING, usage=replace(USAGE, unbilled=True))}, "not_billed", Decimal(0)),
        ({"operation": "other", "reading": NONE}, "unknown", None),
    ],
)
def test_what_it_costs(change: dict[str, Any], source: str, cost: Decimal | None, prices: PriceBook) -> None:
    row = event(prices, **change)
    assert (row.cost_source, row.cost_usd) == (source, cost)


def test_what_policies_did_is_in_the_row(prices: PriceBook) -> None:
    assert event(prices, policy={"short": "alias: a → b"}).policy == {"short": "alias: a → b"}
    assert event(prices).policy is None


def test_the_model_that_a_policy_put_in_is_priced_where_the_answer_names_none(prices: PriceBook) -> None:
    unnamed = replace(READING, model=None)
    assert event(prices, reading=unnamed).cost_source == "unpriced"
    row = event(prices, reading=unnamed, model_sent="test-1")
    assert (row.model_requested, row.model, row.cost_usd) == ("asked-for", None, Decimal("0.003"))


@pytest.mark.parametrize(("reading", "source"), [(READING, "reported"), (ESTIMATED, "estimated"), (NONE, "none")])
def test_where_the_usage_comes_from(reading: Reading, source: str, prices: PriceBook) -> None:
    assert event(prices, reading=reading).usage_source == source


def test_what_is_read_back_is_counted_in_the_row_that_is_billed_only(prices: PriceBook) -> None:
    row = event(prices, method=b"GET")
    assert (row.input_tokens, row.usage, row.usage_source) == (None, None, "none")


def test_a_refusal(prices: PriceBook) -> None:
    refusal = Refusal(INVALID_TOKEN, "No.", "openai", route=ROUTE)
    outcome = {"end_reason": EndReason.REFUSED, "status": 401, "error_type": "invalid_token", "reached_upstream": False}
    row = event(prices, decision=refusal, reading=NONE, **outcome)
    assert (row.account, row.provider, row.path) == (None, "openai", "/v1/chat/completions")
    assert (row.cost_source, row.cost_usd, row.usage_source) == ("not_billed", Decimal(0), "none")


def test_a_refused_path_keeps_its_secret(prices: PriceBook) -> None:
    inbound = replace(INBOUND, target=b"/openai/" + TOKEN + b"/models?key=" + TOKEN)
    row = measure(inbound, Refusal(BAD_REQUEST, "No.", "openai"), OUTCOME, NONE, prices)
    assert row is not None
    assert row.path == "/openai/sk-metrion-…tttt/models"
    assert TOKEN.decode() not in repr(row)


def test_a_request_that_names_no_provider_has_no_row(prices: PriceBook) -> None:
    assert measure(INBOUND, Refusal(UNKNOWN_ROUTE, "No."), OUTCOME, NONE, prices) is None


KEY = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4"


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([("User-Agent", "OpenAI/Python 1.2")], "OpenAI/Python"),
        ([("user-agent", "anthropic-sdk/1.2.3")], "anthropic-sdk/1.2.3"),
        ([("USER-AGENT", "  claude-cli/2.0.1 (external, cli)")], "claude-cli/2.0.1"),
        ([("user-agent", "codex_cli_rs/0.2(Linux)")], "codex_cli_rs/0.2"),
        ([("user-agent", "node")], "node"),
        ([("user-agent", "größe/1 x")], "größe/1"),
        ([("user-agent", "one/1"), ("user-agent", "two/2")], "one/1"),
        ([("user-agent", "x" * 20 + "/" + "y-" * 40)], "x" * 20 + "/" + "y-" * 21 + "y"),
        ([("user-agent", f"me/{TOKEN.decode()} x")], "me/sk-metrion-…tttt"),
        ([("user-agent", "me/sk-metrion-short")], "me/***"),
        ([("user-agent", f"sk-proj-{KEY}")], "***"),
        ([("user-agent", f"me/sk-ant-api03-a_b-{KEY}")], "me/***"),
        ([("user-agent", f"AIza{KEY[:20]}-{KEY[:14]}/1")], "***/1"),
        ([("user-agent", f"xai-{KEY}")], "***"),
        ([("user-agent", f"{KEY} python")], "***"),
        ([("user-agent", "(only a comment)")], None),
        ([("user-agent", " ")], None),
        ([("user-agent", "")], None),
        ([], None),
    ],
)
def test_the_client_is_the_first_product_of_its_user_agent(
    headers: list[tuple[str, str]], client: str | None, prices: PriceBook
) -> None:
    inbound = replace(INBOUND, headers=tuple((name.encode(), value.encode()) for name, value in headers))
    row = measure(inbound, FORWARD, OUTCOME, READING, prices)
    assert row is not None
    assert row.client == client


EVENT_STREAM = {"content_type": "text/event-stream", "status": 200}


@pytest.mark.parametrize(
    ("dialect", "answer", "wire_format"),
    [
        ("openai_chat", {"content_type": "application/json", "status": 200}, "openai_chat"),
        ("openai_chat", EVENT_STREAM, "openai_chat"),
        ("openai_chat", {"content_type": "application/json", "status": 429}, "openai_chat"),
        ("openai_speech", {"content_type": "audio/mpeg", "status": 200}, None),
        (None, EVENT_STREAM, None),
        (None, {"content_type": "application/json", "status": 429}, None),  # only what kind of error it is was read
        ("openai_realtime", {"content_type": "application/json", "status": 403}, None),
        ("openai_realtime", {"content_type": None, "status": 101}, "openai_realtime"),
        (None, {"content_type": None, "status": 101}, None),
    ],
)
def test_the_wire_format_is_what_the_answer_was_read_as(
    dialect: str | None, answer: dict[str, Any], wire_format: str | None, prices: PriceBook
) -> None:
    tap = Tap(dialect, content_encoding=None, **answer)
    tap.finish()
    operation = REALTIME if dialect == "openai_realtime" else CHAT
    forward = replace(FORWARD, route=replace(ROUTE, operation=operation, dialect=dialect))
    assert event(prices, decision=forward, reading=tap.reading, status=answer["status"]).wire_format == wire_format


def test_what_metrion_answers_itself_was_read_in_no_format(prices: PriceBook) -> None:
    refusal = Refusal(INVALID_TOKEN, "No.", "openai", route=ROUTE)
    assert event(prices, decision=refusal, reading=NONE, status=401).wire_format is None
    assert event(prices, reading=NONE, status=504, end_reason=EndReason.TIMEOUT).wire_format is None


@pytest.mark.parametrize("value", [b"", b"-1", b"two", b"99999", b"\xb2"])
def test_a_retry_count_that_is_none(value: bytes, prices: PriceBook) -> None:
    inbound = replace(INBOUND, headers=((b"X-Stainless-Retry-Count", value),))
    row = measure(inbound, FORWARD, OUTCOME, READING, prices)
    assert row is not None
    assert row.client_retry is None


@pytest.mark.parametrize(
    ("method", "target", "is_billed"),
    [
        (b"POST", b"/openai/v1/chat/completions", True),
        (b"POST", b"/openai/v1/responses", True),
        (b"POST", b"/openai/v1/responses/compact", True),
        (b"POST", b"/openai/v1/images/edits", True),
        (b"POST", b"/openai/v1/audio/transcriptions", True),
        (b"POST", b"/openai/v1/threads/t/runs", True),
        (b"POST", b"/openai/v1/threads/t/runs/r/submit_tool_outputs", True),
        (b"POST", b"/mistral/v1/moderations", True),
        (b"POST", b"/openai/v1/nobody/knows", True),
        (b"POST", b"/gemini/v1beta/models/aqa:generateAnswer", True),
        (b"POST", b"/gemini/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore", True),
        (b"POST", b"/gemini/upload/v1beta/files", False),
        (b"POST", b"/openai/v1/agents/environments", False),
        (b"POST", b"/openai/v1/agents", False),
        (b"GET", b"/gemini/v1beta/models/aqa", False),
        (b"POST", b"/openai/v1/moderations", False),
        (b"POST", b"/openai/v1/assistants", False),
        (b"POST", b"/openai/v1/threads", False),
        (b"POST", b"/openai/v1/threads/t/messages", False),
        (b"POST", b"/openai/v1/threads/t/runs/r", False),
        (b"POST", b"/openai/v1/threads/t/runs/r/cancel", False),
        (b"POST", b"/openai/v1/responses/resp_1/cancel", False),
        (b"POST", b"/openai/v1/responses/input_tokens", False),
        (b"POST", b"/openai/v1/conversations", False),
        (b"POST", b"/openai/v1/vector_stores", False),
        (b"POST", b"/openai/v1/files", False),
        (b"POST", b"/openai/v1/realtime/client_secrets", False),
        (b"GET", b"/openai/v1/responses/resp_1", False),
        (b"GET", b"/openai/v1/threads/t/runs/r", False),
        (b"GET", b"/openai/v1/chat/completions/chatcmpl-1", False),
        (b"GET", b"/openai/v1/models", False),
        (b"DELETE", b"/openai/v1/responses/resp_1", False),
    ],
)
def test_which_paths_are_billed(method: bytes, target: bytes, prices: PriceBook, *, is_billed: bool) -> None:
    inbound = Inbound(method, target, ())
    route = Router(load_settings(environ={"METRION_HOME": "/nowhere"})).route(inbound)
    assert isinstance(route, Route)
    row = measure(inbound, replace(FORWARD, route=route), OUTCOME, Reading(), prices)
    assert row is not None
    assert (row.cost_source, row.cost_usd) == (("unknown", None) if is_billed else ("not_billed", Decimal(0)))


def test_what_was_heard_is_priced_by_the_length_that_the_answer_tells(prices: PriceBook) -> None:
    """It is no usage, so the cost is an estimate: OpenAI bills whole seconds."""
    tap = Tap("openai_audio", content_type="application/json", content_encoding=None, status=200)
    tap.feed(b'{"task": "transcribe", "duration": 8.5, "text": "x"}')
    tap.finish()
    row = event(prices, reading=replace(tap.reading, model="heard-1"))
    assert (row.usage_source, row.audio_seconds, row.usage) == ("estimated", 8.5, None)
    assert (row.cost_source, row.cost_usd) == ("estimated", Decimal("0.00085"))


@pytest.mark.parametrize(
    ("model", "usage", "source", "cost"),
    [
        ("spoken-1", Usage(unreported_tools={"input_character": 2000}), "estimated", Decimal("0.03")),
        ("spoken-1", Usage(unreported_tools={"input_character": 0}), "estimated", Decimal(0)),
        # tokens that a stream reports are not what is billed
        (
            "spoken-1",
            Usage(input_tokens=9, output_tokens=50, unreported_tools={"input_character": 40}),
            "estimated",
            Decimal("0.0006"),
        ),
        ("test-1", Usage(unreported_tools={"google_search": 1}), "unknown", None),
    ],
)
def test_what_was_spoken_is_priced_by_its_characters(
    model: str, usage: Usage, source: str, cost: Decimal | None, prices: PriceBook
) -> None:
    row = event(prices, reading=Reading(model=model, usage=usage, estimated=True))
    assert (row.usage_source, row.unreported_tools) == ("estimated", usage.unreported_tools)
    assert (row.cost_source, row.cost_usd) == (source, cost)


# --- every recorded exchange ------------------------------------------------------------------------------------------

COLUMNS = {**EXPECTED_NAMES, "server_tools": "server_tools"}
BEST_EFFORT = {"openai_agent_sessions"}
"""Formats whose provider says of the usage that it may change."""


def recorded_event(exchange: Exchange, prices: PriceBook) -> Event:
    """The row of a recorded exchange, were it the first to tell what is billed."""
    inbound = Inbound(exchange.method.encode(), exchange.path.encode(), ())
    outcome = replace(OUTCOME, status=exchange.status)
    forward = replace(FORWARD, route=route(exchange))
    row = measure(inbound, forward, outcome, read(exchange), prices, settles=True)
    assert row is not None
    return row


def test_the_columns_of_every_recorded_exchange_are_what_an_independent_parser_expects() -> None:
    prices = PriceBook.load(load_settings(environ={"METRION_HOME": "/nowhere"}).pricing)
    wrong: dict[str, dict[str, Any]] = {}
    priced = 0
    table = dict[tuple[str, str, str], Counter[str]]()
    for exchange in exchanges():
        row = recorded_event(exchange, prices)
        kind = (exchange.provider, exchange.kind, exchange.stream_format or "plain")
        of_its_kind = table.setdefault(kind, Counter())
        of_its_kind["all"] += 1
        of_its_kind["with usage"] += row.usage_source == "reported"
        # A tool that was not called has no place in a map, and an empty map none in a column.
        expected = exchange.expected | {"server_tools": exchange.expected["server_tools"] or None}
        pairs = {column: (getattr(row, column), expected[field]) for column, field in COLUMNS.items()}
        found = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if row.wire_format in BEST_EFFORT:
            assert (row.usage_source == "estimated") is expected["has_usage"], exchange.id
        elif row.usage_source == "estimated":  # the length of what was heard, where no usage says it
            found = {"usage_source": ("estimated", "reported")} if expected["has_usage"] else {}
        if found := {name: pair for name, pair in found.items() if COLUMNS.get(name) not in exchange.ambiguous}:
            wrong[exchange.id] = found
        of_its_kind["as expected"] += not found
        if row.cost_parts is not None:
            assert sum(row.cost_parts.values()) == row.computed_cost_usd, exchange.id
            priced += 1
    columns = ("all", "with usage", "as expected")
    rows = [(*kind, *(counts[column] for column in columns)) for kind, counts in sorted(table.items())]
    print(tabulate(rows, ("provider", "kind", "came", *columns)))  # noqa: T201 -- for pytest -rP
    assert wrong == {}
    assert priced > at_least(1_900, 20)
