"""The guard against runaways: dollars and tokens in a minute, and requests that repeat, in all processes together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion.budgets.guard import Guard
from metrion.endpoints import OPERATIONS
from metrion.model import Asked, Caller, CredentialPlace, ErrorShape, Forward, GuardLimits, Head, Origin, Route
from metrion.settings import GuardSettings
from tests.budgets.homes import Home, home

ROUTE = Route(
    "openai", Origin("https", "api.openai.com", 443), b"/v1/x", OPERATIONS["chat"], None, CredentialPlace.BEARER,
    ErrorShape.OPENAI,
)  # fmt: skip


def forward(name: str = "ci", account: str = "default") -> Forward:
    return Forward(ROUTE, Caller(account, name, "stored"), Head(b"/", ()), Head(b"/", ()))


@contextmanager
def guards(place: Home, settings: dict[str, Any]) -> Iterator[tuple[Guard, Guard]]:
    """The guards of two processes of one home."""
    made = [
        Guard(GuardSettings.model_validate(settings), place.settings.guard_dir, lambda: place.now.timestamp())
        for _ in range(2)
    ]
    with ExitStack() as stack:
        for each in made:
            stack.callback(each.close)
        yield made[0], made[1]


@pytest.mark.parametrize(
    ("settings", "used", "limit"),
    [
        pytest.param({"token": {"usd_per_minute": 0.3}}, {"cost": "0.1"}, "0.3 USD", id="dollars"),
        pytest.param(
            {"token": {"tokens_per_minute": 30}},
            {"cost": None, "input_tokens": 7, "output_tokens": 3},
            "30 tokens",
            id="tokens, of which nobody knows the cost",
        ),
        pytest.param({"account": {"usd_per_minute": 0.3}}, {"cost": "0.1"}, "0.3 USD", id="of an account"),
    ],
)
def test_what_was_used_in_the_last_minute_is_bounded(
    settings: dict[str, Any], used: dict[str, Any], limit: str, tmp_path: Path
) -> None:
    place = home(tmp_path)
    with guards(place, settings) as (one, other):
        for _ in range(3):
            assert one.check(forward(), None) is other.check(forward(), None) is None
            one.add(place.event(**used))
            place.pass_time(seconds=10)
        found = other.check(forward(), None)
        assert found is not None
        assert (found.limit, found.seconds) == (limit, 30)
        assert other.check(forward("other", "other"), None) is None
        place.pass_time(seconds=30)
        assert other.check(forward(), None) is None


def test_identical_requests_in_a_row_are_bounded_and_any_other_ends_the_row(tmp_path: Path) -> None:
    place = home(tmp_path)
    with guards(place, {"identical_requests": 3}) as (one, other):
        same, another = Asked(b'{"model":"m"}', ("m",)), Asked(b'{"model": "m"}', ("m",))
        for guard in (one, other, one):
            assert guard.check(forward(), same) is None
        found = other.check(forward(), same)
        assert found is not None
        assert "3 identical requests in a row" in found.words
        assert one.check(forward("other"), same) is None
        assert one.check(forward(), another) is None
        assert other.check(forward(), same) is None, "the row begins anew"
        for _ in range(5):
            place.pass_time(seconds=61)
            assert other.check(forward(), same) is None, "each a minute after the one before"
        assert one.check(forward(), Asked(unread="it is compressed")) is None


def test_nothing_of_a_body_is_in_the_files(tmp_path: Path) -> None:
    place = home(tmp_path)
    body = b'{"model": "m", "secret": "a very long and recognisable sentence"}'
    with guards(place, {"identical_requests": 3}) as (one, _):
        one.check(forward(), Asked(body, ("m",)))
    files = [path.read_bytes() for path in place.settings.guard_dir.iterdir()]
    assert len(files) == 2
    assert not any(part in content for content in files for part in (b"recognisable", b"model"))


def test_a_fault_lets_requests_pass_and_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = home(tmp_path)
    place.settings.guard_dir.write_text("in the way")
    with guards(place, {"token": {"tokens_per_minute": 1}}) as (one, _):
        for _ in range(3):
            one.add(place.event("1", input_tokens=9))
            assert one.check(forward(), None) is None
    assert caplog.text.count("The guard cannot count") == 1


def own(usd: str = "0", tokens: int = 0, identical: int = 0, then: str = "refuse") -> GuardLimits:
    return GuardLimits(Decimal(usd), tokens, identical, then)


def test_own_limits_take_the_place_of_those_for_all(tmp_path: Path) -> None:
    place = home(tmp_path)
    with guards(place, {"token": {"tokens_per_minute": 30}}) as (guard, _):
        guard.add(place.event("1", input_tokens=20, output_tokens=20))
        found = guard.check(forward(), None)
        assert found is not None
        assert (found.limit, found.is_own, found.then) == ("30 tokens", False, "refuse")
        guard.own = {("token", "ci"): own(tokens=50)}
        assert guard.check(forward(), None) is None
        guard.own = {("token", "ci"): own(), ("account", "default"): own(usd="0.50", then="warn")}
        guard.add(place.event("1"))
        found = guard.check(forward(), None)
        assert found is not None
        assert (found.kind, found.limit, found.is_own, found.then) == ("account", "0.5 USD", True, "warn")
        guard.own = {**guard.own, ("token", "ci"): own(usd="0.1")}
        guard.add(place.event("1"))
        found = guard.check(forward(), None)
        assert found is not None
        assert (found.kind, found.then) == ("token", "refuse"), "what refuses wins over what warns"


def test_own_identical_requests_of_a_token_and_of_all_tokens_of_an_account(tmp_path: Path) -> None:
    place = home(tmp_path)
    same = Asked(b'{"model":"m"}', ("m",))
    with guards(place, {}) as (guard, _):
        assert not guard.is_on
        assert not guard.reads_body_of(forward().caller)
        guard.own = {("account", "default"): own(identical=3)}
        assert guard.reads_body_of(forward().caller)
        assert not guard.reads_body_of(forward("x", "other").caller)
        assert [guard.check(forward(name), same) for name in ("a", "b", "c")] == [None] * 3
        found = guard.check(forward("d"), same)
        assert found is not None
        assert (found.kind, found.name) == ("account", "default")
        assert guard.check(forward("d", "other"), same) is None
