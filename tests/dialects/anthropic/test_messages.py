"""Usage of messages, whole and event by event."""

import json
from decimal import Decimal
from typing import Any

import pytest

from metrion.dialects.anthropic.messages import DIALECT
from metrion.dialects.dialect import Draft
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.metering.tap import Tap
from metrion.model import Reading
from metrion.parsing.json_stream import Scanner
from metrion.parsing.json_values import tree


def drafted(*documents: dict[str, Any]) -> Draft:
    draft = DIALECT.draft()
    for document in documents:
        scanner = Scanner(tree(DIALECT.wanted))
        scanner.feed(json.dumps(document).encode())
        DIALECT.read(scanner.document, draft)
    return draft


def usage(raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    reader = UsageReader(raw)
    found = DIALECT.usage(reader)
    return {name: value for name in found.__slots__ if (value := getattr(found, name)) is not None}, reader.warnings


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(
            {"input_tokens": 4, "cache_creation_input_tokens": 3522, "cache_read_input_tokens": 1150,
             "cache_creation": {"ephemeral_5m_input_tokens": 3500, "ephemeral_1h_input_tokens": 22},
             "output_tokens": 113, "output_tokens_details": {"thinking_tokens": 100},
             "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 1}, "service_tier": "standard"},
            {"input_tokens": 4676, "cache_read_tokens": 1150, "cache_write_tokens": 3522, "cache_write_1h_tokens": 22,
             "output_tokens": 113, "reasoning_tokens": 100, "server_tools": {"web_fetch_requests": 1}},
            id="all there is",
        ),
        pytest.param({"input_tokens": 4, "output_tokens": 0}, {"input_tokens": 4, "output_tokens": 0}, id="no caches"),
        pytest.param(
            {"input_tokens": 4, "cache_creation_input_tokens": None, "cache_read_input_tokens": 0, "output_tokens": 1,
             "cache_creation": None, "server_tool_use": None},
            {"input_tokens": 4, "cache_read_tokens": 0, "output_tokens": 1},
            id="null is not reported, 0 is 0",
        ),
        pytest.param(
            {"input_tokens": 4, "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 5}},
            {"input_tokens": 19, "cache_write_tokens": 15, "cache_write_1h_tokens": 5},
            id="writes by lifetime only",
        ),
        pytest.param({"output_tokens": 5}, {"output_tokens": 5}, id="input not reported"),
        *(
            pytest.param(
                {"input_tokens": 4, "output_tokens": 5, "cost": Decimal("0.0012"), "is_byok": False, **iterations},
                {"input_tokens": 4, "output_tokens": 5, "provider_cost_usd": Decimal("0.0012")},
                id=f"OpenRouter says what it charged, {len(iterations)}",
            )
            for iterations in ({}, {"iterations": [{"type": "message", "input_tokens": 4, "output_tokens": 5}]})
        ),
        pytest.param(
            {"speed": "fast", "inference_geo": "us"}, {"modes": ("fast", "us")}, id="modes that change the rates"
        ),
        pytest.param({"speed": "standard", "inference_geo": "not_available"}, {"modes": ()}, id="modes that do not"),
    ],
)  # fmt: skip
def test_usage(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    assert usage(raw) == (expected, [])


@pytest.mark.parametrize(
    ("raw", "expected", "warning"),
    [
        ({"input_tokens": "4", "cache_read_input_tokens": 2}, {"cache_read_tokens": 2},
         "usage.input_tokens is no count"),
        ({"input_tokens": 4, "cache_read_input_tokens": -2}, {}, "usage.cache_read_input_tokens is no count"),
        ({"input_tokens": 4, "cache_creation_input_tokens": True}, {}, "usage.cache_creation_input_tokens is no count"),
        ({"input_tokens": 4, "cache_creation": 7}, {"input_tokens": 4}, "usage.cache_creation is no object"),
        *(
            ({"input_tokens": 1, "cache_creation_input_tokens": 17269,
              "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}},
             counted, "usage.cache_creation.ephemeral_5m_input_tokens is contradicted by what was written in all")
            for short, long, counted in (
                (0, 0, {"input_tokens": 17270, "cache_write_tokens": 17269}),
                (17000, 200, {"input_tokens": 17270, "cache_write_tokens": 17269}),
                (17269, 1, {}),
            )
        ),
        *(
            ({"input_tokens": 4, "fallback_credit": credit}, {"input_tokens": 4},
             "usage.input_tokens is contradicted by fallback_credit.status")
            for credit in ({"status": {"type": "redeemed"}}, {"status": {"type": "partly"}}, {"status": None}, {})
        ),
        ({"output_tokens": 1 << 63}, {}, "usage.output_tokens is no count"),
    ],
)  # fmt: skip
def test_a_sum_of_what_cannot_be_read_is_not_reported(
    raw: dict[str, Any], expected: dict[str, Any], warning: str
) -> None:
    assert usage(raw) == (expected, [warning])


START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "model": "claude-sonnet-4-6",
        "id": "msg_1",
        "stop_reason": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 5,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
            "output_tokens": 1,
            "service_tier": "priority",
        },
    },
}


