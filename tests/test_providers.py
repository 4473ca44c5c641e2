"""What the table of providers must hold for routing and callers to be right."""

from __future__ import annotations

import re

import pytest

from metrion.providers import ALIASES, KEY_SHAPE, PROVIDERS, VENDORS, base_segment, canonical_name


def test_the_five_providers_and_where_they_are() -> None:
    """Where requests go, provider by provider."""
    assert {name: (entry.upstream.authority, entry.native.prefix) for name, entry in PROVIDERS.items()} == {
        "anthropic": (b"api.anthropic.com", b"/v1"),
        "openai": (b"api.openai.com", b"/v1"),
        "google": (b"generativelanguage.googleapis.com", b"/v1beta"),
        "mistral": (b"api.mistral.ai", b"/v1"),
        "xai": (b"api.x.ai", b"/v1"),
    }


def test_keys_come_from_the_variables_that_the_sdks_read() -> None:
    assert {name: entry.environment for name, entry in PROVIDERS.items()} == {
        "anthropic": "ANTHROPIC_API_KEY",
        "openai": "OPENAI_API_KEY",
        "google": "GEMINI_API_KEY",
        "mistral": "MISTRAL_API_KEY",
        "xai": "XAI_API_KEY",
    }


@pytest.mark.parametrize(
    ("typed", "name"),
    [("gemini", "google"), ("grok", "xai"), ("google", "google"), ("xai", "xai"), ("my-vllm", "my-vllm")],
)
def test_canonical_name(typed: str, name: str) -> None:
    assert canonical_name(typed) == name


def test_no_alias_is_another_providers_name() -> None:
    assert not ALIASES.keys() & PROVIDERS.keys()


@pytest.mark.parametrize("name", PROVIDERS)
def test_request_id_headers_are_lower_case(name: str) -> None:
    headers = PROVIDERS[name].request_id_headers
    assert headers
    assert all(header == header.lower() for header in headers)


def test_the_base_urls_of_providers() -> None:
    segments = {name: base_segment(name) for name in (*PROVIDERS, "my-vllm")}
    assert segments == {
        "anthropic": "anthropic",
        "openai": "openai",
        "google": "gemini",
        "mistral": "mistral",
        "xai": "grok",
        "my-vllm": "my-vllm",
    }


def test_what_may_stand_before_a_model() -> None:
    assert sorted(VENDORS) == [
        "anthropic", "gemini", "google", "grok", "mistral", "mistralai", "openai", "x-ai", "xai",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "is_key"),
    [
        ("sk-" + "a" * 16, True),
        ("sk-proj-" + "a" * 16, True),
        ("sk-ant-api03-" + "a" * 16, True),
        ("xai-" + "a" * 16, True),
        ("AIza" + "a" * 35, True),
        ("sk-short", False),
        ("a" * 32, False),  # a key of Mistral's begins like any other text
        ("task-" + "a" * 16, False),
    ],
)
def test_texts_that_look_like_a_key(text: str, *, is_key: bool) -> None:
    assert (re.fullmatch(KEY_SHAPE, text, re.ASCII) is not None) is is_key
