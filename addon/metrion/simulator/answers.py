"""What the providers answer: a request in, an answer in the provider's wire format out.

Pure functions. Shapes follow the providers' API references and recorded answers; texts and token counts are invented,
fixed for the models that the demonstration calls (:data:`REPLIES`) and derived from the request's size for others.
Never raises: what a provider would not understand gets the provider's own error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from metrion.simulator.delivery import Answer

type Json = dict[str, Any]

PROVIDERS = ("anthropic", "google", "mistral", "openai", "xai")

CREATED = 1_760_000_000
"""When everything was generated, in Unix seconds: answers do not depend on the clock."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the provider sees it: ``path`` has no query, header names are lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    number: int
    """Counts the requests of the process; makes ids distinct."""

    def json(self) -> Json:
        """Read the body as a JSON object; an empty one where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Reply:
    """A generated text and its token counts, all disjoint: the formats add them up in their own ways."""

    text: str
    fresh: int
    """Input that is neither read from a cache nor written to one."""
    output: int
    """Visible output, without reasoning."""
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost_in_usd_ticks: int | None = None
    """What xAI says it charged, in 1e-10 US dollars."""

    @property
    def input(self) -> int:
        """Everything that is billed as input."""
        return self.fresh + self.cache_read + self.cache_write


REPLIES: Mapping[str, Reply] = {
    "claude-haiku-4-5-20251001": Reply(
        "Yes: the invoice is due on the 14th, and the two amounts in it agree.", fresh=212, output=21
    ),
    "claude-sonnet-4-6": Reply(
        "The contract renews by itself unless it is cancelled 90 days before its end. Clause 12 is the one to discuss.",
        fresh=96,
        cache_read=18_420,
        cache_write=1_310,
        output=184,
    ),
    "gpt-4o": Reply(
        "Subject: Your order is on its way. It left our warehouse this morning and arrives on Thursday.",
        fresh=187,
        cache_read=1_792,
        output=64,
    ),
    "mistral-small-latest": Reply("Bonjour ! Votre colis arrive jeudi, entre 9 h et 12 h.", fresh=58, output=19),
    "grok-3-mini": Reply(
        "17 of the 40 tickets are about the same login page. Fixing it first helps the most people.",
        fresh=604,
        cache_read=320,
        output=27,
        reasoning=412,
        cost_in_usd_ticks=4_247_000,
    ),
    "gemini-2.5-flash": Reply(
        "The photo shows a loading dock with three pallets; the middle one is damaged.",
        fresh=341,
        output=18,
        reasoning=233,
    ),
}

_SERVED = {"gpt-4o": "gpt-4o-2024-08-06"}
"""What a model is called in the answer, where that is not what it was called in the request."""

_PLAIN_TEXT = "This answer was made up by the provider simulator. It reads nothing and costs nothing."


def _reply(request: Request, model: str) -> Reply:
    plain = Reply(_PLAIN_TEXT, fresh=max(1, len(request.body) // 4), output=len(_PLAIN_TEXT) // 4)
    return REPLIES.get(model, plain)


# --- bodies -----------------------------------------------------------------------------------------------------------


def _json(status: int, body: object, *headers: tuple[str, str]) -> Answer:
    return Answer(status, (("content-type", "application/json"), *headers), (_dumps(body),))


def _sse(pieces: Iterable[bytes], *headers: tuple[str, str]) -> Answer:
    return Answer(200, (("content-type", "text/event-stream; charset=utf-8"), *headers), tuple(pieces), chunked=True)


def _dumps(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _data(body: object) -> bytes:
    return b"data: %b\n\n" % _dumps(body)


def _named(event: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _dumps(event))


def _fragments(text: str) -> list[str]:
    """Cut a text into groups of a few words, as a stream has it."""
    words = text.split(" ")
    groups = [" ".join(words[start : start + 3]) for start in range(0, len(words), 3)]
    return [groups[0], *(f" {group}" for group in groups[1:])]


# --- chat completions: OpenAI, and those that are compatible with it --------------------------------------------------


def _openai_usage(reply: Reply) -> Json:
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


def _mistral_usage(reply: Reply) -> Json:
    usage: Json = {
        "prompt_tokens": reply.input,
        "total_tokens": reply.input + reply.output,
        "completion_tokens": reply.output,
    }
    if reply.cache_read:
        usage["prompt_tokens_details"] = {"cached_tokens": reply.cache_read}
    return usage


def _xai_usage(reply: Reply) -> Json:
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


def _google_usage(reply: Reply) -> Json:
    """Count thoughts in the total only."""
    return {
        "completion_tokens": reply.output,
        "prompt_tokens": reply.input,
        "total_tokens": reply.input + reply.output + reply.reasoning,
    }


@dataclass(frozen=True, slots=True)
class _Chat:
    """How a provider differs from the others that speak chat completions."""

    usage: Callable[[Reply], Json]
    usage_if_asked: bool
    """A stream has usage only where ``stream_options.include_usage`` asks for it."""
    null_usage: bool
    """Such a stream has ``"usage": null`` in its other chunks."""
    usage_beside_choices: bool
    """A stream has usage in its last chunk with choices, else in one of its own."""
    id_format: str
    extra: Mapping[str, Any]
    """Fields of the provider's own, on the answer and on each chunk."""
    request_id_header: str | None = None


