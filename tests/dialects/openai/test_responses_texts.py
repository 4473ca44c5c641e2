"""The words of OpenAI's Responses."""

from __future__ import annotations

from typing import Any

import pytest

from metrion.dialects.openai.responses_texts import TEXTS
from metrion.dialects.reading.texts import Asked
from tests.dialects.said import Said, answer, request


def delta(kind: str, text: str, at: int = 0) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": at, "content_index": 0, "delta": text}


def added(at: int = 0, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": at, "item": item}


MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Yes"}, {"type": "refusal", "refusal": "No"}]}


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([added(type="message"), delta("output_text", "One"), delta("output_text", ", two.")],
         ({(0, 0): "One, two."}, {}, set())),
        ([added(1, type="function_call", name="f"), delta("function_call_arguments", "{}", 1)],
         ({(1, "call"): "{}"}, {(1, "call"): "f"}, set())),
        ([added(type="reasoning"), delta("reasoning_summary_text", "Hm")], ({(0, "thought"): "Hm"}, {}, {"reasoned"})),
        ([added(type="web_search_call")], ({}, {}, {"unknown"})),
        ([{"output": [MESSAGE]}], ({(0, 0): "Yes", (0, 1): "No"}, {}, set())),
        ([{"output": [{"type": "reasoning", "summary": [{"text": "Hm"}]},
                      {"type": "custom_tool_call", "name": "g", "input": "x"}]}],
         ({(0, "thought"): "Hm", (1, "call"): "x"}, {(1, "call"): "g"}, {"reasoned"})),
        ([{"output": [{"type": "computer_call"}]}], ({}, {}, {"unknown"})),
        ([{"type": ["x"]}, {"output": 7}], ({}, {}, set())),
    ],
    ids=["stream", "call", "reasoning", "search", "whole", "whole, reasoned", "computer", "nonsense"],
)  # fmt: skip
def test_answers(documents: list[dict[str, Any]], said: Said) -> None:
    assert answer(TEXTS, *documents) == said


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"input": "Hello"}, Asked(texts=["Hello"], messages=1)),
        ({"instructions": "Be brief.", "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
         Asked(texts=["Be brief.", "Hi"], messages=2, system=True)),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"},
                    {"type": "function_call_output", "output": "4"}]},
         Asked(texts=["f", "{}", "4"], messages=2, calls=1)),
        ({"input": [{"type": "item_reference"}]}, Asked(messages=1, unknown=True)),
        ({"input": "Hi", "previous_response_id": "resp_1"}, Asked(texts=["Hi"], messages=1, unknown=True)),
        ({"input": "Hi", "tools": [{"type": "function", "name": "f"}], "tool_choice": "required"},
         Asked(texts=["Hi"], messages=1, tools=[{"type": "function", "name": "f"}], forced=True)),
        ({"input": "Hi", "tools": [{"type": "web_search"}]}, Asked(texts=["Hi"], messages=1, unknown=True)),
        ({"input": "Hi", "text": {"format": {"schema": {"a": 1}}}, "reasoning": {"effort": "high"}},
         Asked(texts=["Hi", '{"a":1}'], messages=1, reasons=True)),
    ],
    ids=["text", "instructions", "calls", "reference", "kept elsewhere", "tool", "search", "schema and effort"],
)  # fmt: skip
def test_requests(document: dict[str, Any], expected: Asked) -> None:
    assert request(TEXTS, document) == expected


def test_an_answer_is_a_list_of_items() -> None:
    assert TEXTS.in_items
