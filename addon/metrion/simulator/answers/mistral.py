"""Mistral, as in its API reference and recorded answers."""

from __future__ import annotations

from functools import partial

from metrion.simulator.answers.bodies import data_event
from metrion.simulator.answers.embeddings import embeddings
from metrion.simulator.answers.openai_compatible import Style, chat_completion, models
from metrion.simulator.answers.replies import Reply
from metrion.simulator.answers.request import Json
from metrion.simulator.answers.vendor import WRONG_KEY, Vendor


def _usage(reply: Reply) -> Json:
    """Mention cached tokens only where there are any."""
    usage: Json = {
        "prompt_tokens": reply.input,
        "total_tokens": reply.input + reply.output,
        "completion_tokens": reply.output,
    }
    if reply.cache_read:
        usage["prompt_tokens_details"] = {"cached_tokens": reply.cache_read}
    return usage


_STYLE = Style(
    _usage,
    usage_if_asked=False,
    null_usage=False,
    usage_beside_choices=True,
    id_format="{:032x}",
    extra={},
)


def _error(message: str, kind: str, code: str) -> Json:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


_SERVER_ERROR = _error("Service unavailable.", "internal_server_error", "3000")

MISTRAL = Vendor(
    host="api.mistral.ai",
    operations={
        ("POST", "/v1/chat/completions"): partial(chat_completion, _STYLE),
        ("POST", "/v1/embeddings"): partial(embeddings, _STYLE),
        ("GET", "/v1/models"): partial(models, "mistral", ("mistral-small-latest",)),
    },
    errors={
        400: _error("Invalid request", "invalid_request_error", "3050"),
        WRONG_KEY: {"detail": "Invalid API Key"},
        404: {"detail": "Not Found"},
        422: {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}}]},
        429: _error("Rate limit exceeded", "rate_limited", "1300"),
        500: _SERVER_ERROR,
    },
    error_event=data_event(_SERVER_ERROR),
)
