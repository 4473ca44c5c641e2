"""What the table of providers must hold for routing and callers to be right."""

from __future__ import annotations

import pytest

from metrion.providers import ALIASES, PROVIDERS, canonical_name


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
