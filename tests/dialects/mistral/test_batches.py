"""Mistral's batch jobs, and the files with their results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metrion.dialects.mistral.batches import DIALECT, OUTPUT
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.metering.tap import Tap
from metrion.model import Reading
from tests.dialects.read import drafted, reported

JOB = {
    "id": "b888f774-3e7c-4135-a18c-6b985523c4bc",
    "object": "batch",
    "input_files": ["0f5b3d61-9c1e-4a49-9ff0-6d9a2a1f7c11"],
    "metadata": {"job_type": "testing"},
    "endpoint": "/v1/chat/completions",
    "model": "mistral-small-latest",
    "agent_id": None,
    "output_file": "5a3c9f5e-7b7e-4b0f-8f0a-7d3c5f0b2f10",
    "error_file": None,
    "outputs": None,
    "errors": [],
    "status": "SUCCESS",
    "created_at": 1762801725,
    "total_requests": 2,
    "completed_requests": 2,
    "succeeded_requests": 2,
    "failed_requests": 0,
    "started_at": 1762801726,
    "completed_at": 1762801786,
}
FILE = "files/5a3c9f5e-7b7e-4b0f-8f0a-7d3c5f0b2f10"


@pytest.mark.parametrize(
    ("status", "file", "pending", "finish_reason", "output"),
    [
        ("QUEUED", None, True, None, None),
        ("RUNNING", None, True, None, None),
        ("RUNNING", JOB["output_file"], True, None, None),
        ("CANCELLATION_REQUESTED", None, True, None, None),
        ("SUCCESS", JOB["output_file"], False, "SUCCESS", FILE),
        ("TIMEOUT_EXCEEDED", JOB["output_file"], False, "TIMEOUT_EXCEEDED", FILE),
        ("CANCELLED", JOB["output_file"], False, "CANCELLED", FILE),
        ("FAILED", None, False, "FAILED", None),
    ],
)
def test_a_job_names_its_output_when_it_is_over(
    status: str, file: str | None, finish_reason: str | None, output: str | None, *, pending: bool
) -> None:
    draft = drafted(DIALECT, JOB | {"status": status, "output_file": file})
    assert (draft.generation_id, draft.model, draft.service_tier) == (JOB["id"], "mistral-small-latest", "batch")
    assert (draft.pending, draft.finish_reason, draft.output, draft.usage) == (pending, finish_reason, output, None)


CHAT = {
    "id": "4d4b5b8a0d8c4c2f9e5d3c1b2a190807",
    "created": 1762801730,
    "model": "mistral-small-latest",
    "usage": {"prompt_tokens": 15, "total_tokens": 115, "completion_tokens": 100, "num_cached_tokens": 4},
    "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "tool_calls": None, "content": "\"usage\": 1"}}],
}  # fmt: skip
EMBEDDING = {
    "id": "x", "object": "list", "model": "mistral-embed",
    "usage": {"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0},
    "data": [{"object": "embedding", "embedding": [0.1, 0.2], "index": 0}],
}  # fmt: skip
MODERATION = {
    "id": "m", "model": "mistral-moderation-2411", "results": [{"categories": {"sexual": False}}],
    "usage": {"prompt_tokens": 5, "total_tokens": 70, "request_count": 1},
}  # fmt: skip
OCR = {
    "pages": [{"index": 0, "markdown": "usage", "images": []}],
    "model": "mistral-ocr-2505-completion",
    "document_annotation": None,
    "usage_info": {"pages_processed": 3, "doc_size_bytes": 1000},
}
CONVERSATION: dict[str, Any] = {
    "object": "conversation.response",
    "conversation_id": "conv_1",
    "outputs": [{"object": "entry", "type": "message.output", "model": "mistral-medium-latest", "content": "x"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22, "connector_tokens": 7,
              "connectors": {"web_search": 1}},
}  # fmt: skip
HEARD: dict[str, Any] = {
    "model": "voxtral-mini-2507", "text": "x", "language": None, "segments": [],
    "usage": {"prompt_audio_seconds": 203, "prompt_tokens": 4, "total_tokens": 3264, "completion_tokens": 635},
}  # fmt: skip


def line(body: dict[str, Any] | None, status: int = 200, error: object = None) -> bytes:
    response = {"status_code": status, "body": body}
    return json.dumps({"id": "batch-1", "custom_id": "a", "response": response, "error": error}).encode() + b"\n"


FAILED = (
    line(None, 429, "rate limited")
    + line({"object": "error", "message": "no", "type": "invalid_request_error", "code": 1000}, 422)
    + json.dumps({"custom_id": "b", "response": None, "error": {"message": "no"}}).encode()
    + b"\n"
)


def output(*lines: bytes) -> Reading:
    tap = Tap("mistral_batch_output", content_type="application/octet-stream", content_encoding=None, status=200)
    for piece in lines:
        tap.feed(piece)
    tap.finish()
    return tap.reading


@pytest.mark.parametrize(
    ("lines", "model", "expected"),
    [
        pytest.param(
            [line(CHAT), FAILED, line(CHAT)], "mistral-small-latest",
            {"input_tokens": 30, "cache_read_tokens": 8, "output_tokens": 200, "largest_input_tokens": 15},
            id="some failed",
        ),
        pytest.param(
            [line(EMBEDDING), line(EMBEDDING)], "mistral-embed",
            {"input_tokens": 2, "output_tokens": 0, "largest_input_tokens": 1},
            id="embeddings",
        ),
        pytest.param(
            [line(MODERATION), line(MODERATION)], "mistral-moderation-2411",
            {"input_tokens": 10, "output_tokens": 0, "largest_input_tokens": 5, "server_tools": {"request_count": 2}},
            id="judgements",
        ),
        pytest.param(
            [line(OCR), line(OCR)], "mistral-ocr-2505-completion",
            {"input_tokens": 0, "output_tokens": 0, "largest_input_tokens": 0, "server_tools": {"pages_processed": 6}},
            id="pages",
        ),
        pytest.param(
            [line(OCR), line(OCR | {"document_annotation": "{}"})], "mistral-ocr-2505-completion",
            {"input_tokens": 0, "output_tokens": 0, "largest_input_tokens": 0,
             "server_tools": {"pages_processed": 6}, "unreported_tools": {"annotated_pages_processed": 3}},
            id="annotated pages",
        ),
        pytest.param(
            [line(CHAT | {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22,
                                    "connector_tokens": 7, "connectors": {"web_search": 1}}})],
            "mistral-small-latest",
            {"input_tokens": 17, "output_tokens": 5, "server_tools": {"web_search": 1}},
            id="connectors of a chat",
        ),
        pytest.param(
            [line(CONVERSATION), line(CONVERSATION)], "mistral-medium-latest",
            {"input_tokens": 34, "output_tokens": 10, "largest_input_tokens": 17, "server_tools": {"web_search": 2},
             "averaged": True},
            id="conversations",
        ),
        pytest.param(
            [line(HEARD), line(HEARD)], "voxtral-mini-2507",
            {"input_tokens": 5258, "output_tokens": 1270, "largest_input_tokens": 2629, "audio_seconds": 406.0,
             "server_tools": {"prompt_audio_seconds": 406}},
            id="recordings",
        ),
    ],
)  # fmt: skip
def test_lines_of_one_model_add_up(lines: list[bytes], model: str, expected: dict[str, Any]) -> None:
    reading = output(*lines)
    assert (reading.model, reading.service_tier, reading.warnings) == (model, "batch", ())
    assert (reading.stream_error, reading.error_type, reading.cut_short, reading.doubtful) == (
        False,
        None,
        False,
        False,
    )
    assert reading.usage is not None
    found = {name: value for name, value in reported(reading.usage).items() if name != "raw"}
    assert found == expected


def test_several_models_stay_apart_and_are_read_again_from_what_is_stored() -> None:
    other = CHAT | {"model": "mistral-large-2512"}
    reading = output(line(CHAT), line(other), line(CHAT))
    assert reading.usage is not None
    assert (reading.model, reading.usage.input_tokens) == (None, 45)
    assert [(model, share.input_tokens, share.output_tokens) for model, share in reading.usage.shares or ()] == [
        ("mistral-small-latest", 30, 200),
        ("mistral-large-2512", 15, 100),
    ]
    assert OUTPUT.usage(UsageReader(json.loads(reading.usage.raw or ""))).shares == reading.usage.shares


@pytest.mark.parametrize(
    ("broken", "warning"),
    [
        (line({"model": "mistral-small-latest", "object": "chat.completion"}), "a result has no usage"),
        (line(CHAT | {"usage": {"prompt_tokens": 3}}), "the usage of a result is not whole"),
        (line(CHAT | {"usage": {"prompt_tokens": "3", "completion_tokens": 1}}), "usage.prompt_tokens is no count"),
        (b'{"custom_id": \n', "a line is no JSON"),
        (
            line(CONVERSATION | {"outputs": [{"type": "agent.handoff"}, *CONVERSATION["outputs"]]}),
            "several agents share one usage",
        ),
    ],
)
def test_what_is_not_told_of_a_result_makes_the_cost_unknown(broken: bytes, warning: str) -> None:
    reading = output(line(CHAT), broken)
    assert reading.usage is not None
    assert warning in reading.warnings
    assert reading.cut_short


@pytest.mark.parametrize("lines", [[FAILED], [b'{"messages": [{"role": "user", "content": "x"}]}\n'], [b"a,b\n1,2\n"]])
def test_a_file_without_an_answer_has_no_usage(lines: list[bytes]) -> None:
    assert output(*lines).usage is None
