"""The words of Gemini's ``generateContent``."""

from __future__ import annotations

from typing import Any

import pytest

from metrion.dialects.google.generate_content_texts import TEXTS
from metrion.dialects.reading.texts import Asked
from tests.dialects.said import Said, answer, request


def candidate(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"index": 0, "content": {"parts": list(parts), "role": "model"}}]}


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([candidate({"text": "One"}), candidate({"text": ", two."})], ({(0, "text"): "One, two."}, {}, set())),
        ([candidate({"text": "Hm", "thought": True}, {"text": "Yes", "thoughtSignature": "c2ln"})],
         ({(0, "thought"): "Hm", (0, "text"): "Yes"}, {}, {"reasoned"})),
        ([candidate({"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "g"}})],
         ({(0, "call", 0): '{"a": 1}'}, {(0, "call", 0): "f", (0, "call", 1): "g"}, set())),
        ([candidate({"executableCode": {"code": "1+1"}})],
         ({(0, "code", 0): "1+1"}, {(0, "code", 0): "code"}, set())),
        ([candidate({"inlineData": {"data": "AAAA"}})], ({}, {}, {"unknown"})),
        ([{"candidates": 7}, {"candidates": [{"content": 7}]}], ({}, {}, set())),
    ],
    ids=["stream", "thought", "calls", "code", "image", "nonsense"],
)  # fmt: skip
def test_answers(documents: list[dict[str, Any]], said: Said) -> None:
    assert answer(TEXTS, *documents) == said


USER = {"role": "user", "parts": [{"text": "Hello"}]}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [USER]},
         Asked(texts=["Be brief.", "Hello"], messages=2)),
        ({"contents": USER}, Asked(texts=["Hello"], messages=1)),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}]}]},
         Asked(texts=["f", '{"a": 1}'], messages=1, calls=1)),
        ({"contents": [{"parts": [{"inlineData": {}}]}]}, Asked(messages=1, unknown=True)),
        ({"contents": [USER], "tools": [{"functionDeclarations": [{"name": "f"}]}]},
         Asked(texts=["Hello"], messages=1, tools=[{"name": "f"}])),
        ({"contents": [USER], "tools": [{"googleSearch": {}}]}, Asked(texts=["Hello"], messages=1, unknown=True)),
        ({"contents": [USER], "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
         Asked(texts=["Hello"], messages=1, reasons=False)),
        ({"contents": [USER], "generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}},
         Asked(texts=["Hello"], messages=1, reasons=True)),
        ({"contents": [USER], "cachedContent": "cachedContents/1"},
         Asked(texts=["Hello"], messages=1, unknown=True)),
    ],
    ids=["system", "one content", "calls", "image", "tool", "search", "no thoughts", "thoughts", "cached"],
)  # fmt: skip
def test_requests(document: dict[str, Any], expected: Asked) -> None:
    assert request(TEXTS, document) == expected
