"""Bodies as people see them: tables of real ones, and every recorded exchange."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from metrion.conversations import NOT_KEPT, is_conversation, show, show_nothing
from tests.corpus import Exchange, at_least, exchanges, written

KINDS = {
    "messages", "chat", "completions", "responses", "generateContent", "conversations", "interactions", "embeddings",
}  # fmt: skip


def body(**members: object) -> bytes:
    return json.dumps(members).encode()


WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SOUND = {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}
LOOK = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}

REQUESTS = {
    "anthropic": (
        body(
            model="claude-haiku-4-5",
            max_tokens=64,
            system=[{"type": "text", "text": "Be short."}],
            tools=[{"name": "weather", "description": "Says it.", "input_schema": WEATHER}],
            messages=[
                {"role": "user", "content": [{"type": "image", "source": {"media_type": "image/png", "data": "AAAA"}}]},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "Rain."}]},
            ],
        ),
        """\
model: claude-haiku-4-5
max_tokens: 64

tools:
  weather(city: string, days?: integer)  # Says it.

system:
  Be short.

user:
  [image: image/png, 3 bytes]

assistant:
  call: weather  # t1
    {"city": "Oslo"}

user:
  result: weather  # t1
    Rain.
""",
    ),
    "chat": (
        body(
            model="gpt-4o",
            messages=[
                {"role": "developer", "content": "Be short."},
                {"role": "user", "content": [{"type": "text", "text": "What is it?"}, PICTURE]},
                {"role": "assistant", "content": None, "tool_calls": [LOOK]},
                {"role": "tool", "tool_call_id": "c1", "content": "A cat."},
            ],
            tools=[{"type": "function", "function": {"name": "look", "parameters": {"properties": {}}}}],
            stream=True,
        ),
        """\
model: gpt-4o
stream: true

tools:
  look()

system:
  Be short.

user:
  What is it?
  [image: image/png, 3 bytes]

assistant:
  call: look  # c1
    {}

tool:
  result: look  # c1
    A cat.
""",
    ),
    "responses": (
        body(
            model="gpt-5",
            instructions="Be short.",
            tools=[{"type": "web_search"}],
            input=[
                {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
                {"type": "reasoning", "id": "r1", "summary": [{"type": "summary_text", "text": "Hm."}]},
                {"type": "function_call", "call_id": "f1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "f1", "output": "A cat."},
            ],
        ),
        """\
model: gpt-5

tools:
  web_search()

system:
  Be short.

user:
  Hello

assistant:
  reasoning:
    Hm.
  call: look  # f1
    {}

tool:
  result: look  # f1
    A cat.
""",
    ),
    "google": (
        body(
            systemInstruction={"parts": [{"text": "Be short."}]},
            contents=[
                {"role": "user", "parts": [{"text": "Hello"}, SOUND]},
                {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"seen": "a cat"}}}]},
            ],
            tools=[{"functionDeclarations": [{"name": "look", "parameters": WEATHER}]}, {"googleSearch": {}}],
            generationConfig={"temperature": 0.5},
        ),
        """\
temperature: 0.5

tools:
  look(city: string, days?: integer)
  googleSearch()

system:
  Be short.

user:
  Hello
  [audio: audio/wav, 3 bytes]

model:
  call: look
    {}

user:
  result: look
    {"seen": "a cat"}
""",
    ),
    "mistral conversations": (
        body(model="mistral-medium", inputs="News of Oslo?"),
        "model: mistral-medium\n\nuser:\n  News of Oslo?\n",
    ),
    "completions": (body(model="davinci", prompt="Once"), "model: davinci\n\nuser:\n  Once\n"),
    "embeddings": (body(model="e", input=["a", "b"]), "model: e\n\nuser:\n  a\n  b\n"),
    "batch": (
        body(requests=[{"custom_id": "a", "params": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}}]),
        "--- # a\nmodel: m\n\nuser:\n  Hi\n",
    ),
}  # fmt: skip

ANSWERS = {
    "chat": (
        body(
            model="gpt", choices=[{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
            usage={"total_tokens": 3},
        ),
        'model: gpt\n\nassistant:\n  Hello.\n\nfinish: stop\nusage: {"total_tokens": 3}\n',
    ),
    "an error": (
        body(type="error", error={"type": "overloaded_error", "message": "Overloaded"}),
        "error: overloaded_error: Overloaded\n",
    ),
    "embeddings": (
        body(model="e", data=[{"embedding": [0.5] * 8}, {"embedding": [0.5] * 8}]),
        "model: e\n\nassistant:\n  [embeddings] 2 of 8 numbers\n",
    ),
    "results": (
        b'{"custom_id":"a","result":{"type":"succeeded","message":{"model":"m","role":"assistant","content":'
        b'[{"type":"text","text":"Hi."}],"stop_reason":"end_turn"}}}\n'
        b'{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":{"type":"bad","message":"No"}}}}\n',
        "--- # a\nmodel: m\n\nassistant:\n  Hi.\n\nfinish: end_turn\n\n--- # b\n\nerror: bad: No\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("shown", "expected"), [*REQUESTS.values(), *ANSWERS.values()], ids=[*REQUESTS, *ANSWERS])
def test_a_body_is_shown_as_a_conversation(shown: bytes, expected: str) -> None:
    assert is_conversation(shown)
    assert show(shown) == expected


def test_what_was_metered_stands_at_the_foot() -> None:
    shown = show(ANSWERS["chat"][0], [("cost", "$0.01"), ("event", "0192")])
    assert shown.endswith("\n\n# metered\ncost: $0.01\nevent: 0192\n")
    assert show_nothing([("cost", "$0.01")]) == f"# {NOT_KEPT}\n\n# metered\ncost: $0.01\n"
    assert "store_streamed_bodies=true" in NOT_KEPT


@pytest.mark.parametrize(
    "strange",
    [b"", b"words", b"{}", b"[]", b"null", b'{"messages": 1}', b"\xff\xfe\x00", b'{"choices": {"a": 1}}', b"data: {",
     b"[1, 2]", b'{"input": null}', b'{"messages": [null, 1, "x", [1], {"content": {"type": 1}}]}',
     b"{" * 100_000, b"[" * 100_000,
     b'{"contents": [{"parts": [{"functionCall": 1}, {"inlineData": 2}, 3]}]}', b'{"tools": [1, {}], "messages": []}',
     b'{"choices": [{"message": {"content": "\\ud800"}}]}'],
)  # fmt: skip
def test_anything_else_is_shown_politely(strange: bytes) -> None:
    assert show(strange).endswith("\n")
    is_conversation(strange)


def test_no_credential_is_shown() -> None:
    token, key = "sk-metrion-" + "a" * 36 + "wxyz", "sk-ant-api03-" + "b" * 40
    for said in (f"My token is {token} and my key {key}.", f"no conversation {token} {key}"):
        shown = show(body(messages=[{"role": "user", "content": said}])) + show(said.encode())
        assert "a" * 12 not in shown
        assert "b" * 12 not in shown
        assert "sk-metrion-…wxyz" in shown


def spent(shown: bytes) -> float:
    """The thread's time that it takes to show a body, in seconds."""
    began = time.thread_time()
    is_conversation(shown)
    assert len(show(shown)) < 400_000
    return time.thread_time() - began


