from __future__ import annotations

import pytest

from metrion.settings.command import parse_command


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (["pass", "show", "metrion"], ("pass", "show", "metrion")),
        ("vault kv get -field='the key' a/b", ("vault", "kv", "get", "-field=the key", "a/b")),
        ("echo $HOME | cat", ("echo", "$HOME", "|", "cat")),
        ([], ()),
        ("", ()),
    ],
)
def test_a_command_is_read_as_words_and_by_no_shell(written: object, words: tuple[str, ...]) -> None:
    assert parse_command(written) == words


@pytest.mark.parametrize("written", ["an 'open quote", ["a", 1], {"a": "b"}, 3, None, ["a\0b"]])
def test_what_is_no_command_is_said(written: object) -> None:
    with pytest.raises(ValueError, match="write a command and its arguments"):
        parse_command(written)
