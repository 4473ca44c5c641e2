"""Numbers that are believed, and those that are not."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from metrion.dialects.reading.usage_reader import MOST, UsageReader
from metrion.model import Usage


@pytest.mark.parametrize(
    ("value", "ask", "found", "is_unreadable"),
    [
        (5, lambda f: f.count("x"), 5, False),
        (0, lambda f: f.count("x"), 0, False),
        (None, lambda f: f.count("x"), None, False),
        (MOST, lambda f: f.count("x"), MOST, False),
        (MOST + 1, lambda f: f.count("x"), None, True),
        (-1, lambda f: f.count("x"), None, True),
        (True, lambda f: f.count("x"), None, True),
        (Decimal("5.0"), lambda f: f.count("x"), None, True),
        (Decimal("NaN"), lambda f: f.count("x"), None, True),
        ("5", lambda f: f.count("x"), None, True),
        ({"y": 5}, lambda f: f.count("x", "y"), 5, False),
        ({"y": 5}, lambda f: f.count("x", "y", "z"), None, True),
        ([5], lambda f: f.count("x", "y"), None, True),
        ({"y": 5, "z": 0}, lambda f: f.counts(("z", "a", "y"), "x"), [0, None, 5], False),
        ({"y": 5, "z": None}, lambda f: f.counts(("y", "z"), "x"), [5, None], False),
        ({"y": "5", "z": 5}, lambda f: f.counts(("y", "z"), "x"), [None, 5], True),
        ({"y": True}, lambda f: f.counts(("y",), "x"), [None], True),
        ([5], lambda f: f.counts(("y", "z"), "x"), [None, None], True),
        (None, lambda f: f.counts(("y", "z"), "x"), [None, None], False),
        (5, lambda f: f.counts(("x", "y")), [5, None], False),
        (None, lambda f: f.has_any(frozenset("xy")), True, False),
        (5, lambda f: f.has_any(frozenset("yz")), False, False),
        ({"y": None}, lambda f: f.has_any(frozenset("yz"), "x"), True, False),
        (5, lambda f: f.has_any(frozenset("yz"), "x"), False, False),
        (5, lambda f: f.seconds("x"), 5.0, False),
        (Decimal("1.5"), lambda f: f.seconds("x"), 1.5, False),
        (MOST, lambda f: f.seconds("x"), None, True),
        (Decimal("1e400"), lambda f: f.seconds("x"), None, True),
        (Decimal("0.1"), lambda f: f.dollars("x"), Decimal("0.1"), False),
        ("0.1", lambda f: f.dollars("x"), None, False),  # the cost can be computed all the same
        ({"a": 1, "b": 0, "c": None}, lambda f: f.calls("x"), {"a": 1}, False),
        ({"a": 1, "b": "1"}, lambda f: f.calls("x"), {"a": 1}, True),
        ([1], lambda f: f.calls("x"), None, True),
        ([{"k": "A", "n": 1}, {"k": "A", "n": 2}, {"k": "B"}], lambda f: f.tally("x", by="k", of="n"), {"A": 3}, False),
        ([{"k": "A", "n": 1}, {"k": "A", "n": "2"}], lambda f: f.tally("x", by="k", of="n"), {}, True),
        ([{"k": "A", "n": 1}, 5], lambda f: f.tally("x", by="k", of="n"), {"A": 1}, True),
    ],
)
def test_what_is_there_is_read_or_doubted(
    value: Any, ask: Callable[[UsageReader], Any], found: Any, *, is_unreadable: bool
) -> None:
    reader = UsageReader({"x": value})
    assert ask(reader) == found
    assert reader.is_unreadable is is_unreadable
    assert bool(reader.warnings) is (is_unreadable or isinstance(value, str))


def test_what_stands_under_a_name_is_read_without_naming_it() -> None:
    reader = UsageReader({"tools": {"a": {"n": 0, "m": {}, "o": None}, "b": 1, "secret": {"secret": "x", "n": 2}}})
    objects = reader.objects("tools") or {}
    assert {name: each.own_counts() for name, each in objects.items()} == {"a": {"n": 0}, "secret": {"n": 2}}
    assert reader.warnings == ["usage.tools.*.* is no count"]
    assert (reader.objects("none"), UsageReader({"tools": 5}).objects("tools")) == (None, None)


def test_sums_that_are_no_count_are_unknown_and_told_also_of_shares() -> None:
    reader = UsageReader({})
    share = Usage(input_tokens=MOST + 1, output_tokens=3)
    usage = Usage(input_tokens=5, output_tokens=MOST + 1, server_tools={"a": MOST + 1, "b": 1}, shares=(("m", share),))
    assert reader.checked(usage) == Usage(
        input_tokens=5, server_tools={"b": 1}, shares=(("m", Usage(output_tokens=3)),)
    )
    assert reader.warnings == [
        "the sum for output_tokens is no count",
        "the sum for server_tools is no count",
        "the sum for input_tokens is no count",
    ]
    assert reader.is_unreadable
