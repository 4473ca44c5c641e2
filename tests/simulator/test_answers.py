"""The simulator's own answers, read by the official SDKs and against the providers' rules of counting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from metrion.simulator.answers import PROVIDERS, REPLIES, VENDORS, Request, error_answer, provider_answer
from metrion.simulator.answers.embeddings import numbers_of
from metrion.simulator.delivery import Answer
from tests.simulated import Simulator, running_simulator

MODELS = {
    "openai": "gpt-4o",
    "mistral": "mistral-small-latest",
    "xai": "grok-3-mini",
    "google": "gemini-2.5-flash",
}
ERRORS = {provider: vendor.errors for provider, vendor in VENDORS.items()}
COMPATIBLE = {"google": "/v1beta/openai"}
MESSAGES: Any = [{"role": "user", "content": "Where is my order?"}]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture
def openai_sdk(simulator: Simulator, provider: str) -> openai.OpenAI:
    base_url = simulator.upstream(provider) + COMPATIBLE.get(provider, "/v1")
    return openai.OpenAI(base_url=base_url, api_key="sk-any", max_retries=0)


@pytest.fixture
def anthropic_sdk(simulator: Simulator) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=simulator.upstream("anthropic"), api_key="sk-any", max_retries=0)


def _ask(provider: str, path: str, body: object = None, **headers: str) -> Answer:
    request = Request(
        method="GET" if body is None else "POST",
        path=path.partition("?")[0],
        query=path.partition("?")[2],
        headers=headers or {"authorization": "Bearer sk-any"},
        body=b"" if body is None else json.dumps(body).encode(),
        number=1,
    )
    return provider_answer(provider, request)


def _json(answer: Answer) -> Any:
    return json.loads(b"".join(answer.pieces))


@pytest.mark.parametrize("provider", MODELS)
def test_chat_completions_are_what_the_openai_sdk_reads(openai_sdk: openai.OpenAI, provider: str) -> None:
    reply = REPLIES[MODELS[provider]]
    completion = openai_sdk.chat.completions.create(model=MODELS[provider], messages=MESSAGES)
    assert completion.choices[0].message.content == reply.text
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == reply.input
    assert completion.usage.total_tokens == reply.input + reply.output + reply.reasoning


@pytest.mark.parametrize("provider", MODELS)
def test_streamed_chat_completions_are_what_the_openai_sdk_reads(openai_sdk: openai.OpenAI, provider: str) -> None:
    reply = REPLIES[MODELS[provider]]
    stream = openai_sdk.chat.completions.create(
        model=MODELS[provider], messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == reply.text
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [
        reply.input + reply.output + reply.reasoning
    ]
    assert chunks[-1].usage is not None


@pytest.mark.parametrize("provider", MODELS)
@pytest.mark.parametrize("options", [None, {}, {"include_usage": None}, {"include_usage": False}])
def test_a_stream_reports_usage_unasked_where_the_provider_does(provider: str, options: object) -> None:
    chunks = _streamed(provider, "/chat/completions", {"messages": MESSAGES, "stream_options": options})
    with_usage = [chunk for chunk in chunks if "usage" in chunk]
    assert with_usage == (chunks[-1:] if provider == "mistral" else [])


@pytest.mark.parametrize(
    ("provider", "beside_choices", "null_elsewhere"),
    [("openai", False, True), ("mistral", True, False), ("xai", False, False), ("google", True, False)],
)
def test_a_stream_that_is_asked_to_reports_usage_in_the_providers_way(
    provider: str, beside_choices: bool, null_elsewhere: bool
) -> None:
    asked = {"messages": MESSAGES, "stream_options": {"include_usage": True}}
    *others, last = _streamed(provider, "/chat/completions", asked)
    assert last["usage"]["total_tokens"]
    assert bool(last["choices"]) is beside_choices
    assert all(chunk["choices"] and chunk.get("usage") is None for chunk in others)
    assert {"usage" in chunk for chunk in others} == {null_elsewhere}


def _streamed(provider: str, path: str, asked: dict[str, Any]) -> list[Any]:
    answer = _ask(
        provider, COMPATIBLE.get(provider, "/v1") + path, {"model": MODELS[provider], "stream": True, **asked}
    )
    assert answer.pieces[-1] == b"data: [DONE]\n\n"
    return [json.loads(piece.removeprefix(b"data: ")) for piece in answer.pieces[:-1]]


def test_text_completions_are_what_the_openai_sdk_reads(simulator: Simulator) -> None:
    sdk = openai.OpenAI(base_url=simulator.upstream("openai") + "/v1", api_key="sk-any", max_retries=0)
    whole = sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="Where is my order?")
    assert whole.usage is not None
    silent = list(sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="Where is my order?", stream=True))
    asked = list(
        sdk.completions.create(
            model="gpt-3.5-turbo-instruct",
            prompt="Where is my order?",
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    for chunks in (silent, asked):
        assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert not any("usage" in chunk.model_fields_set for chunk in silent)
    assert [chunk.usage is not None for chunk in asked] == [*(False for _ in silent), True]
    assert all("usage" in chunk.model_fields_set for chunk in asked)


def test_reasoning_is_counted_as_each_provider_counts_it() -> None:
    grok = _json(_ask("xai", "/v1/chat/completions", {"model": "grok-3-mini", "messages": MESSAGES}))["usage"]
    reasoning = grok["completion_tokens_details"]["reasoning_tokens"]
    assert reasoning
    assert grok["total_tokens"] == grok["prompt_tokens"] + grok["completion_tokens"] + reasoning
    assert 0 < grok["prompt_tokens_details"]["cached_tokens"] < grok["prompt_tokens"]

    gemini_body = {"contents": [{"parts": [{"text": "hi"}]}]}
    gemini = _json(_ask("google", "/v1beta/models/gemini-2.5-flash:generateContent", gemini_body))["usageMetadata"]
    assert gemini["thoughtsTokenCount"]
    assert gemini["totalTokenCount"] == (
        gemini["promptTokenCount"] + gemini["candidatesTokenCount"] + gemini["thoughtsTokenCount"]
    )


def test_messages_are_what_the_anthropic_sdk_reads(anthropic_sdk: anthropic.Anthropic) -> None:
    reply = REPLIES["claude-sonnet-4-6"]
    message = anthropic_sdk.messages.create(model="claude-sonnet-4-6", max_tokens=500, messages=MESSAGES)
    assert [block.text for block in message.content if block.type == "text"] == [reply.text]
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (
        reply.fresh,
        reply.cache_read,
        reply.cache_write,
    )


def test_streamed_messages_are_what_the_anthropic_sdk_reads(anthropic_sdk: anthropic.Anthropic) -> None:
    reply = REPLIES["claude-haiku-4-5-20251001"]
    with anthropic_sdk.messages.stream(model="claude-haiku-4-5-20251001", max_tokens=500, messages=MESSAGES) as stream:
        assert "".join(stream.text_stream) == reply.text
        message = stream.get_final_message()
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (reply.fresh, reply.output)


@pytest.mark.parametrize("sse", [True, False])
def test_gemini_streams_events_or_one_json_array(sse: bool) -> None:
    path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent" + ("?alt=sse" if sse else "")
    answer = _ask("google", path, {"contents": []}, **{"x-goog-api-key": "AIza-any"})
    bodies = [json.loads(piece[6:]) for piece in answer.pieces] if sse else _json(answer)
    text = "".join(body["candidates"][0]["content"]["parts"][0]["text"] for body in bodies)
    assert text == REPLIES["gemini-2.5-flash"].text
    assert [body["candidates"][0].get("finishReason") for body in bodies][-2:] == [None, "STOP"]
    assert len(answer.pieces) > 2


def test_an_unknown_model_is_answered_and_its_size_counted() -> None:
    short = _json(_ask("openai", "/v1/chat/completions", {"model": "some-model", "messages": MESSAGES}))
    long = _json(_ask("openai", "/v1/chat/completions", {"model": "some-model", "messages": MESSAGES * 50}))
    assert short["model"] == "some-model"
    assert 0 < short["usage"]["prompt_tokens"] < long["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("openai", "/v1/models"),
        ("anthropic", "/v1/models"),
        ("mistral", "/v1/models"),
        ("xai", "/v1/models"),
        ("google", "/v1beta/openai/models"),
        ("google", "/v1beta/models"),
    ],
)
def test_models_are_listed(provider: str, path: str) -> None:
    answer = _ask(provider, path)
    listed = _json(answer).get("data") or _json(answer)["models"]
    assert answer.status == 200
    assert {entry.get("id") or entry["name"].removeprefix("models/") for entry in listed} & REPLIES.keys()


@pytest.mark.parametrize(
    ("provider", "path", "headers", "status", "body"),
    [
        ("openai", "/v1/chat/completions", {}, 401, ERRORS["openai"][401]),
        ("openai", "/v1/chat/completions", {"authorization": "Bearer wrong"}, 401, ERRORS["openai"][401]),
        ("openai", "/v1/chat/completions", {"x-api-key": "right"}, 401, ERRORS["openai"][401]),
        ("anthropic", "/v1/messages", {"x-api-key": "wrong"}, 401, ERRORS["anthropic"][401]),
        ("mistral", "/v1/chat/completions", {"authorization": "Bearer wrong"}, 401, ERRORS["mistral"][401]),
        ("xai", "/v1/chat/completions", {"authorization": "Bearer wrong"}, 400, ERRORS["xai"][401]),
        ("google", "/v1beta/openai/chat/completions", {"x-goog-api-key": "right"}, 400, [ERRORS["google"][401]]),
        ("google", "/v1beta/models/g:generateContent", {"x-goog-api-key": "wrong"}, 400, ERRORS["google"][401]),
        ("google", "/v1beta/models/g:generateContent", {}, 403, ERRORS["google"][403]),
    ],
)
def test_a_wrong_key_gets_the_providers_own_error(
    provider: str, path: str, headers: dict[str, str], status: int, body: object
) -> None:
    answer = provider_answer(provider, Request("POST", path, "", headers, b"{}", 1), expected_key="right")
    assert (answer.status, _json(answer)) == (status, body)


@pytest.mark.parametrize(
    ("provider", "path", "headers", "query"),
    [
        ("openai", "/v1/models", {"authorization": "Bearer right"}, ""),
        ("anthropic", "/v1/models", {"x-api-key": "right"}, ""),
        ("anthropic", "/v1/models", {"authorization": "Bearer right"}, ""),
        ("google", "/v1beta/models", {"x-goog-api-key": "right"}, ""),
        ("google", "/v1beta/models", {}, "key=right"),
        ("google", "/v1beta/openai/models", {"authorization": "Bearer right"}, ""),
    ],
)
def test_the_right_key_is_found_where_the_provider_looks(
    provider: str, path: str, headers: dict[str, str], query: str
) -> None:
    assert provider_answer(provider, Request("GET", path, query, headers, b"", 1), expected_key="right").status == 200


@pytest.mark.parametrize("provider", PROVIDERS)
def test_another_path_is_not_found(provider: str) -> None:
    headers = {"authorization": "Bearer any"}
    assert provider_answer(provider, Request("GET", "/v1/nothing", "", headers, b"", 1)).status == 404


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [429, 500, 529])
def test_every_status_has_an_error_body(provider: str, status: int) -> None:
    answer = error_answer(provider, status, "/v1/chat/completions")
    assert answer.status == status
    assert _json(answer)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_the_errors_that_any_request_may_get(provider: str) -> None:
    assert {400, 401, 404, 500} <= ERRORS[provider].keys()


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"model": "gpt-4o"}', b'{"messages": []}'])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_body_that_is_no_request_gets_a_400(path: str, body: bytes) -> None:
    headers = {"authorization": "Bearer any"}
    assert provider_answer("openai", Request("POST", path, "", headers, body, 1)).status == 400


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, anthropic.BadRequestError), (429, anthropic.RateLimitError), (529, anthropic.InternalServerError)],
)
def test_the_anthropic_sdk_raises_its_typed_errors(
    anthropic_sdk: anthropic.Anthropic, simulator: Simulator, status: int, error: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(error) as raised:
        anthropic_sdk.messages.create(
            model="claude-sonnet-4-6",
            max_tokens=5,
            messages=MESSAGES,
            extra_headers=simulator.select(error=status),
        )
    assert raised.value.status_code == status


def test_an_error_event_inside_a_stream_raises_in_the_sdks(
    anthropic_sdk: anthropic.Anthropic, simulator: Simulator
) -> None:
    headers = simulator.select(error_event=4)
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        anthropic_sdk.messages.stream(
            model="claude-sonnet-4-6", max_tokens=5, messages=MESSAGES, extra_headers=headers
        ) as stream,
    ):
        stream.until_done()
    sdk = openai.OpenAI(base_url=simulator.upstream("openai") + "/v1", api_key="any", max_retries=0)
    with pytest.raises(openai.APIError, match="server had an error"):
        list(sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True, extra_headers=headers))


@pytest.mark.parametrize("packed", [False, True])
def test_embeddings_are_what_the_openai_sdk_reads(simulator: Simulator, packed: bool) -> None:
    client = openai.OpenAI(api_key="any", base_url=f"{simulator.upstream('openai')}/v1", max_retries=0)
    form: Any = {} if packed else {"encoding_format": "float"}
    one, two = (client.embeddings.create(model="m", input=text, **form) for text in ("red", ["red", "white"]))
    assert [each.index for each in two.data] == [0, 1]
    assert one.data[0].embedding == two.data[0].embedding != two.data[1].embedding
    assert one.data[0].embedding == pytest.approx(numbers_of("red"), abs=1e-6)
    assert len(two.data[1].embedding) == 16
    assert (one.usage.prompt_tokens, two.usage.total_tokens) == (1, 2)


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"model": "m", "input": [1, 2, 3]}, 3),
        ({"model": "m", "input": [[1, 2, 3], [4]], "dimensions": 4}, 4),
    ],
)
def test_embeddings_of_tokens(body: object, tokens: int) -> None:
    document = _json(_ask("mistral", "/v1/embeddings", body))
    assert document["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


@pytest.mark.parametrize("inputs", [None, "", [], ["a", ""]])
def test_no_embeddings_of_nothing(inputs: object) -> None:
    assert _ask("openai", "/v1/embeddings", {"model": "m", "input": inputs}).status == 400