_CHATS: Mapping[str, _Chat] = {
    "openai": _Chat(
        _openai_usage,
        usage_if_asked=True,
        null_usage=True,
        usage_beside_choices=False,
        id_format="chatcmpl-sim{:08d}",
        extra={"service_tier": "default", "system_fingerprint": "fp_simulator"},
        request_id_header="x-request-id",
    ),
    "mistral": _Chat(
        _mistral_usage,
        usage_if_asked=False,
        null_usage=False,
        usage_beside_choices=True,
        id_format="{:032x}",
        extra={},
    ),
    "xai": _Chat(
        _xai_usage,
        usage_if_asked=True,
        null_usage=False,
        usage_beside_choices=False,
        id_format="{:08x}-5157-4000-8000-000000000000",
        extra={"system_fingerprint": "fp_simulator"},
        request_id_header="x-request-id",
    ),
    "google": _Chat(
        _google_usage,
        usage_if_asked=True,
        null_usage=False,
        usage_beside_choices=True,
        id_format="sim{:08d}",
        extra={},
    ),
}


def _chat(provider: str, request: Request) -> Answer:
    dialect = _CHATS[provider]
    asked = request.json()
    model = str(asked.get("model", ""))
    if not model or not isinstance(asked.get("messages"), list):
        return error_answer(provider, 400, request.path)
    reply = _reply(request, model)
    common = {
        "id": dialect.id_format.format(request.number),
        "created": CREATED,
        "model": _SERVED.get(model, model),
        **dialect.extra,
    }
    headers = [(dialect.request_id_header, f"req_sim{request.number:08d}")] if dialect.request_id_header else []
    if not asked.get("stream"):
        message = {"role": "assistant", "content": reply.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        whole = common | {"object": "chat.completion", "choices": [choice], "usage": dialect.usage(reply)}
        return _json(200, whole, *headers)
    choices: list[Json] = [
        {"delta": {"role": "assistant", "content": ""}, "finish_reason": None},
        *({"delta": {"content": fragment}, "finish_reason": None} for fragment in _fragments(reply.text)),
        {"delta": {}, "finish_reason": "stop"},
    ]
    common["object"] = "chat.completion.chunk"
    indexed = ({"index": 0, **choice} for choice in choices)
    return _sse(_chunks(dialect, asked, common, indexed, dialect.usage(reply)), *headers)


def _completions(provider: str, request: Request) -> Answer:
    """Answer as the API that was before chat."""
    dialect = _CHATS[provider]
    asked = request.json()
    model = str(asked.get("model", ""))
    if not model or "prompt" not in asked:
        return error_answer(provider, 400, request.path)
    reply = _reply(request, model)
    usage = {name: count for name, count in dialect.usage(reply).items() if name.endswith("_tokens")}
    common = {
        "id": f"cmpl-sim{request.number:08d}",
        "object": "text_completion",
        "created": CREATED,
        "model": model,
    }
    header = ("x-request-id", f"req_sim{request.number:08d}")
    choice = {"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}
    if not asked.get("stream"):
        return _json(200, common | {"choices": [choice | {"text": reply.text}], "usage": usage}, header)
    fragments = [choice | {"text": fragment, "finish_reason": None} for fragment in _fragments(reply.text)]
    return _sse(_chunks(dialect, asked, common, [*fragments, choice], usage), header)


def _chunks(dialect: _Chat, asked: Json, common: Json, choices: Iterable[Json], usage: Json) -> list[bytes]:
    """Return the events of a streamed completion, with usage if that is asked for."""
    options = asked.get("stream_options")
    include_usage = not dialect.usage_if_asked or bool(isinstance(options, dict) and options.get("include_usage"))
    null_usage = {"usage": None} if include_usage and dialect.null_usage else {}
    bodies = [common | {"choices": [choice]} | null_usage for choice in choices]
    if include_usage and dialect.usage_beside_choices:
        bodies[-1]["usage"] = usage
    elif include_usage:
        bodies.append(common | {"choices": [], "usage": usage})
    return [*map(_data, bodies), b"data: [DONE]\n\n"]


# --- Anthropic messages -----------------------------------------------------------------------------------------------


def _anthropic_usage(reply: Reply) -> Json:
    """Count input in three disjoint numbers."""
    return {
        "input_tokens": reply.fresh,
        "cache_creation_input_tokens": reply.cache_write,
        "cache_read_input_tokens": reply.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": reply.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": reply.output + reply.reasoning,
        "service_tier": "standard",
    }


def _messages(provider: str, request: Request) -> Answer:
    asked = request.json()
    model = str(asked.get("model", ""))
    if not model or not isinstance(asked.get("messages"), list):
        return error_answer(provider, 400, request.path)
    reply = _reply(request, model)
    header = ("request-id", f"req_sim{request.number:08d}")
    message: Json = {
        "model": model,
        "id": f"msg_sim{request.number:08d}",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": reply.text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _anthropic_usage(reply),
    }
    if not asked.get("stream"):
        return _json(200, message, header)
    usage = message["usage"]
    start = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    delta_usage = {name: usage[name] for name in usage if name.endswith("_tokens")}
    events: list[Json] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": fragment}}
            for fragment in _fragments(reply.text)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": delta_usage,
        },
        {"type": "message_stop"},
    ]
    return _sse(map(_named, events), header)


