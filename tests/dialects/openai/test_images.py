"""Images, whole and streamed."""

import json
from decimal import Decimal
from typing import Any

import pytest

from metrion.dialects.openai.images import DIALECT
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.metering.tap import Tap
from tests.dialects.read import drafted, read_documents

USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 10},
    "output_tokens": 4160,
    "total_tokens": 4170,
}
READ = {"input_tokens": 10, "input_image_tokens": 0, "output_tokens": 4160}
DETAILS = {"output_tokens_details": {"image_tokens": 4000, "text_tokens": 160}}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"created": 1, "data": [{"b64_json": "iVBO"}], "usage": USAGE}, READ | {"output_image_tokens": 4160}),
        ({"created": 1, "data": [{"b64_json": "iVBO"}], "usage": USAGE | DETAILS},
         READ | {"output_image_tokens": 4000}),
        ({"data": [], "usage": USAGE | {"output_tokens_details": {}}}, READ | {"output_image_tokens": 4160}),
        ({"data": [], "usage": USAGE | {"output_tokens_details": {"text_tokens": 160}}}, READ),
        ({"type": "image_generation.completed", "b64_json": "iVBO", "usage": USAGE},
         READ | {"output_image_tokens": 4160}),
        ({"type": "image_edit.completed", "b64_json": "iVBO", "usage": USAGE | DETAILS},
         READ | {"output_image_tokens": 4000}),
        ({"type": "image_generation.partial_image", "b64_json": "iVBO", "partial_image_index": 0}, {}),
        ({"data": [{"url": "https://example.com/1.png"}], "usage": {"cost_in_usd_ticks": 200000000}},
         {"provider_cost_usd": Decimal("0.02")}),
        ({"created": 1, "data": [{"url": "https://example.com/1.png", "revised_prompt": "x"}]}, {}),
    ],
    ids=["whole", "whole, with details", "no details", "text only", "streamed", "streamed, with details", "partial",
         "xAI", "DALL·E"],
)  # fmt: skip
def test_usage(document: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_documents(DIALECT, document) == expected


def test_what_another_model_writes_of_a_drawing_is_billed_under_its_name() -> None:
    written = {"model": "gpt-6-luna", "input_tokens": 40, "output_tokens": 900, "reasoning_tokens": 100,
               "total_tokens": 940}  # fmt: skip
    draft = drafted(DIALECT, {"created": 1, "data": [{"b64_json": "PHN2"}], "usage": USAGE, "svg_usage": written})
    assert json.loads(draft.usage_source or "") == {**USAGE, "svg_usage": written}
    shares = DIALECT.usage(UsageReader(draft.usage or {})).shares or ()
    assert [(model, share.input_tokens, share.output_tokens, share.reasoning_tokens) for model, share in shares] == [
        (None, 10, 4160, None),
        ("gpt-6-luna", 40, 900, 100),
    ]
    alone = drafted(DIALECT, {"created": 1, "data": [{"b64_json": "PHN2"}], "svg_usage": written})
    assert [model for model, _ in DIALECT.usage(UsageReader(alone.usage or {})).shares or ()] == ["gpt-6-luna"]


def test_partial_images_are_passed_over_and_the_last_event_ends_the_stream() -> None:
    tap = Tap("openai_images", content_type="text/event-stream", content_encoding=None, status=200)
    for index in range(3):
        tap.feed(b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","b64_json":"')
        for _ in range(40):
            tap.feed(b"QUJD" * 4096)
        tap.feed(b'","partial_image_index":%d}\n\n' % index)
    assert (tap.terminal, tap.reading.usage) == (False, None)
    tap.feed(b'data: {"type":"image_generation.completed","b64_json":"' + b"QUJD" * 50_000)
    tap.feed(b'","usage":{"input_tokens":3,"output_tokens":272}}\n\n')
    assert tap.terminal
    assert tap.reading.usage is not None
    assert (tap.reading.usage.output_tokens, tap.reading.usage.output_image_tokens) == (272, 272)
    assert tap.reading.warnings == ()
