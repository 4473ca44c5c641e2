"""Where aliases have a request go, with which credential, and what refuses it: heads and bodies in, decisions out."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from metrion.control import ControlStore
from metrion.gateway.gateway import Gateway
from metrion.gateway.scoreboard import Scoreboard
from metrion.model import Forward, Inbound, Origin, Refusal, TokenRules
from metrion.model.policies import Alias, MemberSetting, Policies, Step
from metrion.relay import asked
from metrion.settings import load_settings
from tests.processes import prepare_home

OWN = b"sk-own-key-of-the-client-0123456789"
CONFIG: dict[str, Any] = {
    "providers": {
        "groq": {"like": "openai", "upstream": "https://groq.test/openai/v1"},
        "open": {"like": "openai", "upstream": "http://open.test:8000", "credential": "none"},
        "vertex": {"like": "google", "upstream": "https://vertex.test"},
        "vertex-2": {"like": "google", "upstream": "https://vertex-2.test"},
    },
    "policies": {
        "names": {
            "aliases": {
                "large": "mistral-large-latest",
                "quick": {"model": "llama-3", "provider": "groq"},
                "mine": {"model": "qwen", "provider": "open"},
                "claude": {"model": "claude-sonnet", "provider": "anthropic"},
                "grok": {"model": "grok-4", "provider": "xai"},
                "flash": "gemini-2.5-flash",
                "tuned": {"model": "tuned flash", "provider": "vertex"},
                "compatible": {"model": "gemini-2.5-pro", "provider": "gemini"},
            }
        },
        "there": {"for": {"provider": "groq"}, "defaults": {"top_p": 0.5}, "aliases": {"llama-3": "other"}},
        "here": {"for": {"provider": "mistral"}, "defaults": {"temperature": 0.1}, "caps": {"max_tokens": 100}},
        "any": {"for": {"provider": "openai"}, "model_paths": True},
        "primary": {"for": {"token": "ruled", "provider": "mistral"}, "defaults": {"model": "mistral-tiny"}},
        "secondary": {"for": {"token": "ruled", "provider": "openai"}, "defaults": {"model": "gpt-4o"}},
    },
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gateway, dict[str, str]]:
    environment = prepare_home(tmp_path_factory.mktemp("rerouting") / "home", CONFIG)
    settings = load_settings(None, environment)
    tokens = {}
    with closing(ControlStore.open(settings)) as control:
        for provider in ("openai", "mistral", "groq", "google", "vertex", "anthropic"):
            control.set_key(provider, f"stored-{provider}-key-0123456789")
        tokens["all"] = control.create_token("all").secret
    return Gateway(settings, Scoreboard().take(0, os.getpid())), tokens


@pytest.fixture
def gateway(home: tuple[Gateway, dict[str, str]]) -> Gateway:
    return home[0]


@pytest.fixture
def token(home: tuple[Gateway, dict[str, str]]) -> str:
    return home[1]["all"]


def post(path: str, token: str, *headers: tuple[bytes, bytes]) -> Inbound:
    own = ((b"Host", b"127.0.0.1"), (b"x-metrion-token", token.encode()), (b"Content-Type", b"application/json"))
    return Inbound(b"POST", path.encode(), (*own, *headers))


def forwarded(decision: object) -> Forward:
    assert isinstance(decision, Forward), decision
    return decision


def policies_of(forward: Forward) -> Policies:
    assert forward.policies is not None
    return forward.policies


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target", "model", "sets"),
    [
        ("/mistral/large/chat", b"/v1/chat/completions", "large", {"model": "mistral-large-latest"}),
        ("/mistral/v1/large/chat?x=1", b"/v1/chat/completions?x=1", "large", {"model": "mistral-large-latest"}),
        ("/api/proxy/mistral/large/stream", b"/v1/chat/completions", "large",
         {"model": "mistral-large-latest", "stream": True}),
        ("/openai/gpt-4o/chat", b"/v1/chat/completions", "gpt-4o", {"model": "gpt-4o"}),
        ("/openai/ft%3Agpt%2Fx/chat", b"/v1/chat/completions", "ft:gpt/x", {"model": "ft:gpt/x"}),
        ("/gemini/flash/chat", b"/v1beta/openai/chat/completions", "flash", {"model": "gemini-2.5-flash"}),
        ("/mistral/quick/chat", b"/openai/v1/chat/completions", "quick", {"model": "llama-3"}),
    ],
)  # fmt: skip
def test_a_path_that_names_the_model_is_a_chat(
    gateway: Gateway, token: str, path: str, target: bytes, model: str, sets: dict[str, Any]
) -> None:
    forward = forwarded(gateway.decide(post(path, token)))
    assert (forward.route.target, forward.wire.target) == (target, target)
    assert (forward.route.operation.name, forward.route.dialect, forward.route.model) == ("chat", "openai_chat", model)
    assert {each.member: each.value for each in policies_of(forward).sets} == sets
    assert policies_of(forward).model == sets["model"]


def test_what_such_a_path_adds_where_nothing_else_says_it(gateway: Gateway, token: str) -> None:
    """Policies come first, and their caps hold."""
    assert policies_of(forwarded(gateway.decide(post("/mistral/large/chat", token)))).defaults == (
        MemberSetting("here", "temperature", 0.1),
        MemberSetting("names", "max_tokens", 100),
        MemberSetting("names", "temperature", 0.7),
    )
    assert policies_of(forwarded(gateway.decide(post("/openai/gpt-4o/chat", token)))).defaults == (
        MemberSetting("any", "max_tokens", 4096),
        MemberSetting("any", "temperature", 0.7),
    )


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/mistral/unknown/chat", b"/v1/unknown/chat"),
        ("/mistral/large/chats", b"/v1/large/chats"),
        ("/mistral/large", b"/v1/large"),
        ("/mistral/agents/chat", b"/v1/agents/chat"),
    ],
)
def test_any_other_path_stays_as_it_is(gateway: Gateway, token: str, path: str, target: bytes) -> None:
    assert forwarded(gateway.decide(post(path, token))).wire.target == target


def test_a_path_at_a_host_is_that_hosts(gateway: Gateway, token: str) -> None:
    """A key that was sent for it must not go to where the provider is configured to be."""
    inbound = replace(post("/v1/large/chat", token), origin=Origin("https", "api.mistral.ai", 443))
    assert forwarded(gateway.decide(inbound)).wire.target == b"/v1/large/chat"


def test_only_a_post_is_a_chat(gateway: Gateway, token: str) -> None:
    inbound = post("/mistral/large/chat", token)
    get = Inbound(b"GET", inbound.target, inbound.headers)
    assert forwarded(gateway.decide(get)).wire.target == b"/v1/large/chat"


@pytest.mark.parametrize(
    ("path", "target", "host"),
    [
        ("/gemini/v1beta/models/flash:generateContent?alt=sse",
         b"/v1beta/models/gemini-2.5-flash:generateContent?alt=sse", b"generativelanguage.googleapis.com"),
        ("/gemini/v1/models/flash%3AgenerateContent", b"/v1/models/gemini-2.5-flash%3AgenerateContent",
         b"generativelanguage.googleapis.com"),
        ("/gemini/v1beta/models/tuned:countTokens", b"/v1beta/models/tuned:countTokens",
         b"generativelanguage.googleapis.com"),
        ("/gemini/v1beta/models/tuned:generateContent", b"/v1beta/models/tuned%20flash:generateContent",
         b"vertex.test"),
        ("/gemini/v1beta/models/other:generateContent", b"/v1beta/models/other:generateContent",
         b"generativelanguage.googleapis.com"),
    ],
)  # fmt: skip
def test_the_model_in_a_path_of_geminis(gateway: Gateway, token: str, path: str, target: bytes, host: bytes) -> None:
    decision = gateway.decide(post(path, token))
    if b"countTokens" in target:  # it has no wire format that could be the same
        assert isinstance(decision, Refusal)
        assert (decision.code, "The alias tuned leads to vertex" in decision.message) == ("bad_request", True)
        return
    forward = forwarded(decision)
    assert forward.wire.target == forward.route.target == target
    assert dict(forward.wire.headers)[b"Host"] == host
    assert forward.route.model == path.rpartition("/")[2].partition(":")[0].partition("%")[0]


# --- bodies -----------------------------------------------------------------------------------------------------------


def with_body(gateway: Gateway, inbound: Inbound, body: bytes) -> Forward | Refusal:
    forward = forwarded(gateway.decide(inbound))
    assert gateway.needs_body(forward)
    return gateway.within_rules(forward, asked.read(body))


@pytest.mark.parametrize("stored", [True, False], ids=["stored key", "the client's own"])
def test_an_alias_may_lead_to_another_provider(gateway: Gateway, token: str, stored: bool) -> None:
    """With the key that is stored for that one, and never with the client's own."""
    names = (b"cookie", b"X-Api-Key", b"Ocp-Apim-Subscription-Key", b"cf-aig-authorization", b"X-Amz-Security-Token")
    own = () if stored else ((b"Authorization", b"Bearer " + OWN), *((name, OWN) for name in names))
    query = "" if stored else f"?key={OWN.decode()}&access%5Ftoken={OWN.decode()}&api-key={OWN.decode()}"
    inbound = post(f"/mistral/chat/completions{query}", token, (b"X-Custom", b"1"), *own)
    forward = forwarded(with_body(gateway, inbound, b'{"model":"quick"}'))
    assert (forward.route.provider, forward.route.upstream.host) == ("groq", "groq.test")
    assert forward.wire.target == b"/openai/v1/chat/completions"
    assert {name.lower(): value for name, value in forward.wire.headers} == {
        b"host": b"groq.test",
        b"content-type": b"application/json",
        b"x-custom": b"1",
        b"authorization": b"Bearer stored-groq-key-0123456789",
    }
    assert forward.caller.credential == "stored"
    assert b"stored-groq-key-0123456789" in forward.credentials
    if not stored:
        assert OWN in forward.credentials
    # What is configured for that provider holds there, but no alias is followed twice.
    assert [each.member for each in policies_of(forward).defaults] == ["top_p"]
    assert {name: (alias.model, alias.provider) for name, alias in policies_of(forward).aliases.items()} == {
        "quick": ("llama-3", None)
    }


