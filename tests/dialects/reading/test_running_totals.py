"""Usages of one stream, one after another."""

from typing import Any

import pytest

from metrion.dialects.reading.running_totals import latest

CHAT = {"prompt_tokens": 123, "completion_tokens": 20, "total_tokens": 143}
CACHED = CHAT | {"prompt_tokens_details": {"cached_tokens": 100}}
GEMINI = {"promptTokenCount": 10, "candidatesTokenCount": 20, "thoughtsTokenCount": 5, "totalTokenCount": 35}


@pytest.mark.parametrize(
    ("known", "news", "expected"),
    [
        (CHAT, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, CHAT),
        (CHAT, {"prompt_tokens": None, "completion_tokens": None}, CHAT),
        (CHAT, {"prompt_tokens": 0, "completion_tokens": 30, "total_tokens": 30},
         {"prompt_tokens": 123, "completion_tokens": 30, "total_tokens": 153}),
        (CHAT, {"prompt_tokens": 123, "total_tokens": 123}, CHAT),
        (CHAT | {"cost": 1, "prompt_tokens_details": {"cached_tokens": 100}},
         {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "cost": 0,
          "prompt_tokens_details": {"cached_tokens": 0}},
         CHAT | {"cost": 1, "prompt_tokens_details": {"cached_tokens": 100}}),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 55, "reasoning_tokens": 40},
         {"prompt_tokens": 0, "completion_tokens": 6, "total_tokens": 50, "reasoning_tokens": 44},
         {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 60, "reasoning_tokens": 44}),
        ({"input_tokens": 123, "output_tokens": 1, "cache_read_input_tokens": 7},
         {"input_tokens": 0, "output_tokens": 20, "cache_read_input_tokens": 0},
         {"input_tokens": 123, "output_tokens": 20, "cache_read_input_tokens": 7}),
        (GEMINI, {"promptTokenCount": 10, "totalTokenCount": 10}, GEMINI),
        (CHAT, {"prompt_tokens": 123, "completion_tokens": "9"},
         {"prompt_tokens": 123, "completion_tokens": "9", "total_tokens": 123}),
        (CHAT, {"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130},
         {"prompt_tokens": 123, "completion_tokens": 30, "total_tokens": 153}),
        (CHAT, {"prompt_tokens": 123, "completion_tokens": 5, "total_tokens": 128}, CHAT),
        (GEMINI, GEMINI | {"candidatesTokenCount": 19, "totalTokenCount": 34}, GEMINI),
        (CACHED, CHAT | {"prompt_tokens_details": {"cached_tokens": 0}}, CACHED),
        (CHAT | {"completion_tokens_details": {"reasoning_tokens": 7}}, CHAT,
         CHAT | {"completion_tokens_details": {"reasoning_tokens": 7}}),
        (GEMINI | {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}]},
         {"promptTokenCount": 0, "totalTokenCount": 0, "promptTokensDetails": []},
         GEMINI | {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}]}),
    ],
)  # fmt: skip
def test_zeros_after_counts_do_not_win(known: dict[str, Any], news: dict[str, Any], expected: dict[str, Any]) -> None:
    assert latest(known, news) == expected


@pytest.mark.parametrize(
    ("known", "news"),
    [
        (CHAT, {"prompt_tokens": 123, "completion_tokens": 30, "total_tokens": 153}),
        ({"prompt_tokens": 0, "completion_tokens": 0}, CHAT),
        (GEMINI, GEMINI | {"promptTokenCount": 9, "totalTokenCount": 34}),  # a provider corrects itself
        ({"input_tokens": 123, "cache_read_input_tokens": 7, "output_tokens": 2},
         {"input_tokens": 80, "cache_read_input_tokens": 0, "output_tokens": 20}),
        (CACHED, CHAT | {"prompt_tokens_details": {"cached_tokens": 90}}),
        ({"prompt_tokens": True, "completion_tokens": 1}, {"prompt_tokens": 0, "completion_tokens": 2}),
    ],
)  # fmt: skip
def test_any_other_news_stand(known: dict[str, Any], news: dict[str, Any]) -> None:
    assert latest(known, news) is news
