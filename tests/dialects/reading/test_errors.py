"""Error bodies and error events as providers send them."""

import json
from typing import Any

import pytest

from metrion.dialects.reading.errors import WANTED, error_type, has_error
from metrion.parsing.json_stream import Scanner
from metrion.parsing.json_values import tree

BODIES: list[tuple[str, str | None]] = [
    # Anthropic
    ('{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}',
     "overloaded_error"),
    # OpenAI, Groq, DeepSeek
    ('{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"model_not_found"}}',
     "model_not_found"),
    ('{"error":{"message":"no","type":"server_error","param":null,"code":null}}', "server_error"),
    # Azure, OpenRouter
    ('{"error":{"code":"404","message": "Resource not found"}}', "404"),
    ('{"error":{"code":400,"message":"not a valid model ID"},"user_id":"user_1"}', "400"),
    ('{"error":{"code":"Invalid input","details":[{"type":"string_type"}],"message":"no","status":422}}',
     "Invalid input"),
    # Google, native and compatible
    ('{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}', "INVALID_ARGUMENT"),
    ('[{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED"}}]', "RESOURCE_EXHAUSTED"),
    # Mistral
    ('{"object":"error","message":"no","type":"invalid_request_prompt","param":null,"code":"3051"}',
     "invalid_request_prompt"),
    ('{"object":"error","message":"no","type":null,"param":null,"code":1800}', "1800"),
    ('{"detail":"Invalid API Key"}', "Invalid API Key"),
    ('{"detail":[{"type":"missing","loc":["body","model"],"msg":"Field required","input":{"secret":"prompt"}}]}',
     "missing"),
    # xAI
    ('{"code":"Client specified an invalid argument","error":"Model not found: grok-0"}',
     "Client specified an invalid argument"),
    # others
    ('{"error":"unauthorized"}', "unauthorized"),
]  # fmt: skip


def document(body: str) -> Any:
    scanner = Scanner(tree(WANTED))
    scanner.feed(body.encode())
    return scanner.document


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_error_type(body: str, expected: str | None) -> None:
    assert error_type(document(body)) == expected


@pytest.mark.parametrize(
    "body",
    [
        '{"error":{"message":"your prompt was: secret"}}',
        '{"error":"Incorrect API key provided: sk-secret-1"}',
        '{"error":{"code":"Bad key sk-secret-1 given","type":{"a":1}}}',
        '{"detail":"Key sk-secret-1 is invalid"}',
        '{"code":["secret"],"type":5.5}',
        json.dumps({"error": {"code": "x" * 65}}),
        '{"type":"error"}',
        "[]",
        "{}",
        '"text"',
        "null",
        "<html>",
    ],
)
def test_a_message_is_no_type(body: str) -> None:
    assert error_type(document(body)) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        *((body, True) for body, _ in BODIES if '"error"' in body),
        ('{"error":null,"choices":[]}', False),
        ('{"type":"message"}', False),
        ('{"object":"chat.completion"}', False),
        ("[]", False),
        ("", False),
    ],
)
def test_what_is_an_error_though_the_status_says_success(body: str, *, expected: bool) -> None:
    assert has_error(document(body)) is expected
