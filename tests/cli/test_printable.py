"""How wide a text is in a terminal, and how it is made to fit."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from metrion.cli.printable import cut, padded, width_of


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("ann", 3, "ann"),
        ("anna", 3, "an…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("🙂🙂🙂", 5, "🙂🙂…"),
        ("e\u0301" * 3, 3, "e\u0301" * 3),
        ("x" * 10_000, 5, "xxxx…"),
        ("", 5, ""),
    ],
)
def test_a_text_is_cut_to_the_columns_that_it_has(text: str, most: int, shown: str) -> None:
    assert cut(text, most).replace("\u0301", "") == shown.replace("\u0301", "")
    assert cell_len(cut(text, most)) <= most
    assert width_of(padded(cut(text, most), most)) == most