def test_a_delta_replaces_what_it_reports_and_keeps_the_rest() -> None:
    draft = drafted(
        START,
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "usage"}},
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 20}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": 300, "cache_creation_input_tokens": None, "output_tokens": 50,
                      "server_tool_use": {"web_search_requests": 2}},
        },
        {"type": "message_stop"},
    )  # fmt: skip
    assert (draft.model, draft.generation_id, draft.finish_reason, draft.service_tier) == (
        "claude-sonnet-4-6", "msg_1", "end_turn", "priority",
    )  # fmt: skip
    assert draft.usage == {
        **START["message"]["usage"],
        "input_tokens": 300,
        "output_tokens": 50,
        "server_tool_use": {"web_search_requests": 2},
    }
    assert json.loads(draft.usage_source or "") == draft.usage
    assert usage(dict(draft.usage or {}))[0]["cache_write_1h_tokens"] == 3


def test_a_single_usage_stays_verbatim() -> None:
    scanner = Scanner(tree(DIALECT.wanted))
    scanner.feed(b'{"type": "message", "usage": {"input_tokens" :1,\n"output_tokens":2}, "stop_reason": "max_tokens"}')
    draft = DIALECT.draft()
    DIALECT.read(scanner.document, draft)
    assert draft.usage_source == '{"input_tokens" :1,\n"output_tokens":2}'
    assert draft.finish_reason == "max_tokens"


def iteration(kind: str, input_tokens: int, output_tokens: int, model: str | None = None) -> dict[str, Any]:
    """One sampling as recorded; only some kinds say their model."""
    tokens = {"input_tokens": input_tokens, "output_tokens": output_tokens, "cache_read_input_tokens": 0}
    return {"type": kind, **tokens, **({"model": model} if model else {})}


@pytest.mark.parametrize(
    ("iterations", "top", "own", "shares"),
    [
        pytest.param([iteration("message", 20, 5)], (20, 5), (20, 5), None, id="one sampling"),
        pytest.param(
            [iteration("compaction", 55_196, 125), iteration("message", 220, 8)], (220, 8), (55_416, 133), None,
            id="compaction",
        ),
        pytest.param(
            [iteration("compaction", 99_195, 81), iteration("message", 162, 11)], (162, 11), (99_357, 92),
            [(None, 99_195, 81), (None, 162, 11)],
            id="compaction of a long context, whose rates go by its own length",
        ),
        pytest.param(
            [iteration("message", 1128, 110), iteration("advisor_message", 2518, 22, "claude-opus-4-8"),
             iteration("message", 1262, 11), iteration("advisor_message", 100, 1, "claude-opus-4-8")],
            (2390, 121), (2390, 121), [(None, 2390, 121), ("claude-opus-4-8", 2618, 23)],
            id="advisor",
        ),
        pytest.param(
            [iteration("message", 10, 1, "claude-sonnet-5"), iteration("advisor_message", 20, 2, "claude-opus-4-8")],
            (10, 1), (10, 1), [(None, 10, 1), ("claude-opus-4-8", 20, 2)],
            id="the model itself may be named too",
        ),
        pytest.param(
            [iteration("message", 408, 0, "claude-fable-5"),
             iteration("fallback_message", 412, 264, "claude-opus-4-8")],
            (412, 264), (412, 264), [(None, 412, 264), ("claude-fable-5", 408, 0)],
            id="fallback",
        ),
        pytest.param(
            [iteration("message", 408, 0, "claude-fable-5"), iteration("message", 100, 9, "claude-opus-4-8"),
             iteration("advisor_message", 50, 5, "claude-opus-4-7"),
             iteration("fallback_message", 412, 264, "claude-opus-4-8"), iteration("compaction", 7, 3)],
            (512, 273), (519, 276),
            [(None, 519, 276), ("claude-fable-5", 408, 0), ("claude-opus-4-7", 50, 5)],
            id="fallback that took several samplings, an advisor and a compaction",
        ),
        pytest.param([], (5, 6), (5, 6), None, id="none"),
    ],
)  # fmt: skip
def test_iterations_are_what_is_billed(
    iterations: list[dict[str, Any]],
    top: tuple[int, int],
    own: tuple[int, int],
    shares: list[tuple[str | None, int, int]] | None,
) -> None:
    raw = {"input_tokens": top[0], "output_tokens": top[1], "server_tool_use": {"web_search_requests": 2}}
    thought = {"output_tokens_details": {"thinking_tokens": 1}}
    found, warnings = usage({**raw, **thought, "speed": "fast", "iterations": iterations})
    assert (found["input_tokens"], found["output_tokens"], warnings) == (*own, [])
    assert (found["server_tools"], found["reasoning_tokens"]) == ({"web_search_requests": 2}, 1)
    split = found.get("shares")
    assert shares == (split and [(model, share.input_tokens, share.output_tokens) for model, share in split])
    if split:
        told = [(model, share.server_tools, share.reasoning_tokens) for model, share in split if share.server_tools]
        assert told == [(None, {"web_search_requests": 2}, 1)]
        assert {share.modes for _, share in split} == {("fast",)}