# --- Gemini generateContent -------------------------------------------------------------------------------------------


def _gemini_usage(reply: Reply) -> Json:
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


def _generate_content(provider: str, request: Request) -> Answer:
    model, _, verb = request.path.rpartition("/")[2].partition(":")
    if not isinstance(request.json().get("contents"), list):
        return error_answer(provider, 400, request.path)
    reply = _reply(request, model)
    common = {
        "usageMetadata": _gemini_usage(reply),
        "modelVersion": model,
        "responseId": f"sim{request.number:08d}",
    }

    def candidate(text: str, finish_reason: str | None) -> Json:
        content = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        finish = {"finishReason": finish_reason} if finish_reason else {}
        return {"candidates": [content | finish], **common}

    if verb == "generateContent":
        return _json(200, candidate(reply.text, "STOP"))
    fragments = _fragments(reply.text)
    bodies = [candidate(fragment, None) for fragment in fragments[:-1]] + [candidate(fragments[-1], "STOP")]
    if parse_qs(request.query).get("alt") == ["sse"]:
        return _sse(map(_data, bodies))
    between = [b"[", *[b",\r\n"] * (len(bodies) - 1)]
    pieces = [mark + _dumps(body) for mark, body in zip(between, bodies, strict=True)]
    return Answer(200, (("content-type", "application/json; charset=UTF-8"),), (*pieces, b"]"), chunked=True)


# --- models -----------------------------------------------------------------------------------------------------------

