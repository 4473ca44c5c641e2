# ruff: noqa: DTZ001 - times in events are naive UTC
from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from metrion.cli import tables
from metrion.cli.dollars import dollars
from metrion.cli.tables import FORMATS, shortened
from metrion.store.query import Json, Table


def one(value: Any, kind: str = "VARCHAR", name: str = "x") -> Table:
    return Table((name,), (kind,), [(value,)])


@pytest.mark.parametrize(
    ("value", "as_json", "as_csv"),
    [
        (None, None, '""'),  # alone in its line, nothing at all would be no record
        ("", "", '""'),
        (True, True, "true"),
        (2**127 - 1, 2**127 - 1, str(2**127 - 1)),
        (0, 0, "0"),
        (1.5, 1.5, "1.5"),
        (1e300, 1e300, "1e+300"),
        (float("nan"), None, "nan"),
        (float("-inf"), None, "-inf"),
        (Decimal("0E-12"), "0.000000000000", "0.000000000000"),
        (Decimal("123.450000000000"), "123.450000000000", "123.450000000000"),
        (datetime(2026, 11, 1, 10, 0, 0, 5), "2026-11-01T10:00:00.000005Z", "2026-11-01T10:00:00.000005Z"),
        (datetime(2026, 11, 1), "2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
        (date(2026, 11, 1), "2026-11-01", "2026-11-01"),
        (timedelta(days=1), "1 day, 0:00:00", '"1 day, 0:00:00"'),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001"),
        (b"\x00\xff", "00ff", "00ff"),
        ({"a": Decimal("1.10")}, {"a": "1.10"}, '"{""a"": ""1.10""}"'),
        ({1: None, None: UUID(int=0)}, {"1": None, "null": str(UUID(int=0))}, None),
        ([1, [Decimal(2), float("inf")]], [1, ["2", None]], '"[1, [""2"", null]]"'),
        (Json('{"a": [1, null]}'), {"a": [1, None]}, '"{""a"": [1, null]}"'),
        (Json("null"), None, "null"),
        (Json('{"a": NaN, "b": 1e999}'), {"a": None, "b": None}, None),
        (Json('{"a": 1,}'), '{"a": 1,}', None),
        ({"a": Json("[2]")}, {"a": [2]}, None),
        ("1e5", "1e5", "1e5"),
        ("001", "001", "001"),
        ('a,"b"\nc', 'a,"b"\nc', '"a,""b""\nc"'),
        ("größe \U0001f600", "größe \U0001f600", "größe \U0001f600"),
    ],
)
def test_values(value: Any, as_json: Any, as_csv: str | None) -> None:
    (row,) = json.loads(FORMATS["json"](one(value)), parse_constant=pytest.fail)
    assert row == {"x": as_json}
    if as_csv is not None:
        assert FORMATS["csv"](one(value)) == f"x\r\n{as_csv}\r\n"


def test_several_rows_are_one_array_and_columns_of_one_name_stay_apart() -> None:
    table = Table(("a", "a", "a_1", "b"), ("INTEGER",) * 4, [(1, 2, 3, 4), (5, 6, 7, 8)])
    assert json.loads(FORMATS["json"](table)) == [
        {"a": 1, "a_2": 2, "a_1": 3, "b": 4},
        {"a": 5, "a_2": 6, "a_1": 7, "b": 8},
    ]
    assert next(csv.reader(io.StringIO(FORMATS["csv"](table)))) == ["a", "a", "a_1", "b"]


@pytest.mark.parametrize(
    ("format_", "printed"),
    [
        ("json", "[]\n"),
        ("csv", "model,cost_usd\r\n"),
        ("table", "model    cost_usd\n-------  ----------\n"),
        ("markdown", "| model   | cost_usd   |\n|---------|------------|\n"),
    ],
)
def test_an_empty_answer_still_has_its_headers(format_: str, printed: str) -> None:
    assert FORMATS[format_](Table(("model", "cost_usd"), ("VARCHAR", "DECIMAL(18,12)"), [])) == printed


@pytest.mark.parametrize(
    ("value", "kind", "cell"),
    [
        ("1e5", "VARCHAR", "1e5"),
        ("001", "VARCHAR", "001"),
        (Decimal("0.100000000000"), "DECIMAL(18,12)", "0.100000000000"),
        (None, "VARCHAR", "NULL"),
        ("\x1b[31mred\x1b[0m", "VARCHAR", r"\x1b[31mred\x1b[0m"),
        ("two\nlines", "VARCHAR", r"two\nlines"),
        ("\u202eevil", "VARCHAR", r"\u202eevil"),
    ],
)
def test_a_cell_shows_the_value_as_it_is_and_nothing_that_steers_a_terminal(value: Any, kind: str, cell: str) -> None:
    assert FORMATS["table"](one(value, kind)).splitlines()[2].strip() == cell


def test_markdown_keeps_bars_in_their_cell() -> None:
    assert FORMATS["markdown"](one(r"a|b\|c")).splitlines()[2] == r"| a\|b\\\|c |"


def test_numbers_stand_on_the_right() -> None:
    table = Table(("n", "name"), ("HUGEINT", "VARCHAR"), [(1, "a"), (1000, "bb")])
    assert FORMATS["table"](table).splitlines()[2:] == ["   1  a", "1000  bb"]


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (Decimal(0), "0.00"),
        (Decimal("0E-12"), "0.00"),
        (Decimal("0.00012345678"), "0.0001235"),
        (Decimal("0.000123450000"), "0.0001234"),  # half to even, as everywhere
        (Decimal("0.000000000012"), "0.000000000012"),
        (Decimal("0.25"), "0.2500"),
        (Decimal("0.99999"), "1.0000"),
        (Decimal("1.23456"), "1.235"),
        (Decimal("12.3456"), "12.35"),
        (Decimal("1234.5"), "1234.50"),
        (Decimal("-0.000434567890"), "-0.0004346"),
        (83.3333, "83.33"),
    ],
)
def test_dollars_have_four_digits_and_never_less_than_their_cents(amount: Decimal | float, written: str) -> None:
    assert dollars(amount) == written