def tapped(**message: Any) -> Reading:
    tap = Tap("anthropic_messages", content_type="application/json", content_encoding=None, status=200)
    tap.feed(json.dumps(message).encode())
    return tap.reading


@pytest.mark.parametrize(("advisor", "counts"), [("claude-opus-4-8", (10, 1)), ("claude-sonnet-5", (30, 3))])
def test_the_counts_are_those_of_the_model_that_the_response_names(advisor: str, counts: tuple[int, int]) -> None:
    iterations = [iteration("message", 10, 1), iteration("advisor_message", 20, 2, advisor)]
    told = {"input_tokens": 10, "output_tokens": 1, "iterations": iterations}
    usage = tapped(type="message", model="claude-sonnet-5", usage=told).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == counts
    assert [(model, share.input_tokens) for model, share in usage.shares or ()] == [(None, 10), (advisor, 20)]


def text(kind: str = "text", **members: Any) -> dict[str, Any]:
    return {"type": kind, **members}


def handover(declined: str, served: str, **trigger: Any) -> dict[str, Any]:
    return text("fallback", **{"from": {"model": declined}, "to": {"model": served}}, **trigger)


def streamed(message: dict[str, Any]) -> Reading:
    """The same message as a stream tells it."""
    start = {**message, "content": [], "stop_reason": None, "usage": {"input_tokens": 412, "output_tokens": 1}}
    end = {name: message.get(name) for name in ("stop_reason", "stop_details")}
    events = [
        {"type": "message_start", "message": start},
        *({"type": "content_block_start", "index": 0, "content_block": block} for block in message["content"]),
        {"type": "message_delta", "delta": end, "usage": message["usage"]},
        {"type": "message_stop"},
    ]
    tap = Tap("anthropic_messages", content_type="text/event-stream", content_encoding=None, status=200)
    for event in events:
        tap.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    tap.finish()
    return tap.reading


FABLE, OPUS = "claude-fable-5", "claude-opus-4-8"
TWICE = [iteration("message", 535, 0, FABLE), iteration("fallback_message", 412, 0, OPUS)]


@pytest.mark.parametrize(
    ("content", "category", "iterations", "billed"),
    [
        pytest.param([], "cyber", [], {}, id="not billed"),
        pytest.param([], "general_harms", [iteration("message", 412, 0)], {}, id="not billed, one sampling"),
        pytest.param([], None, [], {}, id="of no category"),
        pytest.param([], "bio", [], {None: 412}, id="of a billed category"),
        pytest.param([], "frontier_llm", [], {None: 412}, id="of another"),
        pytest.param([text()], "cyber", [], {None: 412}, id="after some output"),
        pytest.param([text("thinking")], None, [], {None: 412}, id="after some thinking"),
        pytest.param(
            [handover(FABLE, OPUS, trigger={"type": "refusal", "category": "cyber"})], "cyber", TWICE, {},
            id="by each model",
        ),
        pytest.param(
            [handover(FABLE, OPUS, trigger={"type": "refusal", "category": "bio"})], "cyber", TWICE, {FABLE: 535},
            id="by each model, of which one is billed",
        ),
        pytest.param(
            [handover(FABLE, OPUS, trigger={"type": "refusal", "category": None})], "bio", TWICE, {None: 412},
            id="by each model, of which the other is billed",
        ),
    ],
)  # fmt: skip
def test_a_refusal_before_any_output_is_billed_in_some_categories_only(
    content: list[dict[str, Any]],
    category: str | None,
    iterations: list[dict[str, Any]],
    billed: dict[str | None, int],
) -> None:
    message = {
        "type": "message", "model": OPUS, "content": content, "stop_reason": "refusal",
        "stop_details": {"type": "refusal", "category": category, "explanation": "No."},
        "usage": {"input_tokens": 412, "output_tokens": 0, **({"iterations": iterations} if iterations else {})},
    }  # fmt: skip
    for reading in (tapped(**message), streamed(message)):
        usage = reading.usage
        assert usage is not None
        assert (reading.model, usage.input_tokens, reading.finish_reason) == (OPUS, 412, "refusal")
        shares = usage.shares or ((None, usage),)
        assert {model: share.input_tokens for model, share in shares if not share.unbilled} == billed
        assert usage.unbilled is (None if billed else True)
        assert DIALECT.usage(UsageReader(json.loads(usage.raw or ""))).shares == usage.shares


