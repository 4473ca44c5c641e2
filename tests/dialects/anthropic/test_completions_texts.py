"""The words of Anthropic's text completions."""

from __future__ import annotations

from metrion.dialects.anthropic.completions_texts import TEXTS
from metrion.dialects.reading.texts import Asked
from tests.dialects.said import answer, request


def test_answers() -> None:
    events = ({"completion": " One"}, {"type": "ping"}, {"completion": ", two."})
    assert answer(TEXTS, *events) == ({"completion": " One, two."}, {}, set())
    assert answer(TEXTS, {"completion": 7}) == ({}, {}, {"unknown"})


def test_requests() -> None:
    assert request(TEXTS, {"prompt": "\n\nHuman: Hello"}) == Asked(texts=["\n\nHuman: Hello"])
    assert request(TEXTS, {"prompt": ["Hello"]}) == Asked(unknown=True)