@pytest.mark.parametrize(
    "large",  # of so many megabytes; made in the test, since a parameter stays in memory until the suite ends
    [
        lambda size: body(messages=[{"role": "user", "content": "word " * 200_000 * size}]),
        lambda size: body(messages=[{"role": "user", "content": "A" * 1_000_000 * size}]),
        lambda size: b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n' * 16_000 * size,
        lambda size: (
            (body(custom_id="a", body={"messages": [{"role": "user", "content": "word " * 50}]}) + b"\n") * 3_000 * size
        ),
        lambda size: b"{" + b"x" * 1_000_000 * size,
        lambda size: b"data: " * 160_000 * size,
        lambda size: b"a-" * 500_000 * size,
        lambda size: (b'"' + b"A" * 1000 + b'",') * 1_000 * size,
    ],
    ids=["one text", "base64", "stream", "lines", "broken", "one line", "dashes", "many short runs"],
)
def test_the_time_to_show_a_body_grows_with_its_size_at_most(large: Callable[[int], bytes]) -> None:
    a_tenth = spent(large(5))
    assert spent(large(50)) < 40 * a_tenth + 1, "s; 100 tenths where it grew with the square"


def said_by(exchange: Exchange) -> list[str]:
    """Words of the assistant's, found in the body by another way: every string under a member that holds words."""
    words: list[str] = []

    def look(value: object) -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                if name in ("text", "content", "completion") and isinstance(each, str):
                    words.extend(each.split()[:3])
                elif name not in ("logprobs", "annotations", "citations", "search_results", "groundingMetadata"):
                    look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    text = exchange.response_body.decode("utf-8", "replace")
    if exchange.streamed:
        return streamed_by(text)
    if text.lstrip().startswith("{"):
        document = json.loads(text)
        look([document.get(name) for name in ("choices", "candidates", "content", "completion", "output", "outputs")])
    return words


def streamed_by(text: str) -> list[str]:
    """The first words of the first answer in a stream of events."""
    pieces = []
    for line in text.splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        delta = event.get("delta")
        if isinstance(delta, dict) and event.get("type") == "content_block_delta":
            pieces.append(delta.get("text") or "")
        elif event.get("type") == "response.output_text.delta":
            pieces.append(delta)
        for choice in event.get("choices") or ():
            content = (choice.get("delta") or {}).get("content")
            pieces.append(content if choice.get("index", 0) == 0 and isinstance(content, str) else "")
        for candidate in event.get("candidates") or ():
            parts = (candidate.get("content") or {}).get("parts") or ()
            pieces += [part.get("text") or "" for part in parts if candidate.get("index", 0) == 0]
    return "".join(pieces).split()[:5]


def test_every_recorded_exchange_renders_and_has_the_assistants_words() -> None:
    seen = words_seen = 0
    for exchange in exchanges():
        if exchange.request_body.startswith(b"base64:") or exchange.response_body.startswith(b"base64:"):
            continue  # as the recording has it; nothing on a wire looks so
        asked, answered = show(exchange.request_body), show(exchange.response_body)
        for shown in (asked, answered):
            assert "could not be read" not in shown, exchange.id
        if exchange.kind in KINDS and exchange.status == 200:
            seen += 1
            assert "not a conversation" not in answered, exchange.id
            words = said_by(exchange) if len(answered) < 250_000 else []
            missing = [word for word in words if word not in answered and "\\" not in word and "sk-" not in word]
            assert not missing, (exchange.id, missing)
            words_seen += len(words)
    assert seen >= at_least(2000, 30)
    assert words_seen >= at_least(6000, 50)


@pytest.mark.parametrize("exchange", [each for each in written() if each.streamed], ids=lambda each: each.id)
def test_a_written_stream_renders(exchange: Exchange) -> None:
    for end in range(0, len(exchange.response_body), 37):
        assert show(exchange.response_body[:end]).endswith("\n")