@pytest.mark.parametrize(
    ("trigger", "output_tokens", "billed"),
    [
        pytest.param({"trigger": {"type": "refusal", "category": "cyber"}}, 0, {None: 412}, id="not billed"),
        pytest.param({"trigger": {"type": "refusal", "category": None}}, 0, {None: 412}, id="of no category"),
        pytest.param({"trigger": {"type": "refusal", "category": "bio"}}, 0, {None: 412, FABLE: 535}, id="billed"),
        pytest.param({"trigger": {"type": "refusal"}}, 7, {None: 412, FABLE: 535}, id="after some output"),
        pytest.param({}, 0, {None: 412, FABLE: 535}, id="nobody says why"),
    ],
)
def test_so_is_an_attempt_that_was_declined(
    trigger: dict[str, Any], output_tokens: int, billed: dict[str | None, int]
) -> None:
    iterations = [iteration("message", 535, output_tokens, FABLE), iteration("fallback_message", 412, 264, OPUS)]
    message = {
        "type": "message", "model": OPUS, "content": [handover(FABLE, OPUS, **trigger), text()],
        "stop_reason": "end_turn", "stop_details": None,
        "usage": {"input_tokens": 412, "output_tokens": 264, "iterations": iterations},
    }  # fmt: skip
    for reading in (tapped(**message), streamed(message)):
        usage = reading.usage
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens, usage.unbilled) == (412, 264, None)
        assert {model: share.input_tokens for model, share in usage.shares or ((None, usage),)} == billed


def test_cache_writes_of_which_no_sampling_tells_the_lifetime_have_that_of_the_whole() -> None:
    written = {"cache_creation_input_tokens": 50}
    lifetimes = {"cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}}
    iterations = [
        iteration("message", 10, 1) | written,
        iteration("advisor_message", 20, 2, "claude-opus-4-8") | {"cache_creation_input_tokens": 7},
    ]
    found, _ = usage({"input_tokens": 10, "output_tokens": 1, **written, **lifetimes, "iterations": iterations})
    assert (found["input_tokens"], found["cache_write_tokens"], found["cache_write_1h_tokens"]) == (60, 50, 30)
    assert [share.cache_write_1h_tokens for _, share in found["shares"]] == [30, None]


@pytest.mark.parametrize(
    ("iterations", "warning"),
    [
        ([iteration("message", 10, 1)], "usage.iterations does not cover the usage"),
        ([{"type": "message", "input_tokens": "9", "output_tokens": 50}],
         "usage.iterations.*.input_tokens is no count"),
        (["message", iteration("message", 9, 50)], "usage.iterations.* is no object"),
        ({"message": 1}, "usage.iterations is no array"),
    ],
)  # fmt: skip
def test_iterations_that_cannot_be_all_are_left_out(iterations: Any, warning: str) -> None:
    found, warnings = usage({"input_tokens": 10, "output_tokens": 50, "iterations": iterations})
    assert (found["input_tokens"], found["output_tokens"]) == (10, 50)
    assert warning in warnings


def test_the_model_that_served_in_place_of_another_is_the_model() -> None:
    last = iteration("fallback_message", 412, 264, "claude-opus-4-8")
    draft = drafted(
        {"type": "message_start", "message": {"model": "claude-fable-5", "usage": {"input_tokens": 408}}},
        {"type": "message_delta", "usage": {"output_tokens": 264, "input_tokens": 412, "iterations": [last]}},
    )
    assert draft.model == "claude-opus-4-8"
