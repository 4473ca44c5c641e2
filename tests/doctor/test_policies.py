from __future__ import annotations

import contextlib
from decimal import Decimal

from metrion.model import Budget, picodollars
from tests.credentials import PROVIDER_KEY as SECRET
from tests.doctor.patient import OK, WARN, Patient


def test_nothing_is_said_without_policies(patient: Patient) -> None:
    assert not [each for each in patient.examine() if each.what.startswith("policies")]


def test_policies_that_are_for_nobody(patient: Patient) -> None:
    patient.configure(
        policies={
            "a": {"for": {"token": "ci"}, "defaults": {"temperature": 0}},
            "b": {"for": {"account": "acme"}, "tell": ["event-id"]},
        }
    )
    patient.found(OK, "policies: 2 on: a, b")
    patient.found(WARN, "policies.a: is for the token ci, which does not exist")
    patient.found(WARN, "policies.b: is for the account acme, which does not exist")
    with contextlib.closing(patient.control()) as control:
        control.create_token("ci")
        control.create_account("acme", "pro")
    assert not [each for each in patient.examine() if "does not exist" in each.what]


def test_an_alias_that_leads_to_a_provider_without_a_key(patient: Patient) -> None:
    patient.configure(policies={"a": {"aliases": {"quick": {"model": "grok-4", "provider": "grok"}}}})
    words = "policies.a: it leads to xai, for which no key is stored"
    assert "metrion key set xai" in str(patient.found(WARN, words).way_out)
    with contextlib.closing(patient.control()) as control:
        control.set_key("xai", SECRET)
    assert not [each for each in patient.examine() if words in each.what]


def test_a_fallback_to_a_provider_without_a_key(patient: Patient) -> None:
    patient.configure(policies={"a": {"fallback": ["gpt-4o-mini", {"provider": "grok"}]}})
    patient.found(WARN, "policies.a: it leads to xai, for which no key is stored")


def test_a_budget_that_goes_on_with_what_is_cheaper_where_no_policy_says_what_that_is(patient: Patient) -> None:
    with contextlib.closing(patient.control()) as control:
        control.create_token("ci")
        control.set_budget(Budget(0, "token", "ci", picodollars(Decimal(5)), "day", None, "cheaper"))
    words = "the budget of the token ci, 5.00 USD a day goes on with what is cheaper, and no policy says what that is"
    assert "fallback" in str(patient.found(WARN, words).way_out)
    patient.configure(policies={"a": {"for": {"token": "other"}, "fallback": ["gpt-4o-mini"]}})
    patient.found(WARN, words)
    patient.configure(policies={"a": {"for": {"provider": "openai"}, "fallback": ["gpt-4o-mini"]}})
    assert not [each for each in patient.examine() if words in each.what]


def test_a_member_that_no_request_to_the_provider_has(patient: Patient) -> None:
    patient.configure(policies={"a": {"for": {"provider": "openai"}, "defaults": {"safe_prompt": True, "seed": 1}}})
    patient.found(WARN, "policies.a: no request to openai has a member safe_prompt")
    assert not [each for each in patient.examine() if "has a member seed" in each.what]


def test_embeddings_that_cannot_go_out_together(patient: Patient) -> None:
    names = ("anthropic", "openai", "mistral", "google", "xai")
    patient.configure(policies={name: {"for": {"provider": name}, "batching": True} for name in names})
    patient.found(WARN, "policies.anthropic: anthropic has no embeddings that can go out as one request")
    said = [each.what for each in patient.examine() if "embeddings" in each.what]
    assert len(said) == 1
