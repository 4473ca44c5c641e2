"""Who is over a limit, when the next request passes, and what the refusal says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metrion.admission.codes import MONTHLY_CAP, RATE_LIMITED
from metrion.admission.limits import SECOND, WINDOW, Excess, Moment, Used, judge, month_number, refusal
from metrion.admission.refusals import render
from metrion.admission.routing import Router
from metrion.model import Caller, Forward, Head, Inbound, Quota, RefusalKind, Route
from metrion.settings import Settings

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
TICK = 5_000 * SECOND
UNTIL_DECEMBER = (9 * 86_400 + 15 * 3600 + 30 * 60) * SECOND

MINUTE = Quota(b"t", requests_per_minute=3)
MONTH = Quota(b"t", requests_per_month=10)
BOTH = Quota(b"t", requests_per_minute=3, requests_per_month=10)


def ago(seconds: float) -> int:
    return TICK - int(seconds * SECOND)


@pytest.mark.parametrize(
    ("quota", "used", "expected"),
    [
        pytest.param(MINUTE, Used(0, None, None), None, id="nothing yet"),
        pytest.param(MINUTE, Used(99, None, ago(1)), None, id="fewer than the limit"),
        pytest.param(MINUTE, Used(0, ago(60.5), ago(1)), None, id="the third last is out of the window"),
        pytest.param(MINUTE, Used(0, TICK - WINDOW, ago(1)), None, id="it leaves the window at this moment"),
        pytest.param(
            MINUTE,
            Used(0, TICK - WINDOW + 1, ago(1)),
            Excess(RATE_LIMITED, 3, 1, 59 * SECOND),
            id="it leaves the window in a nanosecond",
        ),
        pytest.param(
            MINUTE, Used(0, ago(20), ago(5)), Excess(RATE_LIMITED, 3, 40 * SECOND, 55 * SECOND), id="in the window"
        ),
        pytest.param(
            MINUTE, Used(0, TICK, TICK), Excess(RATE_LIMITED, 3, WINDOW, WINDOW), id="all three at this moment"
        ),
        pytest.param(MINUTE, Used(0, TICK + 1, TICK + 1), None, id="in the future: the machine started anew since"),
        pytest.param(Quota(b"t"), Used(10**6, TICK, TICK), None, id="no limits"),
        pytest.param(MONTH, Used(9, TICK, TICK), None, id="the month's last"),
        pytest.param(
            MONTH, Used(10, None, None), Excess(MONTHLY_CAP, 10, UNTIL_DECEMBER, UNTIL_DECEMBER), id="month used up"
        ),
        pytest.param(
            MONTH, Used(11, None, None), Excess(MONTHLY_CAP, 10, UNTIL_DECEMBER, UNTIL_DECEMBER), id="cap was lowered"
        ),
        pytest.param(BOTH, Used(9, ago(20), TICK), Excess(RATE_LIMITED, 3, 40 * SECOND, WINDOW), id="the minute"),
        pytest.param(
            BOTH,
            Used(10, ago(20), TICK),
            Excess(MONTHLY_CAP, 10, UNTIL_DECEMBER, UNTIL_DECEMBER),
            id="both: the one that lasts",
        ),
    ],
)
def test_judge(quota: Quota, used: Used, expected: Excess | None) -> None:
    assert judge(quota, used, Moment(TICK, NOW)) == expected


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), 1),
        (datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 1e-6),
        (datetime(2027, 1, 1, tzinfo=UTC), 31 * 86_400),
        (datetime(2028, 2, 1, tzinfo=UTC), 29 * 86_400),
        (datetime(2026, 2, 28, 12, tzinfo=UTC), 43_200),
    ],
)
def test_a_month_turns_on_the_first_at_midnight_utc(now: datetime, seconds: float) -> None:
    excess = judge(MONTH, Used(10, None, None), Moment(TICK, now))
    assert excess == Excess(MONTHLY_CAP, 10, int(seconds * SECOND), int(seconds * SECOND))


def test_at_the_end_of_a_month_the_minute_may_last_longer() -> None:
    excess = judge(BOTH, Used(10, ago(20), TICK), Moment(TICK, datetime(2026, 12, 31, 23, 59, 50, tzinfo=UTC)))
    assert excess == Excess(MONTHLY_CAP, 10, 40 * SECOND, 10 * SECOND)


def test_months_are_numbered_in_a_row() -> None:
    days = [datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 31, tzinfo=UTC)]
    first, second, third = map(month_number, days)
    assert (second - first, third - second) == (1, 1)


@pytest.mark.parametrize(
    ("now", "used", "says"),
    [
        (NOW, Used(10, None, None), "the next passes on 2026-12-01 at 00:00 UTC."),
        (datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), Used(10, None, None), "on 2027-01-01 at 00:00 UTC."),
        # The minute lasts longer than the month.
        (datetime(2026, 12, 31, 23, 59, 50, tzinfo=UTC), Used(10, ago(20), TICK), "on 2027-01-01 at 00:01 UTC."),
        (NOW, Used(9, ago(20), TICK), "the next passes in 40 s."),
    ],
)
def test_what_passes_in_days_is_given_with_date_and_time(now: datetime, used: Used, says: str) -> None:
    excess = judge(BOTH, used, Moment(TICK, now))
    assert excess is not None
    assert says in refusal(forward(), excess).message


def forward(target: bytes = b"/openai/v1/chat/completions") -> Forward:
    route = Router(Settings(home=Path("/nowhere"))).route(Inbound(b"POST", target, ()))
    assert isinstance(route, Route)
    return Forward(route, Caller("default", "laptop", "stored"), Head(target, ()), Head(target, ()), MINUTE)


@pytest.mark.parametrize(
    ("until_next", "retry_after"),
    [(1, b"1"), (SECOND - 1, b"1"), (SECOND, b"1"), (SECOND + 1, b"2"), (WINDOW, b"60"), (UNTIL_DECEMBER, b"833400")],
)
def test_retry_after_is_rounded_up(until_next: int, retry_after: bytes) -> None:
    headers = dict(refusal(forward(), Excess(RATE_LIMITED, 3, until_next, WINDOW)).headers)
    assert headers[b"retry-after"] == retry_after


@pytest.mark.parametrize(
    ("kind", "says", "no_retry"),
    [
        (RATE_LIMITED, ("laptop", "100 requests in any 60 seconds", "12 s", "--rate", "requests_per_minute"), None),
        (
            MONTHLY_CAP,
            ("laptop", "100 requests in a calendar month (UTC)", "12 s", "--monthly-requests", "requests_per_month"),
            b"false",
        ),
    ],
)
def test_refusal(kind: RefusalKind, says: tuple[str, ...], no_retry: bytes | None) -> None:
    admitted = replace(forward(), route=replace(forward().route, provider="my-vllm"))
    refused = refusal(admitted, Excess(kind, 100, 12 * SECOND, 59 * SECOND))

    assert (refused.status, refused.code, refused.provider) == (429, kind.code, "my-vllm")
    assert (refused.route, refused.caller) == (admitted.route, admitted.caller)
    for words in says:
        assert words in refused.message
    headers = dict(render(refused).headers)
    assert headers.get(b"x-should-retry") == no_retry
    assert headers[b"x-metrion-error"] == kind.code.encode()
    assert headers[b"x-ratelimit-limit-requests"] == b"100"
    assert headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert headers[b"x-ratelimit-reset-requests"] == b"59s"
