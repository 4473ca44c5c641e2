"""Counts of tokens: OpenAI's own, at any length, of any text, and none without the package."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrion.estimates import tokenizers
from metrion.estimates.families import CL100K, O200K
from metrion.estimates.tokenizers import SLICE, Counter

needs_tokenizer = pytest.mark.skipif(
    not tokenizers.is_available(), reason="there is no tokenizer: pip install 'metrion[estimates]'"
)


@pytest.fixture
def count() -> Counter:
    found = tokenizers.counter(O200K)
    assert found is not None
    return found


@needs_tokenizer
@pytest.mark.parametrize(
    ("encoding", "text", "tokens"),
    [
        # As OpenAI's tokenizer page, and tiktoken, count them.
        (O200K, "", 0),
        (O200K, "hello world", 2),
        (O200K, "antidisestablishmentarianism", 6),
        (O200K, "2 + 2 = 4", 7),
        (O200K, "お誕生日おめでとう", 8),
        (CL100K, "antidisestablishmentarianism", 6),
        (CL100K, "2 + 2 = 4", 7),
        (CL100K, "お誕生日おめでとう", 9),
        (O200K, "<|endoftext|>", 7),  # a text, and no special token
        (O200K, "half of a pair: \ud83d", 6),
    ],
)
def test_tokens(encoding: str, text: str, tokens: int) -> None:
    found = tokenizers.counter(encoding)
    assert found is not None
    assert found(text) == tokens


@needs_tokenizer
@pytest.mark.parametrize("unit", ["the quick brown fox, ", '{"a": [1, 2]}', "漢字かな交じり文", "\n", "no-spaces-here"])
def test_a_long_text_has_as_many_tokens_as_its_parts(count: Counter, unit: str) -> None:
    whole = tokenizers._bindings()
    assert whole is not None
    text = unit * (5 * SLICE // len(unit))
    exact = whole.tokenizer_for_encoding(O200K).count(text)
    assert abs(count(text) - exact) <= 2 * len(text) / SLICE + 1


@needs_tokenizer
def test_a_text_made_to_be_hard_takes_no_longer_than_another(count: Counter) -> None:
    texts = ["a" * 1_000_000, " " * 1_000_000, "".join(random.Random(2).choices("abcdefg", k=1_000_000))]
    for text in texts:
        began = time.thread_time()
        count(text)
        assert time.thread_time() - began < 5


@pytest.fixture
def unloaded() -> Iterator[None]:
    """Nothing is loaded before the test, and nothing of it stays."""
    caches = (tokenizers.is_available, tokenizers.counter, tokenizers._bindings)
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()


@pytest.mark.usefixtures("unloaded")
def test_without_the_package_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not tokenizers.is_available()
    assert tokenizers.counter(O200K) is None


@pytest.mark.usefixtures("unloaded")
def test_a_package_that_cannot_be_loaded_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (broken := tmp_path / "_bindings.so").write_bytes(b"built for another machine")
    loader = importlib.machinery.ExtensionFileLoader("bpe_openai._bindings", str(broken))
    spec = importlib.util.spec_from_file_location("bpe_openai._bindings", broken, loader=loader)
    monkeypatch.setattr(tokenizers, "_spec", lambda: spec)
    assert tokenizers.counter(O200K) is None
