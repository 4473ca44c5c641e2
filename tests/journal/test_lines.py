"""A line that is encoded at once says what one does that is written column by column."""

from __future__ import annotations

import json
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.journal import lines as journal_lines
from metrion.journal.lines import TEXT_CHARACTERS, encode
from metrion.model import COLUMN_TYPES, EVENT_COLUMNS, MONEY, CostSource, EndReason
from tests.store.events import event

SURE: dict[str, Any] = {
    "end_reason": EndReason.COMPLETE,
    "cost_source": CostSource.COMPUTED,
    "tags": {"team": 'größe "\n\x7f'},
    "streamed": False,
    "client_retry": 0,
    "reasoning_tokens": 2**63 - 1,
    "audio_seconds": 1.5,
    "server_tools": {"web_search": 2},
    "usage": '{"a": 1.10, "b": [12345678901234567890, 1e5], "c": "é"}',
    "computed_cost_usd": Decimal("1E-12"),
    "cost_parts": MappingProxyType({"input": Decimal("0.0000000000005"), "output": Decimal(3)}),
    "latency_ms": 1e16,
}

TEXTS = st.text(max_size=8) | st.sampled_from(["\ud800", "\x00", r"\u0000", "x" * (TEXT_CHARACTERS + 1)])
INTEGERS = st.integers() | st.sampled_from([2**15, -(2**15), 2**63, 2**63 - 1, -(2**63)])
AMOUNTS = (
    st.decimals() | st.decimals(0, 2, places=14) | st.sampled_from([Decimal(10**6), Decimal("999999.9999999999996")])
)
JSON = st.sampled_from(["{}", '{"a":1}', '{"a":NaN}', "{", r'"\ud800"', r'"\u00e4"', "[" * 1200 + "]" * 1200, "1e999"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "VARCHAR": TEXTS | st.sampled_from([7, b"raw"]),
    "BOOLEAN": st.booleans(),
    "SMALLINT": INTEGERS,
    "BIGINT": INTEGERS | st.sampled_from(["12", 1.5, True]),
    "DOUBLE": st.floats() | st.integers(0, 9),
    "JSON": JSON,
    MONEY: AMOUNTS | st.just(0.1),
    "MAP(VARCHAR, VARCHAR)": st.dictionaries(TEXTS, TEXTS, max_size=3),
    "MAP(VARCHAR, BIGINT)": st.dictionaries(TEXTS, INTEGERS, max_size=3),
    f"MAP(VARCHAR, {MONEY})": st.dictionaries(TEXTS, AMOUNTS, max_size=3),
}
COLUMNS = [name for name in EVENT_COLUMNS if COLUMN_TYPES[name] in VALUES]


@st.composite
def columns(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(COLUMNS), max_size=6, unique=True))
    return {name: draw(VALUES[COLUMN_TYPES[name]]) for name in names}


def test_an_event_as_its_columns_want_it_is_encoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one = event(**SURE)
    careful = json.loads(journal_lines._column_by_column(one, "w", 1))
    monkeypatch.delattr(journal_lines, "_column_by_column")
    line = encode(one, "w", 1)
    assert json.loads(line) == careful
    assert list(json.loads(line)) == list(careful)
    assert (line[-1:], line.count(b"\n")) == (b"\n", 1)


def test_every_column_of_json_is_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    for name in [name for name, kind in COLUMN_TYPES.items() if kind == "JSON"]:
        assert name not in json.loads(encode(event(**{name: "{"}), "w", 1))
        assert f"column {name} is stored as NULL" in caplog.text


@given(columns())
def test_both_ways_say_the_same(values: dict[str, Any]) -> None:
    one = event(**values)
    assert json.loads(encode(one, "w", 1)) == json.loads(journal_lines._column_by_column(one, "w", 1))
