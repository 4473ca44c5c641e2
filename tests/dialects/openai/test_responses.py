"""Responses, whole, streamed, in the background, failed; and which of the provider's tools are billed."""

import json
from dataclasses import replace
from typing import Any

import pytest

from metrion.dialects.openai.responses import DIALECT
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.metering.tap import Tap
from tests.dialects.read import drafted, read_documents, read_usage, reported

USAGE = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
WHOLE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5-2025-08-07",
    "service_tier": "default",
    "error": None,
    "incomplete_details": None,
    "output": [],
    "usage": USAGE,
}


def event(name: str, **response: Any) -> dict[str, Any]:
    return {"type": f"response.{name}", "response": WHOLE | {"usage": None, "service_tier": "auto"} | response}


CREATED = event("created", status="in_progress", background=False)


def told(*documents: dict[str, Any]) -> tuple[Any, ...]:
    draft = drafted(DIALECT, *documents)
    return (draft.model, draft.generation_id, draft.service_tier, draft.finish_reason, draft.pending, draft.error_type)


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([WHOLE], ("gpt-5-2025-08-07", "resp_1", "default", "completed", False, None)),
        ([WHOLE | {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}],
         ("gpt-5-2025-08-07", "resp_1", "default", "max_output_tokens", False, None)),
        ([WHOLE | {"status": "cancelled"}], ("gpt-5-2025-08-07", "resp_1", "default", "cancelled", False, None)),
        ([WHOLE | {"status": "queued", "usage": None}], ("gpt-5-2025-08-07", "resp_1", "default", None, True, None)),
        ([WHOLE | {"status": "in_progress", "usage": None}],
         ("gpt-5-2025-08-07", "resp_1", "default", None, True, None)),
        ([CREATED], ("gpt-5-2025-08-07", "resp_1", "auto", None, False, None)),
        ([event("queued", status="queued", background=True)],
         ("gpt-5-2025-08-07", "resp_1", "auto", None, True, None)),
        ([event("created", status="queued", background=True), event("completed", usage=USAGE, background=True)],
         ("gpt-5-2025-08-07", "resp_1", "auto", "completed", False, None)),
        ([CREATED, event("completed", usage=USAGE, service_tier="priority")],
         ("gpt-5-2025-08-07", "resp_1", "priority", "completed", False, None)),
        ([CREATED, event("incomplete", status="incomplete", incomplete_details={"reason": "content_filter"})],
         ("gpt-5-2025-08-07", "resp_1", "auto", "content_filter", False, None)),
        ([CREATED, event("failed", status="failed", error={"code": "server_error", "message": "secret"})],
         ("gpt-5-2025-08-07", "resp_1", "auto", "failed", False, "server_error")),
        ([{"id": "resp_2", "object": "response.compaction", "output": [{"type": "compaction"}], "usage": USAGE}],
         (None, "resp_2", None, None, False, None)),
        ([CREATED, {"type": "response.output_item.done", "item": {"id": "msg_1", "status": "completed"}}],
         ("gpt-5-2025-08-07", "resp_1", "auto", None, False, None)),
    ],
)  # fmt: skip
def test_what_is_noted(documents: list[dict[str, Any]], expected: tuple[Any, ...]) -> None:
    assert told(*documents) == expected


def test_the_usage_is_that_of_the_event_that_ends_the_stream_verbatim() -> None:
    tap = Tap("openai_responses", content_type="text/event-stream", content_encoding=None, status=200)
    tap.feed(
        b'event: response.created\ndata: {"type":"response.created","response":{"id":"r","model":"m","status":'
        b'"in_progress","usage":null}}\n\n'
        b'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n'
    )
    assert (tap.reading.usage, tap.terminal, tap.reading.finish_reason) == (None, False, None)
    tap.feed(
        b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","model":"m-1","status":'
        b'"completed","tool_usage":{"web_search":{"num_requests":1}},"usage":{"input_tokens": 9,"output_tokens" :5}}}'
    )
    assert not tap.terminal
    tap.feed(b"\n\n")
    tap.finish()
    reading = tap.reading
    assert reading.usage is not None
    assert (reading.terminal, reading.model, reading.usage.raw) == (
        True,
        "m-1",
        '{"input_tokens": 9,"output_tokens" :5}',
    )
    assert reading.usage.server_tools == {"web_search.num_requests": 1}


