"""The words of Anthropic's messages."""

from __future__ import annotations

from typing import Any

import pytest

from metrion.dialects.anthropic.messages_texts import TEXTS
from metrion.dialects.reading.texts import Asked
from tests.dialects.said import Said, answer, request


def start(at: int = 0, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": at, "content_block": block}


def delta(at: int = 0, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": at, "delta": delta}


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([start(type="text", text=""), delta(text="One"), delta(text=", two.")],
         ({(0, "text"): "One, two."}, {}, set())),
        ([start(1, type="tool_use", name="f", input={}), delta(1, partial_json='{"a"'), delta(1, partial_json=":1}")],
         ({(1, "call"): '{"a":1}'}, {(1, "call"): "f"}, set())),
        ([start(type="thinking", thinking=""), delta(thinking="Hm")], ({(0, "thought"): "Hm"}, {}, {"reasoned"})),
        ([start(type="redacted_thinking", data="x")], ({}, {}, {"reasoned"})),
        ([delta(signature="c2ln")], ({}, {}, {"reasoned"})),
        ([start(type="server_tool_use", name="web_search")], ({}, {}, {"unknown"})),
        ([{"content": [{"type": "text", "text": "Yes"}, {"type": "tool_use", "name": "f", "input": {"a": 1}}]}],
         ({(0, "text"): "Yes", (1, "call"): '{"a": 1}'}, {(1, "call"): "f"}, set())),
        ([{"content": 7, "delta": 7, "content_block": 7}], ({}, {}, set())),
    ],
    ids=["stream", "call", "thought", "hidden thought", "signature", "server tool", "whole", "nonsense"],
)  # fmt: skip
def test_answers(documents: list[dict[str, Any]], said: Said) -> None:
    assert answer(TEXTS, *documents) == said


USER = {"role": "user", "content": "Hello"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"system": "Be brief.", "messages": [USER]},
         Asked(texts=["Be brief.", "Hello"], messages=1, reasons=False)),
        ({"messages": [{"content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]},
                       {"content": [{"type": "tool_result", "content": [{"type": "text", "text": "4"}]}]},
                       {"content": [{"type": "thinking", "thinking": "not read again"}]}]},
         Asked(texts=["f", '{"a": 1}', "4"], messages=3, calls=1, reasons=False)),
        ({"messages": [{"content": [{"type": "image"}]}]}, Asked(messages=1, unknown=True, reasons=False)),
        ({"messages": [USER], "tools": [TOOL], "tool_choice": {"type": "tool"}},
         Asked(texts=["Hello"], messages=1, tools=[TOOL | {"parameters": {"type": "object"}}], forced=True,
               reasons=False)),
        ({"messages": [USER], "tools": [{"type": "web_search_20250305"}]},
         Asked(texts=["Hello"], messages=1, unknown=True, reasons=False)),
        ({"messages": [USER], "thinking": {"type": "enabled"}}, Asked(texts=["Hello"], messages=1, reasons=True)),
    ],
    ids=["system", "calls", "image", "tool", "server tool", "thinking"],
)  # fmt: skip
def test_requests(document: dict[str, Any], expected: Asked) -> None:
    assert request(TEXTS, document) == expected
