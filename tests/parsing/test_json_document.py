"""Two readers of one JSON document, one answer: the C decoder where it dares, the scanner always."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrion.dialects import DIALECTS
from metrion.dialects.reading import errors
from metrion.metering.request_reader import RequestReader
from metrion.metering.tap import Tap
from metrion.model import Reading
from metrion.parsing.json_document import MOST_ELEMENTS, MOST_HELD, Document, Reader
from metrion.parsing.json_stream import Scanner
from metrion.parsing.json_values import EACH, Object, Path, Tree, tree
from metrion.parsing.work_budget import WorkBudget, WorkBudgetError
from tests.corpus import at_least, exchanges
from tests.metering.test_cuts import recorded
from tests.test_hostile import JSON_TYPE, Body, mutated

WANTED: tuple[Path, ...] = (
    ("model",),
    ("usage",),
    ("list", EACH, "model"),
    ("list", EACH, "usage"),
    ("message", "usage"),
    (EACH, "model"),
)
SOURCED = frozenset[str]().union(*(dialect.sourced for dialect in DIALECTS.values()))
READER = Reader(tree(WANTED), SOURCED)

scanner_only = patch.object(Reader, "read", return_value=None)


@cache
def wanted(dialect: str | None) -> Tree:
    return tree((*(DIALECTS[dialect].wanted if dialect else ()), *errors.WANTED))


def told(value: Any, name: str = "") -> Any:
    """All that a wire format can learn of a value: types, the order of members, and the text of what has one."""
    if isinstance(value, dict):
        source = value.source if isinstance(value, Object) and name in SOURCED else None
        return source, [(name, told(below, name)) for name, below in value.items()]
    return list(map(told, value)) if isinstance(value, list) else (type(value), str(value))


def dares(body: bytes, reader: Reader = READER) -> bool:
    """Whether the decoder reads a body. What it reads is what the scanner does."""
    decoded = reader.read(body)
    scanner = Scanner(reader.wanted)
    scanner.feed(body)
    assert decoded is None or (told(decoded), True, []) == (told(scanner.document), scanner.complete, scanner.faults)
    return decoded is not None


def both(dialect: str | None, content_type: str | None, body: bytes, status: int = 200) -> Reading:
    """What a tap reads, which is the same with the scanner alone."""

    def read() -> Reading:
        tap = Tap(dialect, content_type=content_type, content_encoding=None, status=status)
        tap.feed(body)
        tap.finish()
        return tap.reading

    with scanner_only:
        scanned = read()
    found = read()
    assert found == scanned
    return found


# --- one document ---


@pytest.mark.parametrize(
    ("body", "is_dared"),
    [
        (rb'{"model": "gpt", "usage": {"a": 1.50, "b": [1, -2, 1E400, null, true]}, "x": [{"usage": 1}]}', True),
        (rb'{"usage": {"a": 1}, "usage": {"b": 2}, "model": 1, "model": 2}', True),
        (rb'{"usage": {"a": 1}, "usage": null}', True),
        (rb'{"usage": {"a": 1, "b": 3, "a": 2}}', True),
        (rb'{"us\u0061ge": {"\u0061": "\ud83d\ude00 \" \/"}}', True),
        (rb'{"message": null, "list": null}', True),
        (rb'{"message": {"usage": {}, "model": 1}, "message": {"x": 1}}', True),
        (rb'{"list": [{"usage": {"a": 1}}, null, {"model": "m"}], "[]": {"model": "m"}}', True),
        (rb'{"list": {"[]": {"model": 1}, "usage": 2}}', True),
        (b'{"list": [%s]}' % b", ".join([b"{}"] * MOST_ELEMENTS), True),
        (b'{"usage": {"a": %d, "b": -%d}}' % (2**64, 2**63 + 1), True),
        (b'{"usage": {"a": %s}}' % (b"9" * 29), True),
        (rb'{"usage": {"a": -0, "b": -0.0, "c": 1e5}}', True),
        ('{"usage": {"ä": "é€"}, "é": "😀"}'.encode(), True),
        (b' \t\r\n{"model" : 1} \r\n', True),
        (b'{"model": "\x7f"}', True),
        (b'{"x": "\xff"}', True),
        (b'{"x": %s}' % (b"[" * 900 + b"]" * 900), True),
        (b"{}", True),
        # What only the scanner reads.
        (b'{"usage": {"a": "\xff"}}', False),
        (b'{"model": "\xed\xa0\x80"}', False),
        (rb'{"model": "\ud800"}', False),
        (rb'{"x": "\ud800"}', False),
        (b'{"model": "a\nb"}', False),
        (b'{"usage": {"a": NaN}}', False),
        (b'{"x": Infinity}', False),
        (b'\xef\xbb\xbf{"model": 1}', False),
        (b'{"model": 1}x', False),
        (b'{"model": 1}{"model": 2}', False),
        (b'{"model": 1', False),
        (b'{"model": 1,}', False),
        (b"{'model': 1}", False),
        (b'{"x": 007}', False),
        (b'{"x": {]}, "model": 1}', False),
        (b'{"usage": {"a": %s}}' % (b"9" * 30), False),
        (b'{"usage": {"a": -%s}}' % (b"9" * 30), False),
        (b'{"x": %s}' % (b"9" * 5000), False),
        (b'{"usage": {"a": 1e99999999999999999999}}', False),
        (b'{"usage": %s}' % (b"[" * 1000 + b"]" * 1000), False),
        (rb'{"message": 5, "model": 1}', False),
        (rb'{"message": [], "model": 1}', False),
        (rb'{"list": "x", "model": 1}', False),
        (rb'{"list": [5]}', False),
        (b'{"list": [%s]}' % b", ".join([b"{}"] * (MOST_ELEMENTS + 1)), False),
        (b"[]", False),
        (b"null", False),
        (b"", False),
    ],
)
def test_the_decoder_reads_what_the_scanner_does_or_nothing(body: bytes, *, is_dared: bool) -> None:
    assert dares(body) is is_dared


SPACES = st.sampled_from(["", "", " ", "\n", "\t "])
NAMES = st.sampled_from(
    ['"model"', '"usage"', '"list"', '"message"', '"[]"', '"x"', '""', r'"m\u006fdel"', r'"\ud83d\ude00"', r'"\ud800"']
)
SCALARS = st.sampled_from([
    "null", "true", "false", "0", "-0", "1", "1.50", "-1e5", "1E-400", "NaN", "007", "1e999999999999999999999",
    r'"\u00e4\n"', r'"\udfff"', '"a\tb"', '"}]{["', r'"\\"', r'"\""', '"é"', "9" * 19, "9" * 40, "0." + "1" * 40,
])  # fmt: skip


def members(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Objects as text: names come more than once, and in any spelling."""
    member = st.tuples(SPACES, NAMES, SPACES, SPACES, values, SPACES).map(
        lambda parts: f"{parts[0]}{parts[1]}{parts[2]}:{parts[3]}{parts[4]}{parts[5]}"
    )
    return st.lists(member, max_size=5).map(lambda found: "{" + ",".join(found) + "}")


