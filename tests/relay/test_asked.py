"""What a body asks for, as tables: what is read, and what nobody should guess at."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from metrion.metering.request_reader import RequestReader
from metrion.model import Asked
from metrion.relay.asked import TOO_LARGE, before_body, read
from metrion.relay.held_body import MOST_HELD
from tests.corpus import exchanges, needs_corpus

NO_JSON = "its body is no JSON that every server reads alike"
TWICE = "its body names a model twice"


def chat(model: str = "gpt-4o", **members: object) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": 'Say "model".'}], **members}).encode()


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (chat(), ("gpt-4o",)),
        (b' \n{"a": 1, "model" : "gpt-4o" }\n', ("gpt-4o",)),
        (b'{"mod\\u0065l": "gpt-\\u0034o"}', ("gpt-4o",)),
        (chat(tools=[{"parameters": {"properties": {"model": {}, "Model": {}}}}]), ("gpt-4o",)),
        (chat(models=["gpt-4o-mini", "gpt-4o"]), ("gpt-4o", "gpt-4o-mini")),
        (chat(user="\ud83d"), ("gpt-4o",)),  # a text that was cut within a character
        (b'{"model": "gpt-4o", "input": "\\\\ud83d"}', ("gpt-4o",)),
        (b'{"requests": [{"custom_id": "1", "params": {"model": "a"}}, {"params": {"model": "b"}}]}', ("a", "b")),
        (b'{"model": "m", "requests": [{"custom_id": "1", "body": {"messages": []}}]}', ("m",)),
        (b'{"requests": [{"body": {"model": "m"}}]}', ("m",)),
        (b'{"requests": [{"model": "models/embed", "content": {}}]}', ()),  # Google's, whose model is in the path
        (b"{}", ()),
        (b"", ()),
        (b'{"model": null}', ()),
        (b'{"model": ""}', ()),
        (b'{"input_file_id": "file-1", "endpoint": "/v1/chat/completions"}', ()),
    ],
)
def test_the_models_that_a_body_names(body: bytes, models: tuple[str, ...]) -> None:
    asked = read(body)
    assert (asked.models, asked.unread) == (models, None)
    assert asked.body == body
    assert asked.model == (models[0] if len(models) == 1 else None)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"model": "a", "model": "b"}', TWICE),
        (b'{"model": "a", "m\\u006fdel": "b"}', TWICE),
        (b'{"model": "a", "MODEL": "b"}', TWICE),  # Go's readers take the last one
        (b'{"Model": "b"}', TWICE),
        (b'{"\\u004dodel": "b"}', TWICE),
        (b'{"models": ["a"], "models": ["b"]}', TWICE),
        (b'{"model": {"model": 1}, "model": "b"}', NO_JSON),
        (b'{"requests": [{"params": {"model": "a"}}], "requests": [{"params": {"model": "b"}}]}', TWICE),
        (b'{"requests": [{"params": {"model": "a"}, "params": {"model": "b"}}]}', TWICE),
        (b'{"requests": [{"params": {"model": "a", "model": "b"}}]}', TWICE),
        (b'{"requests": [{"params": {"model": "a"}}, {"params": {}}]}', "one of its requests names no model"),
        (b'{"requests": [{"params": {"model": 1}}]}', NO_JSON),
        (b'{"model": "a"}{"model": "b"}', NO_JSON),
        (b'{"model": "a"', NO_JSON),
        (b'\xef\xbb\xbf{"model": "a"}', NO_JSON),
        ('{"model": "a"}'.encode("utf-16"), NO_JSON),
        (b'[{"model": "a"}]', NO_JSON),
        (b'"model"', NO_JSON),
        (b"model=a", NO_JSON),
        (b'{"model": ["a"]}', NO_JSON),
        (b'{"model": 1}', NO_JSON),
        (b'{"model": "a", "n": [[[]]]}', NO_JSON),
        (b'{"model": "a", "temperature": NaN}', NO_JSON),
        (b'{"model": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", NO_JSON),
        (b'{"model": "%s"}' % (b"a" * 257), "the name of its model is too long"),
        (b"\x1f\x8b\x08", NO_JSON),
    ],
)
def test_what_two_servers_might_read_differently_is_unread(body: bytes, why: str) -> None:
    assert read(body) == Asked(body, unread=why)


def test_a_body_that_repeats_names_without_end_is_not_searched_without_end() -> None:
    body = b'{"model": "a", "x": [' + b'{"model":1},' * 600_000 + b"{}]}"
    assert read(body).unread == TWICE


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"max_tokens": 5}, (5, None, None)),
        ({"max_completion_tokens": 64_000, "stream": True, "n": 2}, (64_000, 2, True)),
        ({"max_output_tokens": 7, "stream": False}, (7, None, False)),
        ({"max_tokens_to_sample": 8}, (8, None, None)),
        ({"max_tokens": 5, "max_completion_tokens": 9}, (9, None, None)),
        ({"generationConfig": {"maxOutputTokens": 3, "candidateCount": 4}}, (3, 4, None)),
        ({"generation_config": {"max_output_tokens": 3, "candidate_count": 4}}, (3, 4, None)),
        ({"max_tokens": -1, "n": "two", "stream": "yes"}, (None, None, None)),
        ({"max_tokens": True, "n": 1.5}, (None, None, None)),
        ({"max_tokens": None, "generationConfig": None}, (None, None, None)),
    ],
)
def test_what_a_body_bounds(members: dict[str, object], expected: tuple[int | None, int | None, bool | None]) -> None:
    asked = read(json.dumps({"model": "gpt-4o", **members}).encode())
    assert (asked.most_output_tokens, asked.answers, asked.streamed) == expected


@pytest.mark.parametrize(
    ("headers", "unread"),
    [
        ([], None),
        ([(b"Content-Type", b"application/json; charset=utf-8")], None),
        ([(b"content-type", b"application/vnd.api+json")], None),
        ([(b"content-type", b"text/plain"), (b"content-encoding", b"identity")], None),
        ([(b"content-length", b"%d" % MOST_HELD)], None),
        ([(b"Content-Encoding", b"gzip")], "its body is compressed"),
        ([(b"content-encoding", b"identity"), (b"content-encoding", b"br")], "its body is compressed"),
        ([(b"content-type", b"multipart/form-data; boundary=x")], "its body is not application/json"),
        ([(b"content-type", b"application/x-www-form-urlencoded")], "its body is not application/json"),
        ([(b"content-type", b"application/jsonl")], "its body is not application/json"),
        (
            [(b"content-type", b"text/plain"), (b"content-type", b"application/json")],
            "its body is not application/json",
        ),
        ([(b"content-length", b"%d" % (MOST_HELD + 1))], TOO_LARGE.unread),
        ([(b"content-length", b"9" * 5000)], TOO_LARGE.unread),
    ],
)
def test_what_the_head_says_of_a_body(headers: list[tuple[bytes, bytes]], unread: str | None) -> None:
    asked = before_body(tuple(headers))
    assert (asked.unread if asked else None) == unread


def metered(body: bytes) -> str | None:
    reader = RequestReader(content_type="application/json", content_encoding=None)
    reader.feed(body)
    reader.finish()
    return reader.model


def variants(seed: int) -> Iterator[bytes]:
    chosen = random.Random(seed)
    parts = [
        b'"model":"a"', b'"model":"b"', b'"Model":"c"', b'"mod\\u0065l":"d"', b'"x":{"model":"e"}', b'"y":["model"]',
        b'"z":"\\"model\\":"', b'"model":null', b'"n":1', b'"s":"\\ud800"', b'"models":["f"]', b'"t":"\xff"',
    ]  # fmt: skip
    for _ in range(5000):
        yield b"{" + b",".join(chosen.choices(parts, k=chosen.randrange(1, 5))) + b"}"


def test_where_a_model_is_read_it_is_the_one_that_metering_reads() -> None:
    read_at_all = 0
    for body in variants(7):
        asked = read(body)
        if asked.unread is None:
            models = [model for model in asked.models if model != "f"]
            assert models in ([], [metered(body)]), body
            read_at_all += bool(models)
            pairs = json.loads(body.replace(b"\xff", b"?"), object_pairs_hook=list)
            assert sum(name.lower() == "model" for name, _ in pairs) <= 1, body
    assert read_at_all > 500


@needs_corpus
def test_recorded_requests_are_read_as_metering_reads_them() -> None:
    seen = 0
    for exchange in exchanges():
        body = exchange.request_body
        if body.startswith(b"{") and b'"requests"' not in body and (asked := read(body)).unread is None:
            assert asked.model in (None, metered(body)), exchange.id
            seen += asked.model is not None
    assert seen > 100
