from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields, replace

import pytest

from metrion.model.record import record


@record(frozen=True, slots=True, kw_only=True)
class Sample:
    first: int | None = None
    second: str = "b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    first: int | None = None
    second: str = "b"


def test_a_record_is_a_dataclass() -> None:
    one = Sample(first=1)
    assert [each.name for each in fields(Sample)] == ["first", "second"]
    assert replace(one, second="c") == Sample(first=1, second="c") != one
    assert (repr(one), one.__slots__) == ("Sample(first=1, second='b')", ("first", "second"))


def test_only_the_type_checker_freezes_it() -> None:
    one = Sample(first=1)
    one.first = 2  # type: ignore[misc]  # as it should say
    assert one.first == 2
    with pytest.raises(FrozenInstanceError):
        Frozen(first=1).first = 2  # type: ignore[misc]  # the same
