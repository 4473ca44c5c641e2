"""Doubtful answers, from the bytes on the wire to the row: what each costs, and why no other figure would be right.

Every row is an answer as a provider or a gateway sends it, routed, read, priced by the shipped file and measured. A
cost is in US dollars; ``None``: no cost is known, and the source says why.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion.admission.routing import Router
from metrion.metering.meter import measure
from metrion.metering.tap import Tap
from metrion.model import EndReason, Event, Inbound, Origin, Route
from metrion.pricing import PriceBook
from metrion.settings import ProviderSettings, Settings
from tests.metering.test_meter import CALLER, FORWARD, OUTCOME

NOW = datetime(2026, 11, 28, 12)  # noqa: DTZ001 -- events have naive UTC times
M = 1_000_000
CHAT, RESPONSES, MESSAGES = "/openai/v1/chat/completions", "/openai/v1/responses", "/anthropic/v1/messages"
GATEWAY = "/gate/v1/chat/completions"


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    """The shipped file, and a gateway's Claude at Anthropic's rates."""
    more = tmp_path_factory.mktemp("prices") / "more.yaml"
    more.write_text("gate:\n  claude: {input: 5, cache_read: 0.5, cache_write: 6.25, output: 25}\n")
    return PriceBook.load([Path(__file__).parents[1] / "pricing.yaml", more])


def routed(path: str, method: bytes = b"POST", upstream: str = "api.openai.com") -> Route:
    settings = Settings(home=Path("/nowhere"))
    more = {
        "gate": ProviderSettings(like="openai", upstream=Origin("https", "gate.test", 443)),
        "openai": settings.providers["openai"].model_copy(update={"upstream": Origin("https", upstream, 443)}),
    }
    router = Router(settings.model_copy(update={"providers": {**settings.providers, **more}}))
    route = router.route(Inbound(method, path.encode(), ((b"x-goog-api-key", b"k"),)))
    assert isinstance(route, Route), path
    return route


def metered(
    prices: PriceBook,
    path: str,
    body: object,
    *,
    asked: str | None = None,
    method: bytes = b"POST",
    upstream: str = "api.openai.com",
    status: int = 200,
    seeks_results: bool = False,
    settles: bool = False,
) -> Event:
    """Meter one answer: a JSON value, or the bytes of a stream of events."""
    route = routed(path, method, upstream)
    streamed = isinstance(body, bytes)
    tap = Tap(
        route.dialect,
        content_type="text/event-stream" if streamed else "application/json",
        content_encoding=None,
        status=status,
        seeks_results=seeks_results,
    )
    tap.feed(body if isinstance(body, bytes) else json.dumps(body).encode())
    tap.finish()
    reading = tap.reading
    event = measure(
        Inbound(method, path.encode(), ()),
        replace(FORWARD, route=route, caller=CALLER),
        replace(
            OUTCOME, started_at=NOW, status=status,
            end_reason=EndReason.STREAM_ERROR if reading.stream_error else EndReason.COMPLETE,
        ),
        reading,
        prices,
        model_requested=asked,
        settles=settles,
    )  # fmt: skip
    assert event is not None
    return event


def chat(model: str, prompt: int | None = None, completion: int | None = None, **usage: Any) -> dict[str, Any]:
    tokens = {} if prompt is None else {"prompt_tokens": prompt, "completion_tokens": completion}
    if prompt is not None and completion is not None:
        tokens["total_tokens"] = prompt + completion
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": tokens | usage,
    }  # fmt: skip


def response(
    model: str, given: int, made: int, output: list[dict[str, Any]] | None = None, **usage: Any
) -> dict[str, Any]:
    counts = {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}
    return {
        "id": "resp_1", "object": "response", "model": model, "status": "completed", "output": output or [],
        "usage": counts | usage,
    }  # fmt: skip


def gemini(model: str, prompt: int, output: int, **more: Any) -> dict[str, Any]:
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": output, "totalTokenCount": prompt + output}
    candidate = {"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP"}
    return {"candidates": [candidate | more], "modelVersion": model, "usageMetadata": counts}


def message(model: str, **usage: Any) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hi"}], "usage": usage,
    }  # fmt: skip


def events(*documents: object, last: bytes = b"\n\n") -> bytes:
    parts = [b"data: " + (each if isinstance(each, bytes) else json.dumps(each).encode()) for each in documents]
    return b"\n\n".join(parts) + last


def chunk(content: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if content is None else [{"index": 0, "delta": {"content": content}, "finish_reason": None}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "gpt-4o-2024-08-06",
        "choices": choices,
    } | more


STOP = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
FLASH, NATIVE = "gemini-2.5-flash", "/gemini/v1beta/models/gemini-2.5-flash:generateContent"
SEARCHED = {"groundingMetadata": {"webSearchQueries": ["a", "b"]}}
TUNED = "ft:gpt-4.1-mini-2025-04-14:acme:content-moderation:Bx1"
OWN_KEY = {"is_byok": True, "cost": 0, "cost_details": {"upstream_inference_cost": 0.0360795}}
AUDIO = {"prompt_tokens_details": {"audio_tokens": 1000}, "completion_tokens_details": {"audio_tokens": 1000}}
SPOKEN: dict[str, Any] = {
    "prompt_audio_seconds": 600, "prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 7620,
    "prompt_tokens_details": {"audio_tokens": 7500},
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "more", "source", "usd"),
    [
        pytest.param(CHAT, chat(TUNED, M, M), {}, "computed", "4", id="no pattern covers a customer's own suffix"),
        pytest.param(
            "/mistral/v1/chat/completions", chat("mistral-large-latest", M, 100_000), {}, "computed", "0.65",
            id="an alias that moves has dates",
        ),
        pytest.param(
            "/mistral/v1/chat/completions", chat("voxtral-small-2507", **SPOKEN), {}, "computed", "0.040042",
            id="audio by the minute, and only the text by the token",
        ),
        pytest.param(
            NATIVE, gemini("gemini-4.1-flash", M, M), {"asked": "gemini-flash-latest"}, "unpriced", None,
            id="another model was served, and has no price",
        ),
        pytest.param(
            "/mistral/v1/chat/completions",
            chat("mistral-large-latest", 100, 100, connectors={"web_search": 2, "image_generation": 1}), {},
            "unpriced", None, id="tools without a fee",
        ),
        pytest.param(CHAT, chat("gpt-4o-search-preview", 100, 100), {}, "computed", "0.02625", id="a fee a call"),
        pytest.param(CHAT, chat("gpt-4o-mini-search-preview", 100, 100), {}, "computed", "0.025075", id="of mini too"),
        pytest.param(CHAT, chat("gpt-5-search-api", 100, 100), {}, "computed", "0.011125", id="and of the API's model"),
        pytest.param(
            CHAT, chat("gpt-4o-audio-preview-2024-12-17", 1000, 1000, **AUDIO), {}, "computed", "0.12",
            id="audio at its own rate",
        ),
        pytest.param(NATIVE, gemini(FLASH, 100, 100, **SEARCHED), {}, "estimated", "0.03528", id="a free allowance"),
        pytest.param(
            "/mistral/v1/chat/completions",
            chat("codestral-latest", M, 0, prompt_tokens_details={"cached_tokens": 900_000}), {}, "computed", "0.057",
            id="cached tokens at their own rate",
        ),
        pytest.param(
            MESSAGES,
            message(
                "claude-opus-4-8", input_tokens=100, output_tokens=100, cache_creation_input_tokens=100_000,
                fallback_credit={"status": {"type": "redeemed"}},
            ), {}, "unknown", None, id="a prefix that is billed as if it had been on the other model",
        ),
        pytest.param(
            CHAT, chat("gpt-5.4", M, M), {"upstream": "eu.api.openai.com"}, "computed", "30.25",
            id="a regional endpoint of a model with long contexts",
        ),
        pytest.param(
            CHAT, chat("gpt-4o", M, M), {"upstream": "us.api.openai.com"}, "computed", "12.5",
            id="no uplift for models from before",
        ),
        pytest.param(
            "/openai/v1/images/generations",
            {"created": 1, "data": [], "usage": {"input_tokens": 10, "output_tokens": 4160, "total_tokens": 4170}},
            {"asked": "gpt-image-1.5"}, "computed", "0.13317", id="what an endpoint for images makes is images",
        ),
        pytest.param(CHAT, chat("gpt-image-1.5", 10, 4160), {}, "unpriced", None, id="elsewhere nobody knows"),
        pytest.param(
            MESSAGES,
            message(
                "claude-opus-4-8", input_tokens=100, output_tokens=100, cache_creation_input_tokens=10_000,
                cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            ), {}, "unknown", None, id="lifetimes that do not add up",
        ),
        pytest.param(
            CHAT, chat("gpt-4o", 100, 10, prompt_tokens_details={"cached_tokens": 400}), {}, "unknown", None,
            id="more cached than prompt",
        ),
        pytest.param(
            CHAT, chat("gpt-4o", 100, 10, total_tokens=4000), {}, "unknown", None, id="a total that nothing explains"
        ),
        pytest.param(
            GATEWAY,
            chat(
                "claude", 10, 20, total_tokens=5230, cache_creation_input_tokens=200,
                prompt_tokens_details={"cached_tokens": 5000},
            ), {}, "computed", "0.0043", id="a gateway that counts the cache beside the prompt",
        ),
        pytest.param(GATEWAY, chat("any", 100, 100, **OWN_KEY), {}, "provider", "0.0360795", id="the caller's own key"),
        pytest.param(
            GATEWAY, events(chunk("Hi"), chunk(usage=USAGE | OWN_KEY), b"[DONE]"), {}, "provider", "0.0360795",
            id="and streamed",
        ),
        pytest.param(
            CHAT, events(chunk("Hi"), chunk(usage=USAGE), chunk(usage=dict.fromkeys(USAGE, 0)), b"[DONE]"), {},
            "computed", "0.0035", id="zeros after real counts",
        ),
        pytest.param(
            CHAT, events(chunk("Hi"), STOP, chunk(usage=USAGE), last=b""), {}, "computed", "0.0035",
            id="the last event without its blank line",
        ),
        pytest.param(
            CHAT, events(chunk("Hi"), STOP, chunk(usage=USAGE), b"[DONE]", last=b""), {}, "computed", "0.0035",
            id="or the end of the stream without it",
        ),
        pytest.param(
            CHAT, events(chunk("Hi"), {"error": {"message": "Overloaded.", "type": "server_error"}}), {},
            "unknown", None, id="output, then an error",
        ),
        pytest.param(
            CHAT, events({"error": {"message": "Overloaded.", "type": "server_error"}}), {}, "not_billed", "0",
            id="an error alone",
        ),
        pytest.param(
            "/anthropic/api/event_logging/batch", {"accepted": 3}, {}, "not_billed", "0", id="what Claude Code reports"
        ),
        pytest.param(
            NATIVE, gemini(FLASH, M, M) | {"usageMetadata": gemini(FLASH, M, M)["usageMetadata"]
                                           | {"trafficType": "ON_DEMAND_FLEX"}}, {}, "computed", "1.4", id="flex",
        ),
        pytest.param(
            "/openai/v1/completions",
            {"id": "cmpl-1", "object": "text_completion", "model": "gpt-3.5-turbo-instruct",
             "choices": [{"text": "", "index": 0, "finish_reason": "stop"}],
             "usage": {"prompt_tokens": 11, "total_tokens": 11}}, {}, "computed", "0.0000165", id="no output is 0",
        ),
        pytest.param(
            "/mistral/v1/chat/completions",
            chat("voxtral-small-2507", 20, 100, prompt_audio_seconds=600), {}, "computed", "0.040042",
            id="a prompt that is too short to have the audio in it",
        ),
        pytest.param(
            "/mistral/v1/chat/completions",
            chat("voxtral-small-2507", 7520, 100, prompt_audio_seconds=600), {}, "unpriced", None,
            id="a prompt that may have the audio in it",
        ),
        pytest.param(
            RESPONSES, response("gpt-5", 1000, 1000, [{"type": "code_interpreter_call", "status": "completed"}]), {},
            "unpriced", None, id="a container",
        ),
        pytest.param(
            RESPONSES,
            response("gpt-5", 1000, 1000, [{"type": "shell_call", "environment": {"type": "container_reference"}}]), {},
            "unpriced", None, id="a shell in a container",
        ),
        pytest.param(
            RESPONSES, response("gpt-5", 1000, 1000, [{"type": "shell_call", "environment": {"type": "local"}}]), {},
            "computed", "0.01125", id="a shell of the caller's own",
        ),
        pytest.param(
            "/gemini/v1beta/interactions",
            {"id": "i", "model": "gemini-3.5-flash", "status": "completed", "outputs": [{"type": "google_search_call"}],
             "usage": {"total_input_tokens": 10, "total_output_tokens": 10, "total_tokens": 20}}, {},
            "unpriced", None, id="searches that the usage does not count",
        ),
        pytest.param(
            "/openai/v1/embeddings",
            {"object": "list", "model": "text-embedding-3-small", "data": [],
             "usage": {"prompt_tokens": 10, "total_tokens": 1000}}, {},
            "unknown", None, id="a total of embeddings that is more than their input",
        ),
        pytest.param(
            RESPONSES, response("gpt-5", 1000, 1000, [{"type": "image_generation_call", "status": "completed"}]), {},
            "unpriced", None, id="images of which the usage is not said",
        ),
        pytest.param(CHAT, chat("gpt-5-image", 10, 4160), {}, "unpriced", None, id="a chat that makes images"),
        pytest.param(
            "/gemini/v1beta/models/gemini-2.5-flash-image:generateContent",
            {**gemini("gemini-2.5-flash-image", 10, 100), "usageMetadata": {
                "promptTokenCount": 10, "candidatesTokenCount": 100, "totalTokenCount": 110,
                "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 100}]}}, {},
            "computed", "0.000253", id="a model that makes images, and has written",
        ),
        pytest.param(
            GATEWAY, chat("any", 10, 10, cost=0, cost_details={"upstream_inference_cost": 0.0360795}), {},
            "provider", "0.0360795", id="the caller's own key, which is not named",
        ),
        pytest.param(
            GATEWAY, chat("claude", 1000, 10, prompt_cache_hit_tokens=900, prompt_cache_miss_tokens=500), {},
            "unknown", None, id="hits and misses that are not the prompt",
        ),
        pytest.param(
            GATEWAY, chat("claude", 5210, 20, prompt_tokens_details={"cached_tokens": 5000,
                                                                     "cached_creation_tokens": 200}), {},
            "computed", "0.0043", id="cache writes by another name",
        ),
        pytest.param(
            GATEWAY, chat("claude", 5210, 20, cacheReadInputTokens=5000, cacheWriteInputTokens=200), {},
            "computed", "0.0043", id="or as Bedrock names them",
        ),
        pytest.param(
            "/gate/v1/responses",
            response("claude", 10, 20, total_tokens=5230, cache_read_input_tokens=5000, cache_write_tokens=200),
            {}, "computed", "0.0043", id="a gateway that counts the cache beside the input",
        ),
        pytest.param(
            MESSAGES,
            events(
                {"type": "message_start", "message": message("claude-opus-4-8", input_tokens=123, output_tokens=1)},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"},
                 "usage": {"output_tokens": 100, "server_tool_use": {"web_search_requests": 2}}},
                {"type": "message_delta", "delta": {},
                 "usage": {"output_tokens": 100, "server_tool_use": {"web_search_requests": 0}}},
                {"type": "message_stop"},
            ), {}, "computed", "0.023115", id="searches that are gone in the last event",
        ),
        pytest.param(
            CHAT,
            events(chunk(choices=[{"index": 0, "delta": {"audio": {"data": "QUJD"}}, "finish_reason": None}]),
                   {"error": {"message": "Overloaded.", "type": "server_error"}}), {},
            "unknown", None, id="sound, then an error",
        ),
        pytest.param(
            CHAT, events(chunk("Hi"), chunk(usage=USAGE | {"prompt_tokens_details": {"cached_tokens": 500}}),
                         chunk(usage=USAGE | {"prompt_tokens_details": {"cached_tokens": 0}}), b"[DONE]"), {},
            "computed", "0.002875", id="what was read from a cache is not undone",
        ),
        pytest.param(
            GATEWAY, chat("claude", 5210, 20, input_tokens_details={"cached_tokens": 5000}), {},
            "computed", "0.00405", id="cached tokens where the Responses API has them",
        ),
        pytest.param(
            "/openai/v1/audio/transcriptions",
            {"text": "Hi", "usage": {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}},
            {"asked": "gpt-4o-transcribe"}, "unpriced", None, id="sound that is not told apart from the prompt",
        ),
        pytest.param(
            "/openai/v1/audio/transcriptions",
            {"text": "Hi", "usage": {"type": "tokens", "input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100,
                                     "input_token_details": {"audio_tokens": 1000, "text_tokens": 0}}},
            {"asked": "gpt-4o-transcribe-2025-03-20"}, "computed", "0.007", id="or is",
        ),
        pytest.param(
            "/openai/v1/images/edits",
            {"created": 1, "data": [], "usage": {"input_tokens": 1010, "output_tokens": 4160, "total_tokens": 5170}},
            {"asked": "gpt-image-1.5"}, "unpriced", None, id="an image that is edited, not told apart from the words",
        ),
        pytest.param(
            "/mistral/v1/conversations",
            {"conversation_id": "c", "outputs": [{"type": "tool.execution", "name": "web_search"},
                                                 {"type": "message.output", "model": "mistral-medium-2505"}],
             "usage": {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}}, {},
            "unpriced", None, id="a connector that the usage does not count",
        ),
        pytest.param(
            "/mistral/v1/conversations",
            events({"type": "tool.execution.started", "name": "web_search", "id": "x"},
                   {"type": "message.output.delta", "model": "mistral-medium-2505", "content": "Hi"},
                   {"type": "conversation.response.done",
                    "usage": {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}}), {},
            "unpriced", None, id="and streamed",
        ),
        pytest.param(MESSAGES, message("claude-opus-4-10", input_tokens=M, output_tokens=M), {}, "unpriced", None,
                     id="a version that does not exist"),
        pytest.param(MESSAGES, message("claude-haiku-4-5-nano", input_tokens=M, output_tokens=M), {}, "unpriced", None,
                     id="a word that changes the model"),
    ],
)  # fmt: skip
def test_a_doubtful_answer(
    path: str, body: Any, more: dict[str, Any], source: str, usd: str | None, prices: PriceBook
) -> None:
    event = metered(prices, path, body, **more)
    assert (event.cost_source, event.cost_usd) == (source, usd and Decimal(usd))


def test_a_gateway_that_counts_the_cache_beside_the_prompt_has_each_count_once(prices: PriceBook) -> None:
    cached = {"prompt_tokens_details": {"cached_tokens": 5000}, "cache_creation_input_tokens": 200}
    event = metered(prices, GATEWAY, chat("claude", 10, 20, total_tokens=5230, **cached))
    counts = (event.input_tokens, event.cache_read_tokens, event.cache_write_tokens, event.output_tokens)
    assert counts == (5210, 5000, 200, 20)


def test_nothing_is_free_where_the_allowance_is_gone() -> None:
    prices = PriceBook.load([Path(__file__).parents[1] / "pricing.yaml"], without_allowance={"google"})
    event = metered(prices, NATIVE, gemini(FLASH, 100, 100, **SEARCHED))
    assert (event.cost_source, event.cost_usd) == ("computed", Decimal("0.03528"))
