from __future__ import annotations

import pytest

from metrion.control import check_name, suggestion
from metrion.errors import ControlError


@pytest.mark.parametrize("name", ["a", "7", "laptop", "jane.doe@example.com", "ci_2-b", "x" * 64])
def test_names_that_can_be_used(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a\n", "-a", ".a", "é", "a/b", "x" * 65, "a\0", "'; DROP TABLE tokens"]
)
def test_names_that_cannot_be_used(name: str) -> None:
    with pytest.raises(ControlError, match="1 to 64 letters, digits"):
        check_name(name)


@pytest.mark.parametrize(
    ("word", "suggested"), [("opnai", " Did you mean 'openai'?"), ("OpenAI", " Did you mean 'openai'?"), ("zzz", "")]
)
def test_a_name_that_is_nearly_right_gets_a_suggestion(word: str, suggested: str) -> None:
    assert suggestion(word, ["openai", "xai"]) == suggested
