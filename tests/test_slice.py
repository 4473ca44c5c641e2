"""The slice of exchanges that the project brings along: it covers every wire format, and reads as it was worked out."""

from __future__ import annotations

from typing import Any

import pytest

from metrion.dialects import DIALECTS, SESSIONS
from metrion.model import Reading, Usage
from tests.corpus import SLICE, Exchange, sessions, written
from tests.metering.test_tap import EXPECTED_NAMES
from tests.recordings import read, route

NOT_STREAMED = {
    "anthropic_batch_results", "anthropic_batches", "gemini_batch_output", "gemini_batches", "mistral_batch_output",
    "mistral_batches", "mistral_ocr", "openai_batches", "openai_embeddings", "openai_evals", "openai_speech",
    "anthropic_dreams", "anthropic_sessions", "openai_videos", "resource", "vertex_predict", "xai_batch_results",
}  # fmt: skip
"""Wire formats without a stream of their own, or whose stream is only sound."""


def differences(exchange: Exchange, reading: Reading) -> dict[str, tuple[Any, Any]]:
    """What differs from what was worked out by hand; ``None`` is another value than 0."""
    usage, expected = reading.usage or Usage(), exchange.expected
    pairs = {
        "has_usage": (reading.usage is not None, expected["has_usage"]),
        "model": (reading.model, expected["model"]),
        "service_tier": (reading.service_tier, expected["service_tier"]),
        "server_tools": (dict(usage.server_tools or {}), expected["server_tools"]),
        **{name: (getattr(usage, ours), expected[name]) for ours, name in EXPECTED_NAMES.items()},
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name not in exchange.ambiguous}


@pytest.mark.parametrize("exchange", written(), ids=lambda exchange: exchange.id)
def test_an_exchange_is_read_as_it_was_worked_out(exchange: Exchange) -> None:
    reading = read(exchange)
    assert differences(exchange, reading) == {}
    assert reading.warnings == ()
    assert (reading.error_type is not None) is bool(exchange.flags & {"error_body", "error_in_stream"})


def test_every_wire_format_is_in_it() -> None:
    assert {route(each).dialect for each in written() if not each.streamed} >= DIALECTS.keys()
    assert {route(each).dialect for each in written() if each.streamed} == DIALECTS.keys() - NOT_STREAMED
    assert {row["kind"] for row in sessions() if row["file"].endswith(".yaml")} == {"realtime"}
    assert len([row for row in sessions() if row["file"].endswith(".yaml")]) == len(SESSIONS)


def test_every_way_to_fail_and_to_be_sent_is_in_it() -> None:
    flags = {flag for each in written() for flag in each.flags}
    assert flags >= {"error_body", "error_in_stream", "truncated_stream", "background", "cache_write_1h"}
    codings = {each.response_headers.get("content-encoding") for each in written()}
    assert codings >= {None, "gzip", "br"}


def test_ids_say_who_and_what_and_are_unique() -> None:
    assert len({each.id for each in written()}) == len(written())
    for each in written():
        assert each.id.startswith(f"{each.provider}-{each.kind}-"), each.id
        assert (SLICE / each.file).is_file()