_MODELS: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("claude-haiku-4-5-20251001", "claude-sonnet-4-6"),
    "google": ("gemini-2.5-flash",),
    "mistral": ("mistral-small-latest",),
    "openai": ("gpt-4o", "gpt-4o-mini"),
    "xai": ("grok-3-mini",),
}


def _models(provider: str, request: Request) -> Answer:
    names = _MODELS[provider]
    if provider == "anthropic":
        data: list[Json] = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2025-10-01T00:00:00Z"} for name in names
        ]
        return _json(200, {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]})
    if provider == "google" and not _is_compatible(request.path):
        methods = ["generateContent", "countTokens"]
        return _json(200, {"models": [{"name": f"models/{n}", "supportedGenerationMethods": methods} for n in names]})
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": provider} for name in names]
    return _json(200, {"object": "list", "data": data})


# --- errors -----------------------------------------------------------------------------------------------------------


def _openai_error(message: str, kind: str, code: str | None) -> Json:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _anthropic_error(message: str, kind: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulator"}


def _google_error(status: int, message: str, name: str, *details: Json) -> Json:
    error: Json = {"code": status, "message": message, "status": name}
    return {"error": error | ({"details": list(details)} if details else {})}


def _mistral_error(message: str, kind: str, code: str) -> Json:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def _xai_error(code: str, message: str) -> Json:
    return {"code": code, "error": message}


_OPENAI_SORRY = "The server had an error while processing your request. Sorry about that!"

ERRORS: Mapping[str, Mapping[int, Json]] = {
    "openai": {
        400: _openai_error(
            "Missing required parameter: 'messages'.", "invalid_request_error", "missing_required_parameter"
        ),
        401: _openai_error(
            "Incorrect API key provided: ***. You can find your API key at https://platform.openai.com/account/api-keys.",
            "invalid_request_error",
            "invalid_api_key",
        ),
        403: _openai_error("You are not allowed to sample from this model", "invalid_request_error", None),
        404: _openai_error("Invalid URL", "invalid_request_error", None),
        429: _openai_error("Rate limit reached. Please try again in 20s.", "requests", "rate_limit_exceeded"),
        500: _openai_error(_OPENAI_SORRY, "server_error", None),
        503: _openai_error("The engine is currently overloaded, please try again later", "server_error", None),
    },
    "anthropic": {
        400: _anthropic_error("messages: Field required", "invalid_request_error"),
        401: _anthropic_error("invalid x-api-key", "authentication_error"),
        403: _anthropic_error("Your API key does not have permission to use this resource.", "permission_error"),
        404: _anthropic_error("Not Found", "not_found_error"),
        413: _anthropic_error("Request exceeds the maximum size", "request_too_large"),
        429: _anthropic_error("This request would exceed your rate limit.", "rate_limit_error"),
        500: _anthropic_error("Internal server error", "api_error"),
        529: _anthropic_error("Overloaded", "overloaded_error"),
    },
    "google": {
        400: _google_error(400, "contents is not specified", "INVALID_ARGUMENT"),
        401: _google_error(  # a wrong key is a 400 here
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
        403: _google_error(
            403,
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or "
            "other form of API consumer identity to call this API.",
            "PERMISSION_DENIED",
        ),
        404: _google_error(404, "Requested entity was not found.", "NOT_FOUND"),
        429: _google_error(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED"),
        500: _google_error(500, "An internal error has occurred.", "INTERNAL"),
        503: _google_error(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"),
    },
    "mistral": {
        400: _mistral_error("Invalid request", "invalid_request_error", "3050"),
        401: {"detail": "Invalid API Key"},
        404: {"detail": "Not Found"},
        422: {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}}]},
        429: _mistral_error("Rate limit exceeded", "rate_limited", "1300"),
        500: _mistral_error("Service unavailable.", "internal_server_error", "3000"),
    },
    "xai": {
        400: _xai_error("Client specified an invalid argument", "Failed to deserialize the JSON body"),
        401: _xai_error(  # a wrong key is a 400 here
            "Client specified an invalid argument",
            "Incorrect API key provided: ***. You can obtain an API key from https://console.x.ai.",
        ),
        404: _xai_error("The requested resource was not found", "Not Found"),
        429: _xai_error("Some resource has been exhausted", "Too many requests. Please try again later."),
        500: _xai_error("The service encountered an internal error", "Internal error"),
        503: _xai_error("The service is currently unavailable", "The model is at capacity. Please try again later."),
    },
}
"""Error bodies by provider and status. 401 stands for a missing or wrong key, whatever status the provider gives it."""

_WRONG_KEY_STATUS = {"google": 400, "xai": 400}

_ERROR_EVENTS: Mapping[str, bytes] = {
    "openai": _data(_openai_error(_OPENAI_SORRY, "server_error", None)),
    "anthropic": _named({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    "google": _data(ERRORS["google"][503]),
    "mistral": _data(ERRORS["mistral"][500]),
    "xai": _data(ERRORS["xai"][503]),
}


def error_answer(provider: str, status: int, path: str) -> Answer:
    """Return the provider's error with this status, with the body of its 500 where it has no such error."""
    error = ERRORS[provider].get(status, ERRORS[provider][500])
    # Google's compatible endpoint puts its errors into an array.
    body = [error] if provider == "google" and _is_compatible(path) else error
    headers = []
    if status in {429, 529}:
        headers.append(("retry-after", "1"))
    if status in {400, 401, 403, 404, 413} and provider == "anthropic":
        headers.append(("x-should-retry", "false"))
    return _json(status, body, *headers)


def with_error_event(answer: Answer, provider: str, after: int) -> Answer:
    """Return the first ``after`` events of a stream, then the provider's error event, then nothing more.

    Meant for streams without a content encoding.
    """
    return Answer(answer.status, answer.headers, (*answer.pieces[:after], _ERROR_EVENTS[provider]), answer.chunked)


# --- which answer -----------------------------------------------------------------------------------------------------


def _is_compatible(path: str) -> bool:
    return path.startswith("/v1beta/openai/")


def credential(provider: str, request: Request) -> str | None:
    """Find the key of the request in the places where the provider looks for one."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip() or None
    match provider:
        case "anthropic":
            return request.headers.get("x-api-key") or bearer
        case "google" if not _is_compatible(request.path):
            return request.headers.get("x-goog-api-key") or parse_qs(request.query).get("key", [None])[0] or bearer
        case _:
            return bearer


_PATHS: Mapping[tuple[str, str, str], Callable[[str, Request], Answer]] = {
    ("openai", "POST", "/v1/chat/completions"): _chat,
    ("openai", "POST", "/v1/completions"): _completions,
    ("openai", "GET", "/v1/models"): _models,
    ("mistral", "POST", "/v1/chat/completions"): _chat,
    ("mistral", "GET", "/v1/models"): _models,
    ("xai", "POST", "/v1/chat/completions"): _chat,
    ("xai", "GET", "/v1/models"): _models,
    ("anthropic", "POST", "/v1/messages"): _messages,
    ("anthropic", "GET", "/v1/models"): _models,
    ("google", "POST", "/v1beta/openai/chat/completions"): _chat,
    ("google", "GET", "/v1beta/openai/models"): _models,
    ("google", "GET", "/v1beta/models"): _models,
    ("google", "GET", "/v1/models"): _models,
}


def provider_answer(provider: str, request: Request, expected_key: str | None = None) -> Answer:
    """Return what the provider answers. Without ``expected_key`` any key will do, but not none."""
    key = credential(provider, request)
    if key is None or (expected_key is not None and key != expected_key):
        if key is None and provider == "google" and not _is_compatible(request.path):
            return error_answer(provider, 403, request.path)
        wrong = error_answer(provider, 401, request.path)
        return Answer(_WRONG_KEY_STATUS.get(provider, 401), wrong.headers, wrong.pieces)
    method = "GET" if request.method == "HEAD" else request.method
    if answer := _PATHS.get((provider, method, request.path)):
        return answer(provider, request)
    if (
        provider == "google"
        and method == "POST"
        and request.path.endswith((":generateContent", ":streamGenerateContent"))
    ):
        return _generate_content(provider, request)
    return error_answer(provider, 404, request.path)
