"""What is read in a provider's own path: its row, the ids and the model in it."""

from __future__ import annotations

import pytest

from metrion.admission.paths import (
    deployment,
    has_version_within,
    model_in,
    output_name,
    parameter,
    row_of,
    split,
    without_version,
)
from metrion.endpoints import GOOGLE_PATHS, OTHER, PATHS, Path
from metrion.providers import PROVIDERS

PLAIN, GOOGLE = PROVIDERS["openai"].native, PROVIDERS["google"].native


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (b"/v1/chat/completions", ["chat", "completions"]),
        (b"//v1//chat/completions/", ["chat", "completions"]),
        (b"/v1/%63hat/completions", ["chat", "completions"]),
        (b"/v1/\xff", ["\N{REPLACEMENT CHARACTER}"]),
        (b"/openai/v1/chat/completions", ["chat", "completions"]),
        (b"/api/v1/chat/completions", ["chat", "completions"]),
        (b"/openai/deployments/mine/chat/completions", ["chat", "completions"]),
        (b"/chat/v1/completions", ["chat", "v1", "completions"]),
        (b"/", []),
    ],
)
def test_words_behind_the_version(path: bytes, words: list[str]) -> None:
    assert without_version(split(path)) == words


@pytest.mark.parametrize(
    ("path", "is_whole"),
    [
        (b"/openai/v1/chat/completions", True),
        (b"/api/v1/chat/completions", True),
        (b"/openai/deployments/mine/chat/completions", True),
        (b"/chat/completions", False),
        (b"/chat/v1/completions", False),
    ],
)
def test_a_version_within(path: bytes, *, is_whole: bool) -> None:
    assert has_version_within(path) is is_whole


@pytest.mark.parametrize(
    ("words", "row", "read_back"),
    [
        ("chat/completions", PATHS["chat/completions"], None),
        ("chat/completions/chatcmpl-1", PATHS["chat/completions/*"], "chatcmpl-1"),
        ("threads/t/runs/r", PATHS["threads/*/runs/*"], "r"),
        ("threads/t/runs", PATHS["threads/*/runs"], None),
        ("threads/t/runs/r/steps", Path(PATHS["threads/*/runs/*"].operation), None),
        ("videos/characters", PATHS["videos/characters"], None),
        ("videos/video_1", PATHS["videos/*"], "video_1"),
        ("nobody/knows", Path(OTHER), None),
        ("", Path(OTHER), None),
    ],
)
def test_row_of_a_plain_path(words: str, row: Path, read_back: str | None) -> None:
    assert row_of(PLAIN, [word for word in words.split("/") if word]) == (row, read_back)


@pytest.mark.parametrize(
    ("words", "row", "read_back"),
    [
        ("models/m:generateContent", GOOGLE_PATHS[":generateContent"], None),
        ("publishers/mistralai/models/m:rawPredict", GOOGLE_PATHS["mistralai:rawPredict"], None),
        ("publishers/anthropic/models/m:rawPredict", GOOGLE_PATHS[":rawPredict"], None),
        ("models/m:unheardOf", Path(OTHER), None),
        ("models/m", Path(GOOGLE_PATHS["models"].operation), None),
        ("files/f:download", GOOGLE_PATHS[":download"], "f"),
        ("batches/b", GOOGLE_PATHS["batches/*"], "b"),
        ("batches/b:cancel", GOOGLE_PATHS[":cancel"], None),
    ],
)
def test_row_of_a_path_of_googles(words: str, row: Path, read_back: str | None) -> None:
    assert row_of(GOOGLE, words.split("/")) == (row, read_back)


@pytest.mark.parametrize(
    ("words", "model"),
    [
        ("models/m:generateContent", "m"),
        ("models/m", "m"),
        ("tunedModels/m:generateContent", "tunedModels/m"),
        ("projects/p/locations/l/publishers/google/models/m:predict", "m"),
        ("publishers/google/models/m:predict", "m"),
        ("models", None),
        ("models/:generateContent", None),
        ("cachedContents/c", None),
    ],
)
def test_model_in_a_path(words: str, model: str | None) -> None:
    assert model_in(words.split("/")) == model


def test_a_deployment_stands_for_a_model() -> None:
    assert deployment(["openai", "deployments", "mine", "chat"]) == "mine"
    assert deployment(["deployments"]) is None
    assert deployment(["chat", "completions"]) is None


@pytest.mark.parametrize(
    ("row", "query", "name"),
    [
        (PATHS["files/*/content"], b"", "files/id"),
        (PATHS["batches/*/results"], b"limit=10", "batch/id"),
        (PATHS["batches/*/results"], b"pagination_token=a%2Fb", "batch/id?a/b"),
        (PATHS["responses/*"], b"", None),
    ],
)
def test_the_name_of_an_output(row: Path, query: bytes, name: str | None) -> None:
    assert output_name(row, "id", query) == name


def test_the_first_parameter_that_has_a_value() -> None:
    assert parameter(b"model=&model=a%20b&model=c", b"model") == "a b"
    assert parameter(b"", b"model") is None
