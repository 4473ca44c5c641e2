"""When to ask again: what a provider says, what it does not say, and the deadline."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from metrion.model.policies import Retries
from metrion.relay.retries import asked_wait, backoff, wait_after_answer, wait_after_failure

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
YEAR = 365 * 86400


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"7"}, 7.0),
        ({b"retry-after": b" 1.5 "}, 1.5),
        ({b"retry-after": b"0"}, 0.0),
        ({b"retry-after-ms": b"250", b"retry-after": b"9"}, 0.25),
        ({b"retry-after-ms": b"soon", b"retry-after": b"9"}, 9.0),
        ({b"retry-after": b"Sat, 28 Nov 2026 12:00:30 GMT"}, 30.0),
        ({b"retry-after": b"Sat, 28 Nov 2026 12:00:30"}, 30.0),
        ({b"retry-after": b"Sat, 28 Nov 2026 11:00:00 GMT"}, 0.0),
        ({b"retry-after": b"Sun, 28 Nov 2027 12:00:00 GMT"}, float(YEAR)),
        ({b"retry-after": b"-5"}, None),
        ({b"retry-after": b"1e9"}, None),
        ({b"retry-after": b"99999999999999999999"}, None),
        ({b"retry-after": b"\xff\x00"}, None),
        ({b"retry-after": b"Sat, 99 Nov 9999 99:99:99 GMT"}, None),
        ({b"retry-after": b""}, None),
    ],
)
def test_what_a_provider_asks_for(fields: dict[bytes, bytes], seconds: float | None) -> None:
    assert asked_wait(fields, NOW) == seconds


def test_a_wait_doubles_up_to_a_bound_and_half_of_it_is_chance() -> None:
    waits = [backoff(Retries("calm"), number, 0.0) for number in range(1, 8)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert [backoff(Retries("calm"), number, 1.0) for number in range(1, 8)] == [wait / 2 for wait in waits]
    assert backoff(Retries("calm", backoff=20.0), 3, 0.0) == 20.0
    assert backoff(Retries("calm"), 10**6, 0.0) == 8.0


@pytest.mark.parametrize(
    ("number", "fields", "left", "verdict"),
    [
        (1, {}, 30.0, 0.5),
        (2, {}, None, 1.0),
        (3, {}, 30.0, "used up"),
        (1, {b"retry-after": b"29"}, 30.0, 29.0),
        (1, {b"retry-after": b"30"}, 30.0, "beyond the deadline"),
        (1, {b"retry-after": b"%d" % YEAR}, 30.0, "beyond the deadline"),
        (1, {b"retry-after": b"%d" % YEAR}, None, "beyond the deadline"),
        (1, {b"retry-after": b"Sun, 28 Nov 2027 12:00:00 GMT"}, 600.0, "beyond the deadline"),
        (1, {b"x-should-retry": b"false"}, 30.0, "the provider wants none"),
        (1, {b"x-should-retry": b"true"}, 30.0, 0.5),
        (1, {}, 0.1, "beyond the deadline"),
        (1, {}, -5.0, "beyond the deadline"),
    ],
)
def test_after_an_answer(number: int, fields: dict[bytes, bytes], left: float | None, verdict: float | str) -> None:
    assert wait_after_answer(Retries("calm"), number, fields, left=left, chance=0.0, now=NOW) == verdict


@pytest.mark.parametrize(
    ("number", "left", "verdict"), [(1, 30.0, 0.5), (3, 30.0, "used up"), (2, 0.9, "beyond the deadline")]
)
def test_after_a_failure(number: int, left: float, verdict: float | str) -> None:
    assert wait_after_failure(Retries("calm"), number, left=left, chance=0.0) == verdict
