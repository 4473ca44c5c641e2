"""Callers for the tests of this folder: tokens, a snapshot of them, and requests that they make."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from metrion.admission import AccessSnapshot, Token, admit, token_digest
from metrion.admission.routing import Router
from metrion.model import Forward, Inbound, Refusal, Route
from metrion.providers import PROVIDERS
from metrion.settings import Plan, Settings

ROUTER = Router(Settings(home=Path("/nowhere")))
NOW = datetime(2026, 1, 1, tzinfo=UTC)

TOKEN = b"sk-metrion-" + b"Ab_-" * 10 + b"wxyz"
OTHER = b"sk-metrion-" + b"o" * 43
UNKNOWN = b"sk-metrion-" + b"u" * 43
REVOKED = b"sk-metrion-" + b"r" * 43
EXPIRED = b"sk-metrion-" + b"e" * 43
FOREIGN = b"sk-proj-the-clients-own"

TOKENS = {
    TOKEN: Token("ci", "default", "pro"),
    OTHER: Token("laptop", "team", "free"),
    REVOKED: Token("old", "default", "pro", revoked=True),
    EXPIRED: Token("past", "default", "pro", expires_at=NOW),
}
ACCESS = AccessSnapshot(
    tokens={token_digest(secret.decode()): token for secret, token in TOKENS.items()},
    provider_keys={("default", provider): f"stored-{provider}" for provider in PROVIDERS},
)
PLANS = {"free": Plan(timeout=30), "pro": Plan(timeout=600)}

PATHS = {
    "openai": b"/openai/v1/chat/completions",
    "anthropic": b"/v1/messages",
    "mistral": b"/mistral/v1/chat/completions",
    "xai": b"/grok/v1/chat/completions",
    "google": b"/gemini/v1beta/models/m:generateContent",
    "google compatible": b"/gemini/v1beta/openai/chat/completions",
}


def bearer(secret: bytes) -> tuple[bytes, bytes]:
    return b"Authorization", b"Bearer " + secret


def identity(secret: bytes) -> tuple[bytes, bytes]:
    return b"X-Metrion-Token", secret


def decide(
    *headers: tuple[bytes, bytes],
    target: bytes = PATHS["openai"],
    access: AccessSnapshot = ACCESS,
    now: datetime = NOW,
    plans: Mapping[str, Plan] = PLANS,
) -> Forward | Refusal:
    inbound = Inbound(b"POST", target, headers)
    route = ROUTER.route(inbound)
    assert isinstance(route, Route), route
    return admit(inbound, route, access, plans, now=now)


def forwarded(*headers: tuple[bytes, bytes], target: bytes = PATHS["openai"]) -> Forward:
    decision = decide(*headers, target=target)
    assert isinstance(decision, Forward), decision
    return decision


def refused(*headers: tuple[bytes, bytes], target: bytes = PATHS["openai"], now: datetime = NOW) -> Refusal:
    decision = decide(*headers, target=target, now=now)
    assert isinstance(decision, Refusal), decision
    return decision
