from __future__ import annotations

import email
import email.policy
import json
from dataclasses import replace
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from metrion.alerts.decisions import Figure
from metrion.alerts.measures import MEASURES
from metrion.alerts.messages import Leader, Message, amount, as_email, as_slack, as_webhook, compose, shown, trial
from tests.alerts.rules import NOW, rule, terms
from tests.credentials import PROVIDER_KEY, UNKNOWN

SINCE = NOW - timedelta(days=14, hours=12)


def said(value: str = "92.13", leaders: tuple[Leader, ...] = (), **columns: Any) -> Message:
    figure = Figure(Decimal(value), SINCE, **columns)
    return compose(rule(), "warning", figure, leaders, ZoneInfo("Europe/Berlin"), NOW)


def test_the_sentences_of_a_message() -> None:
    message = said(
        leaders=(Leader((("user", "ann"), ("token", "laptop")), Decimal(60)), Leader((), Decimal("0.0123"))),
        without_cost=1200,
        at_least=Decimal("3.5"),
    )
    assert message.title == "Metrion warning: team: $92.13, 92 % of $100.00"
    assert message.text.splitlines() == [
        "Spend this month (since 2026-11-01 01:00 CET) is $92.13, 92 % of $100.00, the limit of the rule team.",
        "Not in it are 1,200 responses whose cost is not known; they cost at least $3.50.",
        "Most is of user ann, token laptop ($60.00); requests without a label ($0.01230).",
        "What to do: `metrion report costs --since month --by user --by token` shows who spends; `metrion token set "
        "NAME --monthly-budget USD` bounds a token, `metrion token revoke NAME` stops it. `metrion alert list` shows "
        "the rule.",
    ]
    assert json.loads(as_webhook(message)) == {
        "title": message.title,
        "text": message.text,
        "kind": "warning",
        "rule": "team",
        "measure": "spend",
        "unit": "usd",
        "value": "92.13",
        "limit": "100",
        "percent": 92,
        "span": "month",
        "since": "2026-11-01T00:00:00Z",
        "until": "2026-11-15T12:00:00Z",
        "filters": {},
        "of": None,
        "without_cost": 1200,
        "top": [{"user": "ann", "token": "laptop", "value": "60"}, {"value": "0.0123"}],
    }


def test_a_message_comes_back_from_the_history() -> None:
    for message in (said(), trial(rule(), NOW)):
        assert Message.from_json(message.as_json()) == message


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_has_words(measure: str) -> None:
    watched = rule(terms=replace(terms(measure, "10", "1h"), filters={"user": "ann"}))
    message = compose(watched, "alert", Figure(Decimal(12), SINCE, of=30), [], UTC, NOW)
    assert "team" in message.title
    assert "120 %" in message.title
    assert "ann" in message.text
    assert "What to do: " in message.text
    assert "None" not in message.text


def test_silence_names_an_ingester_that_does_not_work_or_traffic_that_does_not_come() -> None:
    quiet = rule("silence", "2", "rule")
    dead = compose(quiet, "alert", Figure(Decimal("2.5"), SINCE, last=SINCE, waiting=7), [], UTC, NOW).text
    assert "for 2.5 days (since 2026-11-01 00:00 UTC)" in dead
    assert "7 segments of the journal wait to be ingested: the ingester does not work" in dead
    assert (
        "No request has come since."
        in compose(quiet, "alert", Figure(Decimal(2), SINCE, last=SINCE), [], UTC, NOW).text
    )
    assert "No request has ever come." in compose(quiet, "alert", Figure(Decimal(2), SINCE), [], UTC, NOW).text


HOSTILE = [
    "<!channel>",
    "<!here|here>",
    "<@U123>",
    "<https://evil.example|click>",
    "@channel",
    "&lt;!channel&gt;",
    "a\r\nBcc: x@evil.example",
    "a\nSubject: b",
    "\u202emoc.live",
    "\x1b[31mred",
    "\ud800",
    "\u2028",
    "😀" * 200,
    "x" * 10_000,
    f"key {PROVIDER_KEY}",
    f"token {UNKNOWN}",
    "مرحبا",
    "*bold* `code`",
]


@pytest.mark.parametrize("label", HOSTILE)
def test_a_label_is_text_and_nothing_else(label: str) -> None:
    leader = Leader((("user", shown(label)),), Decimal(1))
    watched = rule(terms=terms("spend", "100", "month", user=label))
    message = compose(watched, "alert", Figure(Decimal(100), SINCE), [leader], UTC, NOW)
    slack = json.loads(as_slack(message))
    assert "<" not in slack["text"]
    assert "@channel" not in slack["text"]
    assert (slack["mrkdwn"], slack["link_names"], slack["unfurl_links"]) == (False, False, False)
    assert len(message.text) < 1500
    for secret in (PROVIDER_KEY, UNKNOWN):
        assert secret not in message.as_json()
    mail = as_email(message, "metrion@example.com", "ops@example.com", NOW)
    read = email.message_from_bytes(bytes(mail), policy=email.policy.SMTP)
    assert read.keys().count("Subject") == 1
    assert "Bcc" not in read
    assert [line for line in message.text.splitlines() if line.startswith(("Bcc", "Subject", "moc"))] == []
    assert "\u202e" not in message.text
    assert "\x1b" not in message.text


def test_a_title_cannot_end_a_header() -> None:
    message = replace(trial(rule(), NOW), title="a\r\nBcc: x@evil.example\r\n\r\nbody")
    mail = as_email(message, "metrion@example.com", "ops@example.com", NOW)
    read = email.message_from_bytes(bytes(mail), policy=email.policy.SMTP)
    assert "Bcc" not in read
    assert read["To"] == "ops@example.com"
    assert read["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        ("0", "usd", "$0.00"),
        ("1234.5", "usd", "$1,234.50"),
        ("0.00012345", "usd", "$0.0001234"),
        ("12.345", "percent", "12.3 %"),
        ("10", "percent", "10 %"),
        ("1234.4", "ms", "1,234 ms"),
        ("2.04", "days", "2 days"),
        ("12000", "requests", "12,000 requests"),
    ],
)
def test_amounts(value: str, unit: str, words: str) -> None:
    assert amount(Decimal(value), unit) == words
