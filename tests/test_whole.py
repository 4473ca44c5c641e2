"""The two readers of a JSON document give the same answer: the C decoder where it dares, the scanner always."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrion.dialects import DIALECTS, errors
from metrion.dialects.dialect import Dialect
from metrion.documents import EACH, Object, Path, Scanner, tree
from metrion.effort import Effort
from metrion.tap import RequestReader
from metrion.whole import MOST_ELEMENTS, MOST_HELD, Document, Reader
from tests.corpus import exchanges, needs_corpus
from tests.dialects.reading import route
from tests.test_hostile import mutated

WANTED: tuple[Path, ...] = (
    ("model",),
    ("usage",),
    ("choices", EACH, "finish_reason"),
    ("choices", EACH, "usage"),
    ("message", "usage"),
    (EACH, "error"),
)
PLAIN = Reader(tree(WANTED))


@cache
def reader(dialect: str | None) -> Reader:
    wanted = DIALECTS[dialect].wanted if dialect else ()
    return Reader(tree((*wanted, *errors.WANTED)))


def scanned(reader: Reader, body: bytes) -> Scanner:
    scanner = Scanner(reader.wanted)
    scanner.feed(body)
    return scanner


def told(value: Any) -> Any:
    """Everything that a wire format can tell of a value: types, the order of members, and the text of an object."""
    if isinstance(value, dict):
        return type(value), getattr(value, "source", None), [(name, told(each)) for name, each in value.items()]
    return (type(value), list(map(told, value))) if isinstance(value, list) else (type(value), str(value))


def asked(value: Any, dialect: Dialect) -> Any:
    """What a wire format makes of a document."""


def same(reader: Reader, body: bytes) -> bool:
    """Whether the decoder dares; what it reads is then what the scanner does."""
    decoded = reader.read(body)
    if decoded is None:
        return False
    scanner = scanned(reader, body)
    assert (scanner.complete, scanner.faults) == (True, [])
    assert decoded == scanner.document
    return True
