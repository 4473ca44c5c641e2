"""Message batches and their results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metrion.dialects.anthropic.batches import DIALECT, RESULTS
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.metering.tap import Tap
from metrion.model import Reading
from tests.dialects.read import drafted


@pytest.mark.parametrize(("status", "pending"), [("in_progress", True), ("canceling", True), ("ended", False)])
def test_a_batch_is_pending_until_it_has_ended(status: str, *, pending: bool) -> None:
    draft = drafted(DIALECT, {"id": "msgbatch_1", "type": "message_batch", "processing_status": status})
    assert (draft.generation_id, draft.pending, draft.usage) == ("msgbatch_1", pending, None)


def line(model: str = "claude-haiku-4-5", **usage: Any) -> bytes:
    counts = {"input_tokens": 20, "output_tokens": 5, "service_tier": "batch", **usage}
    message = {"model": model, "id": "msg_1", "content": [{"text": "usage"}], "usage": counts}
    return json.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": message}}).encode() + b"\n"


FAILED = b"".join(
    json.dumps({"custom_id": "b", "result": result}).encode() + b"\n"
    for result in (
        {"type": "errored", "error": {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}},
        {"type": "canceled"},
        {"type": "expired"},
    )
)


def results(*lines: bytes) -> Reading:
    tap = Tap("anthropic_batch_results", content_type="application/x-jsonl", content_encoding=None, status=200)
    for piece in lines:
        tap.feed(piece)
    tap.finish()
    return tap.reading


def test_lines_of_one_model_add_up() -> None:
    reading = results(line(), FAILED, line(cache_read_input_tokens=100, server_tool_use={"web_search_requests": 2}))
    assert (reading.model, reading.service_tier, reading.error_type, reading.warnings, reading.stream_error) == (
        "claude-haiku-4-5", "batch", None, (), False,
    )  # fmt: skip
    usage = reading.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (140, 10, 100)
    assert (usage.server_tools, usage.shares, usage.largest_input_tokens) == ({"web_search_requests": 2}, None, 120)


def test_several_models_and_long_inputs_stay_apart() -> None:
    long = line(input_tokens=150_000)
    reading = results(line(), line(), line("claude-opus-4-8"), line("claude-opus-4-8", speed="fast"), long, long)
    usage = reading.usage
    assert usage is not None
    assert (reading.model, usage.input_tokens, usage.output_tokens) == (None, 300_080, 30)
    assert usage.shares is not None
    assert [(model, share.input_tokens, share.modes) for model, share in usage.shares] == [
        ("claude-haiku-4-5", 40, None),
        ("claude-opus-4-8", 20, None),
        ("claude-opus-4-8", 20, ("fast",)),
        ("claude-haiku-4-5", 300_000, None),
    ]


def test_the_same_is_read_again_from_what_is_stored() -> None:
    iterations = [
        {"type": "message", "input_tokens": 20, "output_tokens": 5},
        {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 7, "output_tokens": 1},
    ]
    usage = results(line(), line(iterations=iterations), line("claude-sonnet-5", input_tokens=90_000)).usage
    assert usage is not None
    again = RESULTS.usage(UsageReader(json.loads(usage.raw or "")))
    assert again.shares == usage.shares
    assert (again.input_tokens, again.output_tokens) == (90_047, 16)
    assert {model for model, _ in again.shares or ()} == {"claude-haiku-4-5", "claude-opus-4-8", "claude-sonnet-5"}


ADVISED = line(
    iterations=[
        {"type": "message", "input_tokens": 20, "output_tokens": 5},
        {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 7, "output_tokens": 1},
    ]
)
DECLINED = line(
    iterations=[
        {"type": "message", "model": "claude-fable-5", "input_tokens": 3, "output_tokens": 0},
        {"type": "fallback_message", "model": "claude-haiku-4-5", "input_tokens": 20, "output_tokens": 5},
    ]
)


@pytest.mark.parametrize(
    ("lines", "model", "counts", "shares"),
    [
        pytest.param(
            [line(), ADVISED, ADVISED], "claude-haiku-4-5", (60, 15),
            [("claude-haiku-4-5", 60), ("claude-opus-4-8", 14)], id="one that asked another",
        ),
        pytest.param(
            [line(), DECLINED], "claude-haiku-4-5", (40, 10),
            [("claude-haiku-4-5", 40), ("claude-fable-5", 3)], id="one that served in place of another",
        ),
        pytest.param(
            [ADVISED, line("claude-opus-4-8")], None, (47, 11),
            [("claude-haiku-4-5", 20), ("claude-opus-4-8", 27)], id="several: none of them is the row's, all are",
        ),
    ],
)  # fmt: skip
def test_the_counts_are_those_of_the_model_that_answered_every_request(
    lines: list[bytes], model: str | None, counts: tuple[int, int], shares: list[tuple[str, int]]
) -> None:
    reading = results(*lines)
    usage = reading.usage
    assert usage is not None
    assert (reading.model, (usage.input_tokens, usage.output_tokens)) == (model, counts)
    assert [(name, share.input_tokens) for name, share in usage.shares or ()] == shares


def refused(category: str | None, *content: str) -> bytes:
    document = json.loads(line())
    document["result"]["message"] |= {
        "content": [{"type": "text", "text": text} for text in content],
        "stop_reason": "refusal",
        "stop_details": {"type": "refusal", "category": category},
    }
    return json.dumps(document).encode() + b"\n"


@pytest.mark.parametrize(
    ("lines", "counts"),
    [
        ([line(), refused("cyber")], (20, 5)),
        ([refused("cyber"), refused(None)], (0, 0)),
        ([line(), refused("bio")], (40, 10)),
        ([line(), refused("cyber", "Sure, the")], (40, 10)),
    ],
)
def test_a_refusal_that_is_not_billed_counts_nothing(lines: list[bytes], counts: tuple[int, int]) -> None:
    reading = results(*lines)
    assert reading.usage is not None
    assert (reading.model, reading.doubtful) == ("claude-haiku-4-5", False)
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == counts


@pytest.mark.parametrize(
    ("broken", "warning"),
    [
        (b'{"custom_id": "x", "result": {\n', "a line is no JSON"),
        (b"}}}\n", "a line is no JSON"),
        (b"\r\n\n", None),
        (b'{"result": {"message": {"usage": 5}}}\n', "result.message.usage is no object"),
    ],
)
def test_a_broken_line_leaves_the_others_alone(broken: bytes, warning: str | None) -> None:
    reading = results(line(), broken, line())
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.warnings) == (40, (warning,) if warning else ())


def test_a_line_whose_input_cannot_be_read_makes_the_sum_unknown() -> None:
    usage = results(line(), line(input_tokens="9")).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (None, 10)


def test_results_that_are_cut_off_are_what_was_told_by_then() -> None:
    reading = results(line(), line()[:-60])
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.warnings) == (20, ("the JSON body ends early, or is broken",))
    assert results(line(), line()[:-1]) == results(line(), line())


def test_results_that_are_an_error_have_its_type() -> None:
    tap = Tap("anthropic_batch_results", content_type="application/json", content_encoding=None, status=404)
    tap.feed(b'{"type":"error","error":\n{"type":"not_found_error","message":"no"}}')
    assert (tap.reading.error_type, tap.reading.usage) == ("not_found_error", None)