def test_a_server_without_keys_gets_none(gateway: Gateway, token: str) -> None:
    inbound = post("/openai/chat/completions", token, (b"Authorization", b"Bearer " + OWN))
    forward = forwarded(with_body(gateway, inbound, b'{"model":"mine"}'))
    assert forward.route.provider == "open"
    assert not {name.lower() for name, _ in forward.wire.headers} & {b"authorization", b"x-metrion-token"}
    assert forward.caller.credential is None


def test_googles_compatible_paths_are_found(gateway: Gateway, token: str) -> None:
    forward = forwarded(with_body(gateway, post("/openai/v1/chat/completions", token), b'{"model":"compatible"}'))
    assert forward.wire.target == b"/v1beta/openai/chat/completions"
    assert dict(forward.wire.headers)[b"authorization"] == b"Bearer stored-google-key-0123456789"


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        ("/openai/chat/completions", b'{"model":"grok"}', "no_provider_key", "metrion key set xai"),
        ("/gemini/v1beta/interactions", b'{"model":"quick"}', "bad_request", "no path of the same wire format"),
    ],
)
def test_what_cannot_go_there_is_refused(
    gateway: Gateway, token: str, path: str, body: bytes, code: str, words: str
) -> None:
    decision = with_body(gateway, post(path, token), body)
    assert isinstance(decision, Refusal)
    assert (decision.code, words in decision.message) == (code, True)


