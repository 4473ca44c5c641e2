"""Runs of Assistants, whole and streamed."""

from typing import Any

import pytest

from metrion.dialects.openai.runs import DIALECT
from metrion.metering.tap import Tap
from tests.dialects.read import drafted, read_documents

USAGE = {
    "prompt_tokens": 382,
    "completion_tokens": 90,
    "total_tokens": 472,
    "prompt_token_details": {"cached_tokens": 12},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
RUN: dict[str, Any] = {
    "id": "run_1",
    "object": "thread.run",
    "status": "completed",
    "last_error": None,
    "model": "gpt-4o-mini",
    "incomplete_details": None,
    "usage": USAGE,
}
STEP = {"id": "step_1", "object": "thread.run.step", "status": "completed", "usage": USAGE | {"prompt_tokens": 228}}
READ = {"input_tokens": 382, "cache_read_tokens": 12, "output_tokens": 90, "reasoning_tokens": 0, "averaged": True}


def under_way(status: str) -> dict[str, Any]:
    return RUN | {"status": status, "usage": None}


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([RUN], READ),
        ([under_way("queued")], {}),
        ([under_way("queued"), STEP, RUN], READ),
        ([under_way("queued"), STEP], {}),
        ([{"id": "thread_1", "object": "thread"}, {"id": "msg_1", "object": "thread.message", "usage": USAGE}], {}),
    ],
    ids=["whole", "queued", "streamed", "cut off behind a step", "no run"],
)
def test_usage(documents: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert read_documents(DIALECT, *documents) == expected


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (RUN, ("completed", False, None)),
        (under_way("queued"), (None, True, None)),
        (under_way("in_progress"), (None, True, None)),
        (under_way("requires_action"), (None, True, None)),
        (under_way("cancelling"), (None, True, None)),
        (RUN | {"status": "incomplete", "incomplete_details": {"reason": "max_prompt_tokens"}},
         ("max_prompt_tokens", False, None)),
        (RUN | {"status": "failed", "last_error": {"code": "rate_limit_exceeded", "message": "secret"}},
         ("failed", False, "rate_limit_exceeded")),
    ],
)  # fmt: skip
def test_what_is_noted(run: dict[str, Any], expected: tuple[Any, ...]) -> None:
    draft = drafted(DIALECT, run)
    assert (draft.model, draft.generation_id) == ("gpt-4o-mini", "run_1")
    assert (draft.finish_reason, draft.pending, draft.error_type) == expected


def test_a_stream_that_stops_for_a_tool_leaves_the_run_pending() -> None:
    tap = Tap("openai_runs", content_type="text/event-stream", content_encoding=None, status=200)
    run = b'{"id":"run_1","object":"thread.run","status":"%s","model":"gpt-4o","usage":null}'
    for name, status in ((b"created", b"queued"), (b"requires_action", b"requires_action")):
        tap.feed(b"event: thread.run." + name + b"\ndata: " + run % status + b"\n\n")
    assert not tap.terminal
    tap.feed(b"event: done\ndata: [DONE]\n\n")
    reading = tap.reading
    assert (reading.terminal, reading.pending, reading.generation_id, reading.usage) == (True, True, "run_1", None)
