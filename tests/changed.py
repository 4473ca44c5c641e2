"""Recorded exchanges that are read otherwise than the independent reader of the corpus reads them, and why.

For each, by the field of ``expected``: what the corpus has, and what is right. :mod:`tests.corpus` puts the second in
place of the first, and ``tests/dialects/test_changed.py`` holds both.
"""

from __future__ import annotations

from typing import Any

_MORE_CACHED_THAN_PROMPT = {
    "azure-chat-144412714f02": 417,
    "azure-chat-c00c91cd81fe": 416,
    "azure-chat-14ac3ad52ed8": 492,
    "azure-chat-e54267429631": 493,
    "azure-chat-c165f6f297b6": 539,
    "azure-chat-055ba94092c7": 314,
    "azure-chat-106c7b451edf": 314,
    "azure-chat-977a29f0cc8e": 161,
    "azure-chat-961f8ca004c2": 192,
    "azure-chat-480003280886": 157,
}
"""The total says that the cache is a part of the prompt, and the part is larger: how much was cached is not known."""

_MORE_REASONING_THAN_OUTPUT = {
    "openrouter-chat-70a7078221d0": 553,
    "openrouter-chat-f224dc5fab22": 235,
    "openrouter-chat-c82b8136aa38": 361,
    "openrouter-chat-dc556bdb7a7a": 246,
    "openrouter-chat-287c1d4a846b": 758,
    "openrouter-chat-2776132ae32a": 452,
    "openrouter-chat-ea4f1053ceb3": 452,
    "openrouter-chat-7f9c994c5d49": 665,
    "openrouter-chat-09daf1bf81e8": 466,
    "openrouter-chat-d131e74a1a79": 277,
    "openrouter-chat-470a27c8ab07": 183,
}
"""The same of reasoning and completion. What these cost is known all the same: the provider reports it."""

_OWN_KEY = {
    "openrouter-chat-ed238030c58b": 6.3e-06,
    "openrouter-chat-79894e338879": 3.6e-06,
}
"""The request went out with the caller's own key: the fee is 0, and the cost is the upstream's."""

_NO_BLANK_LINE = ("openrouter-chat-a3e118dba556", "openrouter-chat-19db0e5ea851", "openrouter-chat-10c6ede09b04")
"""Streams whose last event has no blank line, and is read all the same."""

CHANGED: dict[str, dict[str, tuple[Any, Any]]] = {
    **{name: {"cache_read_tokens": (count, None)} for name, count in _MORE_CACHED_THAN_PROMPT.items()},
    **{name: {"reasoning_tokens": (count, None)} for name, count in _MORE_REASONING_THAN_OUTPUT.items()},
    **{name: {"provider_cost_usd": (0, cost)} for name, cost in _OWN_KEY.items()},
    "openai-images-f22be8b4e821": {"output_image_tokens": (None, 4160)},  # the endpoint makes nothing but images
}
DOUBTFUL = frozenset({*_MORE_CACHED_THAN_PROMPT, *_MORE_REASONING_THAN_OUTPUT})
"""Those in which counts contradict one another."""
NO_BLANK_LINE = frozenset(_NO_BLANK_LINE)
