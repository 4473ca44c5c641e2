"""OpenAI, as in its API reference and recorded answers."""

from __future__ import annotations

from functools import partial

from metrion.simulator.answers.bodies import data_event
from metrion.simulator.answers.embeddings import embeddings
from metrion.simulator.answers.openai_compatible import Style, chat_completion, completion, models
from metrion.simulator.answers.replies import Reply
from metrion.simulator.answers.request import Json
from metrion.simulator.answers.vendor import WRONG_KEY, Vendor


def _usage(reply: Reply) -> Json:
    """Count cached tokens and reasoning as parts of the totals."""
    return {
        "prompt_tokens": reply.input,
        "completion_tokens": reply.output + reply.reasoning,
        "total_tokens": reply.input + reply.output + reply.reasoning,
        "prompt_tokens_details": {"cached_tokens": reply.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reply.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


_STYLE = Style(
    _usage,
    usage_if_asked=True,
    null_usage=True,
    usage_beside_choices=False,
    id_format="chatcmpl-sim{:08d}",
    extra={"service_tier": "default", "system_fingerprint": "fp_simulator"},
    request_id_header="x-request-id",
)


def _error(message: str, kind: str, code: str | None) -> Json:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


_SERVER_ERROR = _error("The server had an error while processing your request. Sorry about that!", "server_error", None)

OPENAI = Vendor(
    host="api.openai.com",
    operations={
        ("POST", "/v1/chat/completions"): partial(chat_completion, _STYLE),
        ("POST", "/v1/completions"): partial(completion, _STYLE),
        ("POST", "/v1/embeddings"): partial(embeddings, _STYLE),
        ("GET", "/v1/models"): partial(models, "openai", ("gpt-4o", "gpt-4o-mini")),
    },
    errors={
        400: _error("Missing required parameter: 'messages'.", "invalid_request_error", "missing_required_parameter"),
        WRONG_KEY: _error(
            "Incorrect API key provided: ***. You can find your API key at https://platform.openai.com/account/api-keys.",
            "invalid_request_error",
            "invalid_api_key",
        ),
        403: _error("You are not allowed to sample from this model", "invalid_request_error", None),
        404: _error("Invalid URL", "invalid_request_error", None),
        429: _error("Rate limit reached. Please try again in 20s.", "requests", "rate_limit_exceeded"),
        500: _SERVER_ERROR,
        503: _error("The engine is currently overloaded, please try again later", "server_error", None),
    },
    error_event=data_event(_SERVER_ERROR),
)