@pytest.mark.parametrize(
    ("body", "code"),
    [(b'{"model":"quick"}', "missing_token"), (b'{"model":"mine"}', "missing_token"), (b'{"model":"large"}', None)],
)
def test_without_a_token_nobody_is_led_to_another_provider(gateway: Gateway, body: bytes, code: str | None) -> None:
    """Where clients do not know of the proxy, any key passes to its own origin: a stored one is not for them."""
    inbound = Inbound(b"POST", b"/mistral/chat/completions", ((b"Host", b"x"), (b"Authorization", b"Bearer " + OWN)))
    forward = forwarded(gateway.decide(inbound, intercepted=True))
    decision = gateway.within_rules(forward, asked.read(body))
    assert (decision.code if isinstance(decision, Refusal) else None) == code
    assert gateway.fallen_back(forward, Step(provider="groq"), asked.read(body), instead=forward) is None


@pytest.mark.parametrize("body", [b'{"model":"large"}', b'{"model":"other"}', b"{}", b"quick", b'{"model":"quick"'])
def test_any_other_body_goes_where_it_was_sent(gateway: Gateway, token: str, body: bytes) -> None:
    inbound = post("/mistral/chat/completions", token)
    assert with_body(gateway, inbound, body) == gateway.decide(inbound)


# --- what a token may do ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gateway, str]:
    """A token that may use one model of two providers."""
    environment = prepare_home(tmp_path_factory.mktemp("ruled") / "home", CONFIG)
    settings = load_settings(None, environment)
    with closing(ControlStore.open(settings)) as control:
        for provider in ("mistral", "groq", "openai", "google"):
            control.set_key(provider, f"stored-{provider}-key-0123456789")
        rules = TokenRules(models=("mistral-*", "gemini-*"), providers=("mistral", "google", "openai"))
        token = control.create_token("ruled", rules=rules).secret
    return Gateway(settings, Scoreboard().take(0, os.getpid())), token


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        (b'{"model":"large"}', True),
        (b'{"model":"mistral-large-latest"}', True),
        (b'{"model":"flash"}', True),
        (b'{"model":"quick"}', False),
        (b'{"model":"claude"}', False),
        (b'{"model":"compatible"}', True),
        (b"{}", True),
        (b'{"model":"mistral-tiny","model":"large"}', False),
        (b"large", False),
    ],
)
def test_a_token_is_judged_by_the_model_that_goes_out(ruled: tuple[Gateway, str], body: bytes, allowed: bool) -> None:
    gateway, token = ruled
    assert isinstance(with_body(gateway, post("/mistral/chat/completions", token), body), Forward) is allowed