@pytest.mark.parametrize("name", ["completed", "incomplete", "failed"])
def test_each_way_to_end_tells_the_usage(name: str) -> None:
    expected = {"input_tokens": 9, "output_tokens": 5}
    assert read_documents(DIALECT, CREATED, event(name, status=name, usage=USAGE)) == expected


def test_a_failure_within_a_stream_is_a_stream_error_and_one_that_is_read_back_is_none() -> None:
    failure = {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "secret"}}
    assert drafted(DIALECT, CREATED, event("failed", **failure)).stream_error
    assert not drafted(DIALECT, WHOLE | failure).stream_error


def call(kind: str, action: str | None = None, status: str = "completed") -> dict[str, Any]:
    return {"type": kind, "status": status, "action": {"type": action, "query": "secret"} if action else None}


IDLE_IMAGES = {"input_tokens": 0, "input_tokens_details": {"image_tokens": 0}, "output_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize(
    ("response", "told", "shown"),
    [
        pytest.param({"output": [{"type": "message"}]}, None, None, id="no tool was called"),
        pytest.param(
            {"output": [call("web_search_call", "search"), call("web_search_call", "search", "searching"),
                        call("web_search_call", "open_page"), call("web_search_call", "find_in_page"),
                        call("web_search_call"), call("web_search_call", "search", "failed")]},
            None,
            {"web_search_calls": 3},
            id="only searches are billed",
        ),
        pytest.param({"output": [call("file_search_call")] * 2}, None, {"file_search_calls": 2}, id="file searches"),
        pytest.param(
            {"output": [call("code_interpreter_call"), call("image_generation_call")]},
            None,
            {"code_interpreter_calls": 1, "image_gen_calls": 1},
            id="billed by the container, and by the tokens of another model",
        ),
        pytest.param(
            {"output": [call(kind) for kind in ("mcp_call", "mcp_list_tools", "function_call",
                                                "custom_tool_call", "local_shell_call", "computer_call", "reasoning")]},
            None,
            None,
            id="not billed by the call",
        ),
        pytest.param(
            {"output": [call("web_search_call", "search")] * 3 + [call("file_search_call")],
             "tool_usage": {"image_gen": IDLE_IMAGES, "web_search": {"num_requests": 2}}},
            {"web_search.num_requests": 2},
            {"file_search_calls": 1},
            id="the provider's own count of searches is better",
        ),
        pytest.param(
            {"output": [call("web_search_call", "search")] * 2 + [call("file_search_call")],
             "tools": [{"type": "file_search"}, {"type": "web_search_preview", "search_context_size": "medium"}]},
            None,
            {"web_search_preview_calls": 2, "file_search_calls": 1},
            id="the preview of the search has a price of its own",
        ),
        pytest.param(
            {"output": [],
             "tools": [{"type": "web_search_preview_2025_03_11"}],
             "tool_usage": {"image_gen": IDLE_IMAGES, "web_search": {"num_requests": 1}}},
            {"web_search.num_requests": 1},
            {"web_search_preview_calls": 1},
            id="also where the provider counts it, as a search",
        ),
        pytest.param(
            {"output": [call("web_search_call", "search")], "tools": [{"type": "web_search_2025_08_26"}, 3, {}]},
            None,
            {"web_search_calls": 1},
            id="the search itself, by the name of a version",
        ),
        pytest.param(
            {"output": [call("web_search_call", "search")],
             "tool_usage": {"image_gen": IDLE_IMAGES, "web_search": {"num_requests": 0}}},
            {},
            None,
            id="a search that was not billed",
        ),
        pytest.param(
            {"output": [call("image_generation_call")],
             "tool_usage": {"image_gen": {"input_tokens": 50, "output_tokens": 1056, "total_tokens": 1106,
                                          "output_tokens_details": {"image_tokens": 1056}, "cached_tokens": None}}},
            {"image_gen.input_tokens": 50, "image_gen.output_tokens": 1056, "image_gen.total_tokens": 1106},
            None,
            id="images that a tool made are another model's tokens",
        ),
        pytest.param(
            {"output": [call("web_search_call", "search"), call("x_search_call")],
             "usage": USAGE | {"num_server_side_tools_used": 2,
                               "server_side_tool_usage_details": {"web_search_calls": 1, "x_search_calls": 1}}},
            {"web_search_calls": 1, "x_search_calls": 1, "num_server_side_tools_used": 2},
            None,
            id="xAI counts its own",
        ),
        pytest.param({"output": None}, None, None, id="no output at all"),
        pytest.param({"output": [1, None, "x", []], "tool_usage": [3]}, None, None, id="junk"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [False, True])
def test_tools(
    response: dict[str, Any], told: dict[str, int] | None, shown: dict[str, int] | None, *, streamed: bool
) -> None:
    document = WHOLE | response
    if streamed:
        document = {"type": "response.completed", "response": document}
    found = read_documents(DIALECT, document)
    assert (found.get("server_tools"), found.get("unreported_tools")) == (told, shown)


def test_counts_that_are_none_are_left_out_and_told() -> None:
    raw = {"input_tokens": 1, "tool_usage": {"web_search": {"num_requests": "2"}, "image_gen": 5}}
    assert read_usage(DIALECT, raw) == (
        {"input_tokens": 1, "server_tools": {}},
        ["usage.tool_usage.*.* is no count"],
    )


MADE = {
    "input_tokens": 50,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 50},
    "output_tokens": 1056,
    "output_tokens_details": {"image_tokens": 1000, "text_tokens": 56},
    "total_tokens": 1106,
}
DRAWN = {"model": "gpt-6-luna", "input_tokens": 40, "output_tokens": 900, "reasoning_tokens": 100, "total_tokens": 940}


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"tools": [{"type": "web_search"}, {"type": "image_generation", "model": "gpt-image-1.5"}],
          "tool_usage": {"image_gen": MADE}},
         [("gpt-image-1.5", {"input_tokens": 50, "input_image_tokens": 0, "output_tokens": 1056,
                             "output_image_tokens": 1000})]),
        ({"tools": [{"type": "image_generation", "size": "auto"}],
          "tool_usage": {"image_gen": {"input_tokens": 50, "output_tokens": 1056, "cached_tokens": 20,
                                       "cached_tokens_details": {"cached_image_tokens": 0, "cached_text_tokens": 20}}}},
         [("image_generation", {"input_tokens": 50, "cache_read_tokens": 20, "cache_read_image_tokens": 0,
                                "output_tokens": 1056, "output_image_tokens": 1056})]),
        ({"output": [call("image_generation_call") | {"svg_usage": DRAWN}]},
         [("gpt-6-luna", {"input_tokens": 40, "output_tokens": 900, "reasoning_tokens": 100})]),
        ({"output": [call("image_generation_call")], "tools": [{"type": "image_generation"}]}, None),
        ({"tool_usage": {"image_gen": IDLE_IMAGES}, "tools": [{"type": "image_generation"}]}, None),
    ],
    ids=["its model is told", "it is not", "a drawing", "nothing is told", "no image was made"],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [False, True])
def test_what_other_models_made_is_billed_under_their_names(
    response: dict[str, Any], expected: list[tuple[str, dict[str, Any]]] | None, *, streamed: bool
) -> None:
    document = WHOLE | response
    draft = drafted(DIALECT, {"type": "response.completed", "response": document} if streamed else document)
    for raw in (draft.usage or {}, json.loads(draft.usage_source or "")):  # as read now, and again when prices change
        found = DIALECT.usage(UsageReader(raw))
        assert (found.input_tokens, found.output_tokens) == (
            WHOLE["usage"]["input_tokens"],
            WHOLE["usage"]["output_tokens"],
        )
        assert (found.shares and [(model, reported(share)) for model, share in found.shares[1:]]) == expected
        assert found.shares is None or found.shares[0] == (None, replace(found, shares=None))
