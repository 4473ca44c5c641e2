"""Reads what heads report beside the call: which program asks, in which session of its own, and the provider's limits.

Fields by their names in lower case in; masked and bounded texts out, which no row keeps a key or a token in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from metrion.admission import mask
from metrion.providers import KEY_SHAPE

_CLIENT_CHARACTERS = 64
_SESSION_CHARACTERS = 128
_LIMIT_FIELDS, _LIMIT_CHARACTERS = 32, 256

SESSION_FIELDS = (
    b"x-claude-code-session-id",  # Claude Code
    b"session-id",  # Codex
    b"session_id",  # Codex until 2026, pi
    b"x-opencode-session",  # OpenCode
    b"x-session-id",
    b"x-session-affinity",  # OpenCode, pi
)
"""Where clients name a session of theirs, the most particular first."""

_LIMITS = (b"anthropic-ratelimit-", b"x-ratelimit-")
"""How the names of the fields begin in which providers report their limits and what is left of them."""

_UNIFIED = (b"overage-in-use", b"representative-claim", b"status", b"overage-status")
"""Of Anthropic's plans: the ends of the names that say who pays."""

_PRODUCT = re.compile(r"\s*([^\s(]+)")
"""The first product of a ``User-Agent``, its version included: a space or a comment ends it."""
_TOKEN_OR_KEY = rf"sk-metrion-[\w-]*|{KEY_SHAPE}"
_KEY = re.compile(rf"{_TOKEN_OR_KEY}|[0-9A-Za-z]{{32,}}", re.ASCII)
"""What looks like a Metrion token or a provider's key."""
_KEY_OR_ID = re.compile(
    rf"{_TOKEN_OR_KEY}|(?!(?:[0-9a-f]{{32}}|[0-9A-F]{{32}})(?![0-9A-Za-z]))[0-9A-Za-z]{{32,}}", re.ASCII
)
"""The same where ids are to be expected: a UUID without its hyphens is not a key."""


def client(fields: Mapping[bytes, bytes]) -> str | None:
    """Return the program that asks: the first product of ``User-Agent``."""
    agent = fields.get(b"user-agent")
    product = _PRODUCT.match(agent.decode("utf-8", "replace")) if agent else None
    return _masked(_KEY, product[1])[:_CLIENT_CHARACTERS] if product else None


def client_retry(fields: Mapping[bytes, bytes]) -> int | None:
    """Return how often the client's SDK had tried before, as those of OpenAI and Anthropic report."""
    retries = fields.get(b"x-stainless-retry-count")
    return int(retries) if retries and retries.isdigit() and len(retries) < 5 else None


def session_id(fields: Mapping[bytes, bytes]) -> str | None:
    """Return the client's id of its session."""
    for name in SESSION_FIELDS:
        if (value := fields.get(name)) and (text := value.decode("utf-8", "replace").strip()):
            return _masked(_KEY_OR_ID, text)[:_SESSION_CHARACTERS]
    return None


def provider_limits(fields: Mapping[bytes, bytes]) -> str | None:
    """Return what a response's head says of the provider's limits: a JSON object of its fields, as they are."""
    found = [name for name in fields if name.startswith(_LIMITS)]
    if not found:
        return None
    return json.dumps(
        {
            _masked(_KEY, name.decode("latin-1"))[:_LIMIT_CHARACTERS]: _masked(
                _KEY, fields[name].decode("utf-8", "replace")
            )[:_LIMIT_CHARACTERS]
            for name in found[:_LIMIT_FIELDS]
        }
    )


def is_beyond_plan(fields: Mapping[bytes, bytes]) -> bool:
    """Whether a response's head says that it is charged besides a flat-rate plan.

    ``overage-status`` alone says only whether such use is allowed. Claude Code takes it for used where the plan's own
    limit rejects the request.
    """
    unified = {name: fields.get(b"anthropic-ratelimit-unified-" + name, b"").strip().lower() for name in _UNIFIED}
    return (
        unified[b"overage-in-use"] == b"true"
        or unified[b"representative-claim"] == b"overage"
        or (unified[b"status"] == b"rejected" and unified[b"overage-status"].startswith(b"allowed"))
    )


def _masked(secret: re.Pattern[str], text: str) -> str:
    return secret.sub(lambda found: mask(found[0]), text)
