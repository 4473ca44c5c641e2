"""Budgets and the steps of a policy: what goes out where there is no room, and what a fallback holds.

Whole decisions of a gateway, over a home with prices of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion import store
from metrion.budgets.changing import open_control
from metrion.budgets.standing import standings
from metrion.control import ControlStore
from metrion.gateway.gateway import Gateway
from metrion.gateway.scoreboard import Scoreboard
from metrion.model import Asked, Budget, EndReason, Forward, Inbound, Refusal, picodollars
from metrion.model.policies import MemberSetting, Step
from metrion.relay import asked
from metrion.settings import load_settings
from tests.processes import prepare_home

PRICES = """
openai:
  dear: {input: 1, output: 10}
  cheap: {input: 0.1, output: 1}
  free: {input: 0, output: 0}
groq:
  small: {input: 0.2, output: 2}
  dear: {input: 0.01, output: 0.1}
"""
DEAR, CHEAP, SMALL = Decimal("0.00051"), Decimal("0.000051"), Decimal("0.000102")
"""What a request with the body below is taken for, by its model: 10 tokens in, 50 out."""
BODY = b'{"model": "dear",  "max_tokens": 50}'
CONFIG: dict[str, Any] = {
    "providers": {"groq": {"like": "openai", "upstream": "https://groq.test/openai/v1"}},
    "pricing": ["prices.yaml"],
    "policies": {
        "names": {"aliases": {"big": "dear"}},
        "ladder": {
            "for": {"provider": "openai"},
            "fallback": [{"provider": "xai"}, "cheap", {"model": "small", "provider": "groq"}],
        },
        "same": {"for": {"token": "same"}, "fallback": [{"provider": "groq"}]},
    },
}


@dataclass
class Place:
    """A home with a gateway, and tokens by their names."""

    gateway: Gateway
    tokens: dict[str, str]

    def set(self, usd: str, scope: str, name: str, then: str = "refuse", per: str = "month") -> None:
        with open_control(self.gateway.settings) as control:
            control.set_budget(Budget(0, scope, name, picodollars(Decimal(usd)), per, None, then))

    def decide(self, token: str, body: bytes = BODY, *headers: tuple[bytes, bytes]) -> Forward | Refusal:
        """Decide about a request as the relay has it done."""
        head = ((b"authorization", b"Bearer " + self.tokens[token].encode()), *headers)
        forward = self.gateway.decide(Inbound(b"POST", b"/openai/v1/chat/completions", head))
        assert isinstance(forward, Forward), forward
        decision = self.gateway.within_rules(forward, asked.read(body))
        return self.gateway.within_limits(decision) if isinstance(decision, Forward) else decision

    def held(self) -> dict[str, Decimal]:
        """What is held of each budget, without those of which nothing is."""
        settings = self.gateway.settings
        with closing(ControlStore.open(settings)) as control:
            found = standings(settings.budgets_dir, control.budgets(), "UTC", time.time())
            return {each.budget.name: Decimal(each.held).scaleb(-12).normalize() for each in found if each.held}

    def end(self, forward: Forward) -> None:
        """Have a request end that never went out."""
        inbound = Inbound(b"POST", b"/openai/v1/chat/completions", ())
        attempt = self.gateway.begin(object(), inbound, forward, began=time.perf_counter())
        self.gateway.finish(attempt, EndReason.CLIENT_ABORT)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    environment = prepare_home(tmp_path / "home", CONFIG)
    (tmp_path / "home" / "prices.yaml").write_text(PRICES)
    settings = load_settings(None, environment)
    store.initialise(settings.journal_dir, settings.store_path)
    with closing(ControlStore.open(settings)) as control:
        for provider in ("openai", "groq"):
            control.set_key(provider, f"stored-{provider}-key-0123456789")
        tokens = {name: control.create_token(name).secret for name in ("ci", "same", "other")}
    gateway = Gateway(settings, Scoreboard().take(0, os.getpid()))
    yield Place(gateway, tokens)
    gateway.close()


def forwarded(decision: Forward | Refusal) -> Forward:
    assert isinstance(decision, Forward), decision.message
    return decision


def test_what_has_no_room_goes_out_as_what_is_cheaper_and_is_held_by_its_price(place: Place) -> None:
    place.set("0.0006", "token", "ci", "cheaper")
    first = forwarded(place.decide("ci"))
    assert place.held() == {"ci": DEAR}, "there is room for one as it is"
    assert first.policies is not None
    assert first.policies.sets == ()
    second = forwarded(place.decide("ci"))
    assert place.held() == {"ci": DEAR + CHEAP}
    assert second.policies is not None
    assert second.policies.sets == (MemberSetting("ladder", "model", "cheap", "cheaper: to openai model cheap"),)
    assert second.policies.fallback is not None
    assert second.policies.fallback.steps == (Step("small", "groq"),), "what follows that step"
    assert b"the token ci" in dict(second.adds)[b"x-metrion-budget-warning"]
    refusal = place.decide("ci")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.status) == ("budget", 429)
    assert "its `fallback` names" in refusal.message.replace("What ", "")
    for each in (first, second):
        place.end(each)
    assert place.held() == {}


def test_a_budget_of_a_provider_sends_them_to_another_one_with_its_key(place: Place) -> None:
    place.set("0.00001", "provider", "openai", "cheaper")
    place.set("1", "provider", "groq")
    found = forwarded(place.decide("ci"))
    assert found.route.provider == "groq"
    assert dict(found.wire.headers)[b"authorization"] == b"Bearer stored-groq-key-0123456789"
    assert place.held() == {"groq": SMALL}
    place.end(found)
    assert place.held() == {}


def test_a_step_that_names_only_a_provider_asks_for_the_same_model_there_also_by_another_name(place: Place) -> None:
    place.set("0.0001", "token", "same", "cheaper")
    found = forwarded(place.decide("same", BODY.replace(b"dear", b"big")))
    assert found.policies is not None
    assert (found.route.provider, found.policies.sets) == ("groq", ())
    assert found.policies.aliases["big"].model == "dear"
    assert found.policies.noted == (("same", "cheaper: to groq"),)
    assert place.held() == {"same": Decimal("0.00000509")}


@pytest.mark.parametrize("first", ["refuse", "cheaper"])
def test_a_budget_that_refuses_refuses_whichever_was_made_first(first: str, place: Place) -> None:
    other = {"refuse": "cheaper", "cheaper": "refuse"}[first]
    place.set("0.0001", "token", "ci", first, "month")
    place.set("0.0001", "token", "ci", other, "day")
    assert isinstance(place.decide("ci"), Refusal)
    assert place.held() == {}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(BODY + b" {}", (), id="something behind its end"),
        pytest.param(BODY, ((b"content-type", b"application/octet-stream"),), id="not called JSON"),
        pytest.param(b"\xef\xbb\xbf" + BODY, (), id="a byte order mark"),
    ],
)
def test_what_cannot_be_changed_with_certainty_is_refused(
    body: bytes, headers: tuple[tuple[bytes, bytes], ...], place: Place
) -> None:
    place.set("0.0001", "token", "ci", "cheaper")
    assert isinstance(place.decide("ci", body, *headers), Refusal)
    assert place.held() == {}


def test_a_fallback_moves_what_is_held_to_what_it_costs_there_and_to_whom(place: Place) -> None:
    place.set("1", "token", "ci")
    place.set("1", "provider", "openai")
    place.set("0.0002", "provider", "groq")
    first = now = forwarded(place.decide("ci"))
    assert place.held() == {"ci": DEAR, "openai": DEAR}
    for step, model, held in (
        (Step("cheap"), "cheap", {"ci": CHEAP, "openai": CHEAP}),
        (Step("small", "groq"), "small", {"ci": SMALL, "groq": SMALL}),
        (Step("dear"), "dear", {"ci": DEAR, "openai": DEAR}),
    ):
        there = place.gateway.fallen_back(first, step, Asked(BODY, (model,), 50), instead=now)
        assert there is not None
        assert place.held() == held
        now = there
    place.set("0.0001", "provider", "groq")
    there = place.gateway.fallen_back(first, Step("small", "groq"), Asked(BODY, ("small",), 50), instead=now)
    assert there is None, "there is no room"
    assert place.held() == {"ci": DEAR, "openai": DEAR}
    place.end(now)
    assert place.held() == {}


def test_a_fallback_needs_room_only_for_what_it_costs_beyond_what_is_held(place: Place) -> None:
    place.set("0.00052", "token", "ci")
    first = forwarded(place.decide("ci"))
    there = place.gateway.fallen_back(first, Step("small", "groq"), Asked(BODY, ("small",), 50), instead=first)
    assert there is not None
    assert place.held() == {"ci": SMALL}


def test_what_falls_back_from_a_flat_rate_plan_is_bound_where_it_costs_something(place: Place) -> None:
    place.set("1", "token", "ci")
    place.set("1", "user", "ann")
    first = forwarded(place.decide("ci", BODY, (b"x-metrion-user", b"ann")))
    in_plan = replace(first, reservation=None, caller=replace(first.caller, in_plan=True))
    place.end(first)
    there = place.gateway.fallen_back(in_plan, Step("small", "groq"), Asked(BODY, ("small",), 50), instead=in_plan)
    assert there is not None
    assert place.held() == {"ci": SMALL, "ann": SMALL}
