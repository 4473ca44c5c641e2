from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from metrion.alerts.decisions import Figure, decide, is_due, next_try
from metrion.control.alert_records import AlertRecord
from tests.alerts.rules import NOW, rule

SINCE = NOW - timedelta(days=14)


def figure(value: str | None, **columns: Any) -> Figure:
    return Figure(None if value is None else Decimal(value), **({"since": SINCE} | columns))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, None),
        ("0", None),
        ("89.999999999999", None),
        ("90", "warning"),
        ("99.999999999999", "warning"),
        ("100", "alert"),
        ("5000", "alert"),
    ],
)
def test_what_is_sent_at_which_share_of_the_limit(value: str | None, kind: str | None) -> None:
    assert decide(rule(), figure(value), NOW) == kind


HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)


@pytest.mark.parametrize(
    ("value", "warned", "alerted", "kind"),
    [
        ("95", HOUR, None, None),
        ("95", DAY - timedelta(seconds=1), None, None),
        ("95", DAY, None, "warning"),
        ("100", HOUR, None, "alert"),  # of another kind
        ("100", None, HOUR, None),
        ("100", None, DAY, "alert"),
        ("95", None, HOUR, None),  # whoever knows of 100 % need not hear of 90
        ("95", None, DAY, "warning"),
        # A clock that was ahead for a while, by less or by more than a day.
        ("100", None, -HOUR, None),
        ("100", None, -400 * DAY, "alert"),
        ("95", -400 * DAY, None, "warning"),
    ],
)
def test_24_hours_between_two_of_a_kind(
    value: str, warned: timedelta | None, alerted: timedelta | None, kind: str | None
) -> None:
    sent = rule(
        warned_at=warned and NOW - warned, alerted_at=alerted and NOW - alerted, alerted_since=alerted and SINCE
    )
    assert decide(sent, figure(value), NOW) == kind


def test_an_alert_of_last_month_keeps_no_warning_of_this_one_back() -> None:
    sent = rule(alerted_at=NOW - HOUR, alerted_since=SINCE - 30 * DAY)
    assert decide(sent, figure("95"), NOW) == "warning"
    rolling = rule(span="6h", alerted_at=NOW - HOUR, alerted_since=SINCE - HOUR)
    assert decide(rolling, figure("95"), NOW) is None


@pytest.mark.parametrize(("of", "kind"), [(0, None), (19, None), (20, "alert")])
def test_a_share_of_few_requests_says_nothing(of: int, kind: str | None) -> None:
    assert decide(rule("errors", "10"), figure("50", of=of), NOW) == kind


def test_pauses_grow_and_end() -> None:
    pauses = list[timedelta]()
    while (at := next_try(len(pauses) + 1, NOW)) is not None:
        pauses.append(at - NOW)
    assert pauses == sorted(pauses)
    assert pauses[0] == timedelta(minutes=1)
    assert pauses[-1] == timedelta(hours=12)


@pytest.mark.parametrize(
    ("next_in", "due"), [(None, True), (-HOUR, True), (timedelta(), True), (HOUR, False), (30 * DAY, True)]
)
def test_when_a_message_is_tried_again(next_in: timedelta | None, due: bool) -> None:
    record = AlertRecord(
        id=1, rule="r", kind="alert", at=NOW, title="", message="{}", channel="c", shown="", state="pending", tries=1,
        next_at=None if next_in is None else NOW + next_in, ended_at=None, problem=None,
    )  # fmt: skip
    assert is_due(record, NOW) == due
