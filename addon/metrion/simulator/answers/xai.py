"""xAI, as in its API reference and recorded answers."""

from __future__ import annotations

from functools import partial

from metrion.simulator.answers.bodies import data_event
from metrion.simulator.answers.embeddings import embeddings
from metrion.simulator.answers.openai_compatible import Style, chat_completion, models
from metrion.simulator.answers.replies import Reply
from metrion.simulator.answers.request import Json
from metrion.simulator.answers.vendor import WRONG_KEY, Vendor


def _usage(reply: Reply) -> Json:
    """Count reasoning beside ``completion_tokens``, not in it."""
    usage: Json = {
        "prompt_tokens": reply.input,
        "completion_tokens": reply.output,
        "total_tokens": reply.input + reply.output + reply.reasoning,
        "prompt_tokens_details": {
            "text_tokens": reply.input,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": reply.cache_read,
        },
        "completion_tokens_details": {
            "reasoning_tokens": reply.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
        "num_sources_used": 0,
    }
    if reply.cost_in_usd_ticks is not None:
        usage["cost_in_usd_ticks"] = reply.cost_in_usd_ticks
    return usage


_STYLE = Style(
    _usage,
    usage_if_asked=True,
    null_usage=False,
    usage_beside_choices=False,
    id_format="{:08x}-5157-4000-8000-000000000000",
    extra={"system_fingerprint": "fp_simulator"},
    request_id_header="x-request-id",
)


def _error(code: str, message: str) -> Json:
    return {"code": code, "error": message}


_OVERLOADED = _error("The service is currently unavailable", "The model is at capacity. Please try again later.")

XAI = Vendor(
    host="api.x.ai",
    operations={
        ("POST", "/v1/chat/completions"): partial(chat_completion, _STYLE),
        ("POST", "/v1/embeddings"): partial(embeddings, _STYLE),
        ("GET", "/v1/models"): partial(models, "xai", ("grok-3-mini",)),
    },
    errors={
        400: _error("Client specified an invalid argument", "Failed to deserialize the JSON body"),
        WRONG_KEY: _error(
            "Client specified an invalid argument",
            "Incorrect API key provided: ***. You can obtain an API key from https://console.x.ai.",
        ),
        404: _error("The requested resource was not found", "Not Found"),
        429: _error("Some resource has been exhausted", "Too many requests. Please try again later."),
        500: _error("The service encountered an internal error", "Internal error"),
        503: _OVERLOADED,
    },
    error_event=data_event(_OVERLOADED),
    wrong_key_status=400,
)
