"""Gemini's batches, when they are asked for and when they are read back."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from metrion.dialects.google.batches import DIALECT, OUTPUT
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.metering.tap import Tap
from metrion.model import EndReason, Reading
from tests.dialects.read import drafted, read_documents, reported

METADATA = {
    "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
    "model": "models/gemini-2.5-flash",
    "displayName": "mine",
    "state": "BATCH_STATE_SUCCEEDED",
    "batchStats": {"requestCount": "3", "successfulRequestCount": "2", "failedRequestCount": "1"},
    "name": "batches/wx1y2z",
}
ANSWERS = [
    {
        "response": {
            "candidates": [{"content": {"parts": [{"text": "Paris"}], "role": "model"}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 2, "thoughtsTokenCount": 20,
                              "totalTokenCount": 30},
            "modelVersion": "gemini-2.5-flash",
        },
        "metadata": {"key": "france"},
    },
    {"error": {"code": 8, "message": "Resource has been exhausted."}, "metadata": {"key": "germany"}},
    {
        "response": {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 6},
                     "modelVersion": "gemini-2.5-flash"},
        "metadata": {"key": "spain"},
    },
]  # fmt: skip
DONE = {
    "name": "batches/wx1y2z",
    "metadata": METADATA,
    "done": True,
    "response": {"inlinedResponses": {"inlinedResponses": ANSWERS}},
}
SUM = {"input_tokens": 13, "output_tokens": 23, "reasoning_tokens": 20, "largest_input_tokens": 8}


def output(*answers: dict[str, Any]) -> dict[str, Any]:
    return {"inlinedResponses": {"inlinedResponses": list(answers)}}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (DONE, SUM),
        (DONE | {"metadata": METADATA | {"output": output(*ANSWERS)}}, SUM),
        ({"name": "batches/wx1y2z", "metadata": METADATA | {"output": output(*ANSWERS)}}, SUM),
        (DONE | {"response": {"responsesFile": "files/batch-wx1y2z"}}, {}),
        (DONE | {"metadata": METADATA | {"state": "BATCH_STATE_RUNNING"}}, {}),
        (DONE | {"response": output(ANSWERS[1])}, {}),
    ],
    ids=["in the response", "in both places", "in the metadata", "in a file", "not over", "all failed"],
)
def test_usage(document: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_documents(DIALECT, document) == expected


@pytest.mark.parametrize(
    "answers",
    [ANSWERS[:1], [*ANSWERS[:2], {"response": {"promptFeedback": {"blockReason": "SAFETY"}}}]],
    ids=["fewer than succeeded", "one without usage"],
)
def test_what_is_not_there_of_a_batch_is_not_taken_for_nothing(answers: list[dict[str, Any]]) -> None:
    found = read_documents(DIALECT, DONE | {"response": output(*answers)})
    assert "input_tokens" not in found
    assert "output_tokens" not in found


@pytest.mark.parametrize(
    ("document", "pending", "finish_reason"),
    [
        ({"name": "batches/wx1y2z", "metadata": METADATA | {"state": "BATCH_STATE_PENDING"}}, True, None),
        ({"name": "batches/wx1y2z", "metadata": METADATA | {"state": "BATCH_STATE_RUNNING"}}, True, None),
        (DONE, False, "SUCCEEDED"),
        (DONE | {"metadata": METADATA | {"state": "BATCH_STATE_EXPIRED"}, "response": None}, False, "EXPIRED"),
    ],
)
def test_a_batch_is_waited_for_until_it_is_over(
    document: dict[str, Any], finish_reason: str | None, *, pending: bool
) -> None:
    draft = drafted(DIALECT, document)
    assert (draft.generation_id, draft.service_tier) == ("wx1y2z", "batch")
    assert (draft.pending, draft.finish_reason) == (pending, finish_reason)


def test_responses_of_several_models_are_billed_apart() -> None:
    other = {"response": ANSWERS[2]["response"] | {"modelVersion": "gemini-2.5-flash-lite"}}  # type: ignore[operator]
    draft = drafted(DIALECT, DONE | {"response": output(ANSWERS[0], other)})
    shares = DIALECT.usage(UsageReader(draft.usage or {})).shares or ()
    assert [(model, share.input_tokens) for model, share in shares] == [
        ("gemini-2.5-flash", 8),
        ("gemini-2.5-flash-lite", 5),
    ]


@pytest.mark.parametrize("name", ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount",
                                  "toolUsePromptTokenCount", "cachedContentTokenCount"])  # fmt: skip
def test_a_count_that_is_none_makes_the_cost_of_a_batch_unknown(name: str) -> None:
    usage = {"promptTokenCount": 8, "candidatesTokenCount": 2} | {name: -5}
    broken = {"usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}
    stats = METADATA | {"batchStats": {"successfulRequestCount": "3"}}
    tap = Tap("gemini_batches", content_type="application/json", content_encoding=None, status=200)
    tap.feed(json.dumps(DONE | {"metadata": stats, "response": output(*ANSWERS, {"response": broken})}).encode())
    tap.finish()
    reading = tap.reading
    assert reading.usage is not None
    assert reading.warnings == (f"usage.{name} is no count",)
    assert reading.cut_short
    assert reading.doubtful is (name != "cachedContentTokenCount")  # the sums are not known either
    assert not reading.has_final_usage(EndReason.COMPLETE)


def test_more_responses_than_can_be_read_are_no_smaller_bill() -> None:
    body = json.dumps(
        DONE
        | {"metadata": METADATA | {"batchStats": {"successfulRequestCount": "5000"}}}
        | {"response": output(*ANSWERS[2:] * 5000)}
    ).encode()
    tap = Tap("gemini_batches", content_type="application/json", content_encoding=None, status=200)
    tap.feed(body)
    tap.finish()
    assert tap.reading.usage is not None
    assert "input_tokens" not in reported(tap.reading.usage)


FILE = "files/batch-wx1y2z"


@pytest.mark.parametrize(
    ("document", "output"),
    [
        (DONE | {"response": {"responsesFile": FILE}}, FILE),
        ({"name": "batches/wx1y2z", "metadata": METADATA | {"output": {"responsesFile": FILE}}}, FILE),
        (DONE | {"response": {"responsesFile": FILE}, "metadata": METADATA | {"state": "BATCH_STATE_RUNNING"}}, None),
        (DONE, None),
    ],
    ids=["in the response", "in the metadata", "not over", "inline"],
)
def test_a_batch_names_the_file_of_its_responses_when_it_is_over(document: dict[str, Any], output: str | None) -> None:
    assert drafted(DIALECT, document).output == output


def lines(*answers: dict[str, Any]) -> Reading:
    tap = Tap("gemini_batch_output", content_type=None, content_encoding=None, status=200)
    for answer in answers:
        tap.feed(json.dumps(answer).encode() + b"\n")
    tap.finish()
    return tap.reading


def answered(model: str = "gemini-2.5-flash", **more: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": 8, "candidatesTokenCount": 2, "thoughtsTokenCount": 20, "totalTokenCount": 30}
    return {"key": "a", "response": {"usageMetadata": usage, "modelVersion": model, "responseId": "r"} | more}


REFUSED = {"key": "b", "error": {"code": 8, "message": "Resource has been exhausted."}}
BLOCKED = answered(
    usageMetadata={"promptTokenCount": 5, "totalTokenCount": 5}, promptFeedback={"blockReason": "SAFETY"}
)
SEARCHED = answered(
    "gemini-3-flash", candidates=[{"groundingMetadata": {"webSearchQueries": ["a", "b"]}, "finishReason": "STOP"}]
)


def test_searches_of_answers_in_the_batch_itself_are_counted() -> None:
    searched = {"groundingMetadata": {"webSearchQueries": ["a", "b"]}, "finishReason": "STOP"}
    answer = {"response": answered("gemini-3-flash", candidates=[searched])["response"]}
    answer["response"]["candidates"] = [searched]
    usage = read_documents(DIALECT, DONE | {"metadata": METADATA | {"batchStats": {}}, "response": output(answer)})
    assert usage["unreported_tools"] == {"google_search": 2}


EMBEDDED = {"response": {"embedding": {"values": [0.1, 0.2]}, "tokenCount": "7"}}


def test_embeddings_are_billed_by_the_tokens_of_each_text() -> None:
    metadata = METADATA | {"model": "models/gemini-embedding-001", "endTime": "2026-11-01T12:00:00.5Z"}
    document = DONE | {"metadata": metadata, "response": output(EMBEDDED, EMBEDDED)}
    assert read_documents(DIALECT, document) == {"input_tokens": 14, "output_tokens": 0, "largest_input_tokens": 7}
    draft = drafted(DIALECT, document)
    assert draft.is_results
    assert draft.done_at == datetime(2026, 11, 1, 12, 0, 0, 500_000)  # noqa: DTZ001 -- naive UTC, as events have it
    usage = lines({"key": "a"} | EMBEDDED, {"key": "b"} | EMBEDDED).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (14, 0)
    uncounted = {"response": {"embedding": {"values": [0.1]}}}
    assert drafted(DIALECT, DONE | {"metadata": metadata, "response": output(EMBEDDED, uncounted)}).faults


def test_the_lines_of_a_file_add_up() -> None:
    reading = lines(answered(), REFUSED, BLOCKED, answered())
    usage = reading.usage
    assert usage is not None
    assert (reading.model, reading.service_tier, reading.warnings) == ("gemini-2.5-flash", "batch", ())
    assert (reading.stream_error, reading.cut_short, reading.doubtful) == (False, False, False)
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (21, 44, 40)
    assert (usage.largest_input_tokens, usage.shares) == (8, None)


def test_the_lines_of_several_models_stay_apart_and_keep_their_searches() -> None:
    usage = lines(answered(), SEARCHED, SEARCHED).usage
    assert usage is not None
    shares = [(model, share.input_tokens, share.unreported_tools) for model, share in usage.shares or ()]
    assert shares == [("gemini-2.5-flash", 8, None), ("gemini-3-flash", 16, {"google_search": 4})]
    assert OUTPUT.usage(UsageReader(json.loads(usage.raw or ""))).shares == usage.shares


@pytest.mark.parametrize("broken", [{"key": "c", "response": {"modelVersion": "gemini-2.5-flash"}},
                                    answered(usageMetadata={"promptTokenCount": "8"})])  # fmt: skip
def test_a_line_whose_usage_is_not_told_makes_the_cost_unknown(broken: dict[str, Any]) -> None:
    reading = lines(answered(), broken)
    assert reading.usage is not None
    assert reading.cut_short
