"""Google's Gemini API, as in its reference and recorded answers: the native one and the one that imitates OpenAI's."""

from __future__ import annotations

from functools import partial
from urllib.parse import parse_qs

from metrion.simulator.answers.bodies import data_event, encoded, fragments, json_answer, sse_answer
from metrion.simulator.answers.openai_compatible import Style, chat_completion, models
from metrion.simulator.answers.replies import Reply, reply_to
from metrion.simulator.answers.request import Json, Request, bearer_key
from metrion.simulator.answers.vendor import WRONG_KEY, Vendor
from metrion.simulator.delivery import Answer

_MODELS = ("gemini-2.5-flash",)


def _is_compatible(path: str) -> bool:
    return path.startswith("/v1beta/openai/")


def _usage(reply: Reply) -> Json:
    usage: Json = {
        "promptTokenCount": reply.input,
        "candidatesTokenCount": reply.output,
        "totalTokenCount": reply.input + reply.output + reply.reasoning,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": reply.input}],
    }
    if reply.cache_read:
        usage["cachedContentTokenCount"] = reply.cache_read
    if reply.reasoning:
        usage["thoughtsTokenCount"] = reply.reasoning
    return usage


def _generate_content(request: Request) -> Answer | None:
    """Answer a native generation: whole, as events with ``alt=sse``, else as a JSON array that grows."""
    model, _, verb = request.path.rpartition("/")[2].partition(":")
    if not isinstance(request.json().get("contents"), list):
        return None
    reply = reply_to(request, model)
    common = {
        "usageMetadata": _usage(reply),
        "modelVersion": model,
        "responseId": f"sim{request.number:08d}",
    }

    def candidate(text: str, finish_reason: str | None) -> Json:
        content = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        finish = {"finishReason": finish_reason} if finish_reason else {}
        return {"candidates": [content | finish], **common}

    if verb == "generateContent":
        return json_answer(200, candidate(reply.text, "STOP"))
    *first, last = fragments(reply.text)
    bodies = [*(candidate(fragment, None) for fragment in first), candidate(last, "STOP")]
    if parse_qs(request.query).get("alt") == ["sse"]:
        return sse_answer(map(data_event, bodies))
    between = [b"[", *[b",\r\n"] * (len(bodies) - 1)]
    pieces = [mark + encoded(body) for mark, body in zip(between, bodies, strict=True)]
    return Answer(200, (("content-type", "application/json; charset=UTF-8"),), (*pieces, b"]"), chunked=True)


def _models(_: Request) -> Answer:
    methods = ["generateContent", "countTokens"]
    return json_answer(
        200, {"models": [{"name": f"models/{name}", "supportedGenerationMethods": methods} for name in _MODELS]}
    )


def _compatible_usage(reply: Reply) -> Json:
    """Count thoughts in the total only."""
    return {
        "completion_tokens": reply.output,
        "prompt_tokens": reply.input,
        "total_tokens": reply.input + reply.output + reply.reasoning,
    }


_STYLE = Style(
    _compatible_usage,
    usage_if_asked=True,
    null_usage=False,
    usage_beside_choices=True,
    id_format="sim{:08d}",
    extra={},
)


def _key(request: Request) -> str | None:
    bearer = bearer_key(request)
    if _is_compatible(request.path):
        return bearer
    return request.headers.get("x-goog-api-key") or parse_qs(request.query).get("key", [None])[0] or bearer


def _missing_key_error(request: Request) -> int:
    return WRONG_KEY if _is_compatible(request.path) else 403


def _error(status: int, message: str, name: str, *details: Json) -> Json:
    error: Json = {"code": status, "message": message, "status": name}
    return {"error": error | ({"details": list(details)} if details else {})}


def _wrap_error(path: str, error: Json) -> object:
    """Put it into an array, as the compatible API does."""
    return [error] if _is_compatible(path) else error


_OVERLOADED = _error(503, "The model is overloaded. Please try again later.", "UNAVAILABLE")

GOOGLE = Vendor(
    host="generativelanguage.googleapis.com",
    operations={
        ("POST", ":generateContent"): _generate_content,
        ("POST", ":streamGenerateContent"): _generate_content,
        ("GET", "/v1/models"): _models,
        ("GET", "/v1beta/models"): _models,
        ("POST", "/v1beta/openai/chat/completions"): partial(chat_completion, _STYLE),
        ("GET", "/v1beta/openai/models"): partial(models, "google", _MODELS),
    },
    errors={
        400: _error(400, "contents is not specified", "INVALID_ARGUMENT"),
        WRONG_KEY: _error(
            400,
            "API key not valid. Please pass a valid API key.",
            "INVALID_ARGUMENT",
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            },
        ),
        403: _error(
            403,
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or "
            "other form of API consumer identity to call this API.",
            "PERMISSION_DENIED",
        ),
        404: _error(404, "Requested entity was not found.", "NOT_FOUND"),
        429: _error(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED"),
        500: _error(500, "An internal error has occurred.", "INTERNAL"),
        503: _OVERLOADED,
    },
    error_event=data_event(_OVERLOADED),
    find_key=_key,
    wrong_key_status=400,
    missing_key_error=_missing_key_error,
    wrap_error=_wrap_error,
)
