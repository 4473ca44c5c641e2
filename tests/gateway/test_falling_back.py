"""Where a request goes that is not answered, and with which credential: steps of a policy in, decisions out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from metrion.control import ControlStore
from metrion.gateway.gateway import Gateway
from metrion.gateway.scoreboard import Scoreboard
from metrion.model import Asked, Forward, Inbound
from metrion.model.policies import Step
from metrion.settings import load_settings
from tests.processes import prepare_home

OWN = b"sk-own-key-of-the-client-0123456789"
CONFIG: dict[str, Any] = {
    "providers": {"groq": {"like": "openai", "upstream": "https://groq.test/openai/v1"}},
    "policies": {
        "ladder": {
            "for": {"provider": "openai"},
            "fallback": [{"provider": "xai"}, {"model": "small", "provider": "groq"}, "gpt-4o-mini"],
        }
    },
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, str]]:
    settings = load_settings(None, prepare_home(tmp_path_factory.mktemp("falling") / "home", CONFIG))
    with closing(ControlStore.open(settings)) as control:
        for provider in ("openai", "groq", "anthropic", "google"):
            control.set_key(provider, f"stored-{provider}-key-0123456789")
        token = control.create_token("all").secret
    gateway = Gateway(settings, Scoreboard().take(0, os.getpid()))
    yield gateway, token
    gateway.close()


def admitted(home: tuple[Gateway, str], path: str = "/openai/v1/chat/completions", own: bytes | None = None) -> Forward:
    gateway, token = home
    headers = ((b"x-metrion-token", token.encode()), *(((b"authorization", b"Bearer " + own),) if own else ()))
    decision = gateway.decide(Inbound(b"POST", path.encode(), headers))
    assert isinstance(decision, Forward)
    return decision


def taken(home: tuple[Gateway, str], forward: Forward, step: Step, model: str = "gpt-4o") -> Forward | None:
    return home[0].fallen_back(forward, step, Asked(models=(model,)), instead=forward)


@pytest.mark.parametrize("own", [None, OWN])
def test_another_provider_gets_the_stored_key_and_no_other(own: bytes | None, home: tuple[Gateway, str]) -> None:
    there = taken(home, admitted(home, own=own), Step("small", "groq"))
    assert there is not None
    assert (there.route.provider, there.route.upstream.host, there.wire.target) == (
        "groq", "groq.test", b"/openai/v1/chat/completions",
    )  # fmt: skip
    assert [value for name, value in there.wire.headers if name.lower() == b"authorization"] == [
        b"Bearer stored-groq-key-0123456789"
    ]
    assert not any(own is not None and own in value for _, value in there.wire.headers)
    assert there.caller.credential == "stored"


def test_another_model_of_the_same_provider_keeps_the_callers_own_key(home: tuple[Gateway, str]) -> None:
    forward = admitted(home, own=OWN)
    assert taken(home, forward, Step("gpt-4o-mini")) is forward


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("/openai/v1/chat/completions", Step("grok", "xai")),  # no key
        ("/anthropic/v1/messages", Step("gemini", "google")),  # no such path there
        ("/gemini/v1beta/models/gemini-2.5-flash:generateContent", Step("gemini-2.5-pro")),  # the path names it
    ],
)
def test_a_step_that_cannot_be_taken(path: str, step: Step, home: tuple[Gateway, str]) -> None:
    assert taken(home, admitted(home, path), step) is None