TEXTS = members(
    st.recursive(
        SCALARS,
        lambda below: members(below) | st.lists(below, max_size=4).map(lambda found: "[" + ", ".join(found) + "]"),
        max_leaves=15,
    )
)


@settings(max_examples=500, deadline=None)
@given(TEXTS, st.sampled_from(["", "", "", " ", "x", "}"]))
def test_both_read_any_text_alike(text: str, behind: str) -> None:
    dares((text + behind).encode())


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.lists(st.integers(1, 40)), st.integers(0, 400))
def test_a_document_reads_alike_at_any_cut_and_when_it_is_asked_on_the_way(
    text: str, sizes: list[int], asked_at: int
) -> None:
    body = text.encode()
    scanner, document = Scanner(READER.wanted), Document(READER, WorkBudget())
    at = 0
    for size in [*sizes, len(body)]:
        piece = body[at : at + size]
        scanner.feed(piece)
        document.feed(piece)
        if at <= asked_at < at + size:
            assert document.complete is scanner.complete
        at += size
    assert told(document.document) == told(scanner.document)
    assert (document.complete, list(document.faults)) == (scanner.complete, scanner.faults)


def test_what_follows_a_document_that_was_read_is_passed_over() -> None:
    document = Document(READER, WorkBudget())
    document.feed(b'{"model": 1}')
    assert document.document == {"model": 1}
    document.feed(b'{"model": 2}')
    assert (document.document, document.complete) == ({"model": 1}, True)


@pytest.mark.parametrize("size", [MOST_HELD, MOST_HELD + 1])
def test_what_is_large_is_not_held(size: int) -> None:
    body = b'{"usage": {"a": 1}, "x": "%s"}'
    body %= b"x" * (size - len(body) + 2)
    document = Document(READER, WorkBudget())
    for at in range(0, size, 1000):
        document.feed(body[at : at + 1000])
    assert len(document._held) == (size if size <= MOST_HELD else 0)
    assert document.document == {"usage": {"a": 1}}
    assert document.complete


def test_documents_without_end_spend_the_budget() -> None:
    budget = WorkBudget(20)
    documents = [Document(READER, budget) for _ in range(3)]
    for document in documents:
        document.feed(b"{}")
    assert [each.document for each in documents[:2]] == [{}, {}]
    with pytest.raises(WorkBudgetError):
        assert documents[2].document


# --- every wire format ---


def test_recorded_answers_read_alike_and_nearly_all_by_the_decoder() -> None:
    dared = []
    for exchange, dialect in recorded():
        content_type = exchange.response_headers.get("content-type")
        both(dialect, content_type, exchange.response_body, exchange.status)
        if (
            not exchange.streamed
            and exchange.response_body.startswith(b"{")
            and len(exchange.response_body) < MOST_HELD
        ):
            dared.append(dares(exchange.response_body, Reader(wanted(dialect), SOURCED)))
    assert len(dared) > at_least(300, 20)
    assert dared.count(False) < len(dared) / at_least(50, 10)


def test_recorded_requests_read_alike() -> None:
    def read(body: bytes) -> tuple[str | None, bool | None, Sequence[str]]:
        reader = RequestReader(content_type=JSON_TYPE, content_encoding=None)
        reader.feed(body)
        reader.finish()
        return reader.model, reader.stream, reader.warnings

    for exchange in exchanges():
        with scanner_only:
            scanned = read(exchange.request_body)
        assert read(exchange.request_body) == scanned, exchange.id


@given(mutated(), st.sampled_from([200, 200, 200, 400]))
def test_mutations_read_alike(case: tuple[Body, bytes], status: int) -> None:
    base, body = case
    both(base.dialect, base.content_type, body, status)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "value", [b'{"a": 1, "prompt_tokens": 2.50}', b'[{"usage": {"input_tokens": 2}}]', b"9", b'"x"']
)
def test_whatever_stands_in_a_wanted_place_reads_alike(dialect: str, value: bytes) -> None:
    for path in DIALECTS[dialect].wanted:
        body = value
        for name in reversed(path):
            body = (
                b"[%s]" % body
                if name == EACH
                else b'{"id": "x", "status": "completed", "%s": %s}' % (name.encode(), body)
            )
        both(dialect, JSON_TYPE, body)
