"""Anthropic, as in its API reference and recorded answers."""

from __future__ import annotations

from metrion.simulator.answers.bodies import fragments, json_answer, named_event, sse_answer
from metrion.simulator.answers.replies import Reply, reply_to
from metrion.simulator.answers.request import Json, Request, bearer_key
from metrion.simulator.answers.vendor import WRONG_KEY, Vendor
from metrion.simulator.delivery import Answer

_MODELS = ("claude-haiku-4-5-20251001", "claude-sonnet-4-6")


def _usage(reply: Reply) -> Json:
    """Count input in three disjoint numbers."""
    return {
        "input_tokens": reply.fresh,
        "cache_creation_input_tokens": reply.cache_write,
        "cache_read_input_tokens": reply.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": reply.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": reply.output + reply.reasoning,
        "service_tier": "standard",
    }


def _messages(request: Request) -> Answer | None:
    asked = request.json()
    model = str(asked.get("model", ""))
    if not model or not isinstance(asked.get("messages"), list):
        return None
    reply = reply_to(request, model)
    header = ("request-id", request.id)
    message: Json = {
        "model": model,
        "id": f"msg_sim{request.number:08d}",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": reply.text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _usage(reply),
    }
    if not asked.get("stream"):
        return json_answer(200, message, header)
    return sse_answer(map(named_event, _events(message, reply.text)), header)


def _events(message: Json, text: str) -> list[Json]:
    """Return the events that a message is streamed as. The last but one has its final usage."""
    usage = message["usage"]
    start = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    delta_usage = {name: usage[name] for name in usage if name.endswith("_tokens")}
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": fragment}}
            for fragment in fragments(text)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": delta_usage,
        },
        {"type": "message_stop"},
    ]


def _models(_: Request) -> Answer:
    data = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2025-10-01T00:00:00Z"} for name in _MODELS
    ]
    return json_answer(200, {"data": data, "has_more": False, "first_id": _MODELS[0], "last_id": _MODELS[-1]})


def _key(request: Request) -> str | None:
    return request.headers.get("x-api-key") or bearer_key(request)


def _error(message: str, kind: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulator"}


ANTHROPIC = Vendor(
    host="api.anthropic.com",
    operations={
        ("POST", "/v1/messages"): _messages,
        ("GET", "/v1/models"): _models,
    },
    errors={
        400: _error("messages: Field required", "invalid_request_error"),
        WRONG_KEY: _error("invalid x-api-key", "authentication_error"),
        403: _error("Your API key does not have permission to use this resource.", "permission_error"),
        404: _error("Not Found", "not_found_error"),
        413: _error("Request exceeds the maximum size", "request_too_large"),
        429: _error("This request would exceed your rate limit.", "rate_limit_error"),
        500: _error("Internal server error", "api_error"),
        529: _error("Overloaded", "overloaded_error"),
    },
    # Unlike the error of a response, the one in a stream has no request id.
    error_event=named_event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    find_key=_key,
    error_headers=dict.fromkeys((400, 401, 403, 404, 413), ("x-should-retry", "false")),
)