def test_so_it_is_by_a_model_that_is_put_in(ruled: tuple[Gateway, str]) -> None:
    gateway, token = ruled
    assert isinstance(with_body(gateway, post("/openai/chat/completions", token), b"{}"), Refusal)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/mistral/large/chat", True),
        ("/mistral/quick/chat", False),
        ("/openai/gpt-4o/chat", False),
        ("/gemini/v1beta/models/flash:generateContent", True),
        ("/gemini/v1beta/models/tuned:generateContent", False),
    ],
)
def test_so_it_is_where_the_path_names_the_model(ruled: tuple[Gateway, str], path: str, allowed: bool) -> None:
    gateway, token = ruled
    assert isinstance(gateway.decide(post(path, token)), Forward) is allowed


@pytest.mark.parametrize(
    ("verb", "renamed"),
    [("batchEmbedContents", True), ("embedContent", True), ("countTokens", True), ("generateContent", False)],
)
def test_where_the_body_names_the_model_of_the_path_once_more(
    gateway: Gateway, token: str, verb: str, renamed: bool
) -> None:
    forward = forwarded(gateway.decide(post(f"/gemini/v1beta/models/flash:{verb}", token)))
    alias = Alias("names", "gemini-2.5-flash")
    assert policies_of(forward).renamed == (("flash", alias) if renamed else None)


# --- without a key of the provider that was asked ---------------------------------------------------------------------


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "provider"),
    [
        ("/xai/chat/completions", b'{"model":"quick"}', "groq"),
        ("/xai/chat/completions", b'{"model":"large"}', None),
        ("/xai/chat/completions", b'{"model":"grok-4"}', None),
        ("/xai/chat/completions", b'{"model":"quick","model":"quick"}', None),
        ("/xai/chat/completions", b"", None),
        ("/xai/models", None, None),
        ("/xai/quick/chat", b"{}", "groq"),
        ("/xai/large/chat", b"{}", None),
        ("/vertex-2/v1beta/models/tuned:generateContent", b"{}", "vertex"),
        ("/vertex-2/v1beta/models/flash:generateContent", b"{}", None),
    ],
)
def test_the_key_of_the_provider_to_which_an_alias_leads_is_the_one_that_counts(
    home: tuple[Gateway, dict[str, str]], path: str, body: bytes | None, provider: str | None, own: bool
) -> None:
    gateway, tokens = home
    inbound = post(path, tokens["all"], *(((b"authorization", b"Bearer " + OWN),) if own else ()))
    decision: object = gateway.decide(inbound if body is not None else replace(inbound, method=b"GET"))
    if isinstance(decision, Forward) and gateway.needs_body(decision):
        decision = gateway.within_rules(decision, asked.read(body or b""))
    if provider is not None:
        forward = forwarded(decision)
        assert (forward.route.provider, forward.caller.credential) == (provider, "stored")
        assert f"stored-{provider}-key-0123456789".encode() in b" ".join(value for _, value in forward.wire.headers)
        assert OWN not in b" ".join(value for _, value in forward.wire.headers)
    elif own:
        assert forwarded(decision).caller.credential == "pass_through"
    else:
        assert isinstance(decision, Refusal)
        assert decision.code == "no_provider_key"
