"""The words of chat completions and of the completions before chat."""

from __future__ import annotations

from typing import Any

import pytest

from metrion.dialects.openai.chat_texts import TEXTS
from metrion.dialects.reading.texts import Asked
from tests.dialects.said import Said, answer, request


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def call(arguments: str, name: str | None = None) -> dict[str, Any]:
    return {"index": 0, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([chunk(role="assistant", content=""), chunk(content="One"), chunk(content=", two.")],
         ({(0, "content"): "One, two."}, {}, set())),
        ([{"choices": [{"message": {"content": "One", "refusal": None}}, {"message": {"refusal": "No."}}]}],
         ({(0, "content"): "One", (1, "refusal"): "No."}, {}, set())),
        ([chunk(tool_calls=[call("", "weather")]), chunk(tool_calls=[call('{"city":')]),
          chunk(tool_calls=[call('"O"}')])],
         ({(0, "call", 0): '{"city":"O"}'}, {(0, "call", 0): "weather"}, set())),
        ([chunk(reasoning_content="Hm"), chunk(content="Yes")],
         ({(0, "reasoning"): "Hm", (0, "content"): "Yes"}, {}, {"reasoned"})),
        ([chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "reference"},
                         {"type": "text", "text": "Yes"}])],
         ({(0, "reasoning"): "Hm", (0, "content"): "Yes"}, {}, {"reasoned"})),
        ([chunk(content=[{"type": "image_url"}])], ({}, {}, {"unknown"})),
        ([chunk(audio={"data": "AAAA"})], ({}, {}, {"unknown"})),
        ([{"choices": [{"index": 0, "text": " a time"}]}], ({(0, "text"): " a time"}, {}, set())),
        ([{"choices": [7, {"delta": 7, "text": 7}]}, {"choices": {}}], ({}, {}, {"unknown"})),
    ],
    ids=["stream", "whole", "call", "reasoning", "Mistral's parts", "image", "audio", "completion", "nonsense"],
)  # fmt: skip
def test_answers(documents: list[dict[str, Any]], said: Said) -> None:
    assert answer(TEXTS, *documents) == said


USER = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"messages": [{"role": "system", "content": "Be brief."}, USER]},
         Asked(texts=["Be brief.", "Hello"], messages=2, system=True)),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "image_url"}]}]},
         Asked(texts=["Hello"], messages=1, unknown=True)),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
         Asked(texts=["f", "{}"], messages=1, calls=1)),
        ({"messages": [USER], "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {}},
         Asked(texts=["Hello"], messages=1, tools=[{"name": "f"}], forced=True)),
        ({"messages": [USER], "response_format": {"json_schema": {"schema": {"type": "object"}}}},
         Asked(texts=["Hello", '{"type":"object"}'], messages=1)),
        ({"messages": [USER], "reasoning_effort": "low", "prediction": {"content": "x"}},
         Asked(texts=["Hello"], messages=1, reasons=True, unshown=True)),
        ({"messages": [USER], "reasoning": {"effort": "none"}}, Asked(texts=["Hello"], messages=1, reasons=False)),
        ({"messages": [USER], "web_search_options": {"a": 1}}, Asked(texts=["Hello"], messages=1, unknown=True)),
        ({"prompt": ["Say this", [1, 2, 3]], "best_of": 2}, Asked(texts=["Say this"], tokens=3, unshown=True)),
        ({"prompt": [1, 2]}, Asked(tokens=2)),
    ],
    ids=["messages", "image", "earlier call", "tool", "schema", "effort", "no effort", "search", "prompts", "tokens"],
)  # fmt: skip
def test_requests(document: dict[str, Any], expected: Asked) -> None:
    assert request(TEXTS, document) == expected
