"""Which policies apply to a request, and what is left of those that say something of the same thing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from metrion.admission.policy_book import PolicyBook
from metrion.endpoints import CHAT, EMBEDDINGS, GENERATE_CONTENT, MESSAGES, RESPONSES
from metrion.model import Caller, CredentialPlace, ErrorShape, Forward, Head, Operation, Origin, Route
from metrion.model.policies import Alias, MemberSetting, Policies, Told
from metrion.settings.policies.reading import read_policies
from metrion.settings.policies.values import Entry

CALLER = Caller("acme", "ci", "stored")


def route(operation: Operation = CHAT, provider: str = "mistral", shape: ErrorShape = ErrorShape.MISTRAL) -> Route:
    upstream = Origin("https", "api.example.com", 443)
    return Route(provider, upstream, b"/v1/chat/completions", operation, "openai_chat", CredentialPlace.BEARER, shape)


def book(**policies: dict[str, Any]) -> PolicyBook:
    entries = {name: Entry.model_validate(entry) for name, entry in policies.items()}
    return PolicyBook(read_policies(None, entries, ["mistral", "openai", "xai"]))


def found(book: PolicyBook, route: Route, caller: Caller = CALLER) -> Policies:
    policies = book.of(route, caller)
    assert policies is not None
    return policies


@pytest.mark.parametrize(
    "scope",
    [
        "everything",
        {"account": "acme"},
        {"token": "ci"},
        {"provider": "mistral"},
        {"path": "/v1/chat"},
        {"account": "acme", "path": "/v1/chat/completions"},
    ],
)
def test_a_policy_for_the_request(scope: object) -> None:
    assert found(book(a={"for": scope, "tell": ["event-id"]}), route()).told == Told("a", frozenset({"event-id"}))


@pytest.mark.parametrize(
    "scope",
    [
        {"account": "other"},
        {"token": "other"},
        {"provider": "xai"},
        {"path": "/v1/cha"},
        {"account": "acme", "token": "other"},
    ],
)
def test_a_policy_for_another_request(scope: object) -> None:
    policies = book(a={"for": scope, "tell": ["event-id"]})
    assert policies.of(route(), CALLER) is None
    forward = Forward(route(), CALLER, Head(b"/", ()), Head(b"/", ()))
    assert policies.applied(forward) is forward


def test_without_policies_nothing_is_looked_up() -> None:
    forward = Forward(route(), CALLER, Head(b"/", ()), Head(b"/", ()))
    assert PolicyBook(()).applied(forward) is forward


def test_the_more_particular_one_holds() -> None:
    policies = book(
        all={"aliases": {"large": "all"}, "defaults": {"temperature": 0, "top_p": 1}},
        provider={"for": {"provider": "mistral"}, "aliases": {"large": "provider"}},
        path={"for": {"path": "/v1"}, "aliases": {"large": "path"}},
        account={"for": {"account": "acme"}, "aliases": {"large": "account"}},
        token={"for": {"token": "ci"}, "aliases": {"large": "token"}, "defaults": {"temperature": 0.5}},
    )
    assert found(policies, route()).aliases == {"large": Alias("token", "token")}
    assert found(policies, route()).defaults == (
        MemberSetting("token", "temperature", 0.5),
        MemberSetting("all", "top_p", 1),
    )
    others = {
        "account": replace(CALLER, token_name="other"),
        "path": Caller("other", "other", "stored"),
    }
    for name, caller in others.items():
        assert found(policies, route(), caller).aliases["large"].model == name
    elsewhere = replace(route(), target=b"/other")
    assert found(policies, elsewhere, others["path"]).aliases["large"].model == "provider"
    assert found(policies, replace(elsewhere, provider="xai"), others["path"]).aliases["large"].model == "all"


def test_an_alias_of_an_alias_is_followed_to_its_end() -> None:
    policies = book(
        a={"aliases": {"best": "large", "large": "mistral-large", "far": {"model": "large", "provider": "xai"}}},
        b={"for": {"token": "ci"}, "aliases": {"mistral-large": {"model": "grok-4", "provider": "xai"}}},
    )
    assert found(policies, route()).aliases == {
        "best": Alias("a", "grok-4", "xai"),
        "large": Alias("a", "grok-4", "xai"),
        "far": Alias("a", "large", "xai"),
        "mistral-large": Alias("b", "grok-4", "xai"),
    }


@pytest.mark.parametrize(
    ("request_route", "members"),
    [
        (route(), {"max_tokens", "safe_prompt", "random_seed"}),
        (route(shape=ErrorShape.OPENAI), {"max_tokens", "seed"}),
        (route(MESSAGES, shape=ErrorShape.ANTHROPIC), {"max_tokens"}),
        (route(RESPONSES, shape=ErrorShape.OPENAI), {"max_output_tokens"}),
        (route(GENERATE_CONTENT, shape=ErrorShape.GOOGLE), {"generationConfig.maxOutputTokens"}),
    ],
    ids=["Mistral", "OpenAI", "messages", "responses", "Gemini"],
)
def test_a_member_is_set_only_where_a_request_has_it(request_route: Route, members: set[str]) -> None:
    values = {
        "max_tokens": 1, "max_output_tokens": 2, "safe_prompt": True, "random_seed": 3, "seed": 4,
        "generationConfig.maxOutputTokens": 5,
    }  # fmt: skip
    policies = book(a={"defaults": values})
    assert {each.member for each in found(policies, request_route).defaults} == members
    assert policies.of(route(EMBEDDINGS), CALLER) is None


def test_a_default_is_cut_to_a_narrower_cap() -> None:
    policies = book(
        a={"defaults": {"max_tokens": 100, "temperature": 1}}, b={"for": {"token": "ci"}, "caps": {"max_tokens": 10}}
    )
    assert found(policies, route()).defaults[0] == MemberSetting("a", "max_tokens", 10)
    assert found(policies, route(), replace(CALLER, token_name="other")).defaults[0].value == 100


def test_model_paths_can_be_turned_off_for_some() -> None:
    policies = book(a={"model_paths": True}, b={"for": {"token": "ci"}, "model_paths": False})
    assert policies.of(route(), CALLER) is None
    assert found(policies, route(), replace(CALLER, token_name="other")).model_paths == "a"
