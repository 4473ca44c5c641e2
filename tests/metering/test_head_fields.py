"""What heads report beside the call, as tables of their fields."""

from __future__ import annotations

import json

import pytest

from metrion.metering.head_fields import is_beyond_plan, provider_limits, session_id

TOKEN = "sk-metrion-" + "t" * 43
KEY = "sk-ant-api03-" + "Zm9vYmFy" * 4
UUID = "0b1c2d3e-4f50-4162-8374-95a6b7c8d9e0"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"x-claude-code-session-id": UUID}, UUID),
        ({"session-id": UUID}, UUID),
        ({"session_id": UUID}, UUID),
        ({"x-opencode-session": "ses_1a2b"}, "ses_1a2b"),
        ({"x-session-id": "mine"}, "mine"),
        ({"x-session-affinity": "mine"}, "mine"),
        ({"x-session-id": "other", "x-claude-code-session-id": "first"}, "first"),
        ({"session-id": " ", "x-session-id": "mine"}, "mine"),
        ({"session-id": "größe"}, "größe"),
        ({"session-id": "x" * 20 + "-" + "y-" * 80}, "x" * 20 + "-" + ("y-" * 80)[:107]),
        # an id is no key, and a key no id
        ({"session-id": UUID.replace("-", "")}, UUID.replace("-", "")),
        ({"session-id": TOKEN}, "sk-metrion-…tttt"),
        ({"session-id": f"me:{KEY}"}, "me:***"),
        ({"session-id": "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4"}, "***"),
        ({"user-agent": "claude-cli/2"}, None),
        ({}, None),
    ],
)
def test_the_session_that_a_client_names(fields: dict[str, str], expected: str | None) -> None:
    assert session_id({name.encode(): value.encode() for name, value in fields.items()}) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"anthropic-ratelimit-tokens-remaining": "80000", "x-ratelimit-reset-requests": "1s", "date": "today"},
            {"anthropic-ratelimit-tokens-remaining": "80000", "x-ratelimit-reset-requests": "1s"},
        ),
        ({"x-ratelimit-note": KEY}, {"x-ratelimit-note": "***"}),
        ({"x-ratelimit-note": "a-" * 200}, {"x-ratelimit-note": "a-" * 128}),
        ({"retry-after": "1"}, None),
        ({}, None),
    ],
)
def test_the_limits_that_a_provider_reports(fields: dict[str, str], expected: dict[str, str] | None) -> None:
    found = provider_limits({name.encode(): value.encode() for name, value in fields.items()})
    assert (json.loads(found) if found else None) == expected


def test_no_more_than_32_limits_are_kept() -> None:
    found = provider_limits({b"x-ratelimit-%d" % number: b"1" for number in range(99)})
    assert found is not None
    assert list(json.loads(found)) == [f"x-ratelimit-{number}" for number in range(32)]


def test_limits_that_are_not_utf_8_are_json_all_the_same() -> None:
    assert provider_limits({b"x-ratelimit-\xff": b"\xfe\xff"}) is not None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"overage-in-use": "true"}, True),
        ({"overage-in-use": "false"}, False),
        ({"representative-claim": "overage"}, True),
        ({"representative-claim": "five_hour"}, False),
        # that it would be allowed is not that it is used
        ({"status": "allowed", "overage-status": "allowed"}, False),
        ({"status": "allowed_warning", "overage-status": "allowed"}, False),
        ({"status": "rejected", "overage-status": "allowed"}, True),
        ({"status": "rejected", "overage-status": "allowed_warning"}, True),
        ({"status": "rejected", "overage-status": "rejected", "overage-disabled-reason": "out_of_credits"}, False),
        ({}, False),
    ],
)
def test_whether_use_is_beyond_a_plan(fields: dict[str, str], expected: bool) -> None:
    named = {f"anthropic-ratelimit-unified-{name}".encode(): value.encode() for name, value in fields.items()}
    assert is_beyond_plan(named) is expected