def test_a_shortened_table_has_its_decimal_points_in_one_line() -> None:
    table = Table(
        ("name", "cost_usd", "usd_per_million", "used"),
        ("VARCHAR", "DECIMAL(38,12)", "DOUBLE", "DECIMAL(18,12)"),
        [("a", Decimal("12.345678"), 4.0, Decimal("1.000000000000")), ("b", Decimal("0.000123456"), None, None)],
    )
    assert [line.split() for line in FORMATS["table"](shortened(table)).splitlines()[2:]] == [
        ["a", "12.35", "4.000", "1.000000000000"],
        ["b", "0.0001235", "NULL", "NULL"],
    ]
    (first, second) = FORMATS["table"](shortened(table)).splitlines()[2:]
    assert first.index("12.35") + 2 == second.index("0.0001235") + 1


WIDE = Table(
    ("model", "cache_read_tokens", "reasoning_tokens", "output_tokens"),
    ("VARCHAR", "BIGINT", "BIGINT", "BIGINT"),
    [("gpt-5-mini", 12345, None, 1), ("größe", 0, 7, 2)],
)
HEADING = "model         cache_read_tokens    reasoning_tokens    output_tokens"
CLOSE = "model       cache_read_tokens  reasoning_tokens  output_tokens"
BROKEN = ["model        cache  reasoning  output", "              read     tokens  tokens", "            tokens"]
BLOCK = ["model              gpt-5-mini", "cache_read_tokens  12345", "reasoning_tokens   NULL", "output_tokens      1"]


@pytest.mark.parametrize(
    ("width", "printed"),
    [(None, [HEADING]), (68, [HEADING]), (67, [CLOSE]), (62, [CLOSE]), (61, BROKEN), (37, BROKEN), (36, [*BLOCK, ""])],
)
def test_a_table_is_no_wider_than_the_terminal(
    width: int | None, printed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "terminal_width", lambda: width)
    lines = FORMATS["table"](WIDE).splitlines()
    assert [line.rstrip() for line in lines[: len(printed)]] == printed
    assert max(map(len, lines)) <= (width or 68)
    assert FORMATS["csv"](WIDE).startswith(",".join(WIDE.columns))


def test_no_rows_are_headings_however_narrow_the_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "terminal_width", lambda: 10)
    assert "model" in FORMATS["table"](Table(WIDE.columns, WIDE.types, []))


@pytest.mark.parametrize("kind", ["BIGINT", "INTEGER", "UINTEGER", "SMALLINT", "HUGEINT", "DOUBLE", "DECIMAL(38,12)"])
def test_numbers_line_up_at_the_right(kind: str) -> None:
    shown = FORMATS["table"](Table(("count_of",), (kind,), [(1,), (20,)]))
    assert [line.rstrip() for line in shown.splitlines()[2:4]] == ["         1", "        20"]
