"""The providers that Metrion knows: one row each, and nothing about a provider is written anywhere else in the core.

In goes nothing; out comes :data:`PROVIDERS`, which routing, admission, pricing and settings read. No function here
touches a request. A new provider is one more row; a server that speaks like a known one needs none but ``like:`` in the
configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from metrion.endpoints import GOOGLE_PATHS, PATHS, Path
from metrion.model import CredentialPlace, ErrorShape, Origin


@dataclass(frozen=True, slots=True)
class Surface:
    """One API of a provider: where its paths begin, where it expects the key, and how it words errors."""

    prefix: bytes
    """Put before a path that names no version."""
    credential_place: CredentialPlace
    error_shape: ErrorShape
    paths: Mapping[str, Path]
    names_models: bool = False
    """Paths hold the model and a verb: ``models/M:verb``."""
    names_deployments: bool = False
    """Paths may hold a deployment, as Azure's do: ``deployments/NAME/chat/completions``."""


@dataclass(frozen=True, slots=True)
class Compatible:
    """A second API that imitates OpenAI's, beside the provider's native one."""

    surface: Surface
    paths: frozenset[bytes]
    """First segments that belong to it, given without a version or under ``v1``."""
    shared: frozenset[bytes]
    """Those of ``paths`` that the native API has too: the kind of credential decides."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What the proxy must know to route to a provider."""

    upstream: Origin
    native: Surface
    request_id_headers: tuple[bytes, ...]
    """Response headers that may hold the provider's request id, lower case, best first."""
    environment: str
    """The environment variable that its SDK reads the key from."""
    key_prefix: str | None = None
    """How its keys begin; ``None``: like any other text."""
    aliases: tuple[str, ...] = ()
    """Other names that a person may type. The first is what its product is called, and stands in its base URL."""
    vendors: tuple[str, ...] = ()
    """What else than these names catalogues of models put before a slash: ``mistralai/mistral-large``."""
    compatible: Compatible | None = None
    plan_prefix: bytes | None = None
    """How the credentials of its flat-rate plans begin, which the API does not charge for."""
    regional_hosts: re.Pattern[str] | None = None
    """Hosts of its endpoints that keep to one region, and have prices of their own."""
    besides: frozenset[str] = frozenset()
    """First segments, without a version, of what its programs send beside their calls: they go out as they are, and
    nothing is billed."""


PROVIDERS: Mapping[str, Provider] = {
    "anthropic": Provider(
        upstream=Origin("https", "api.anthropic.com", 443),
        native=Surface(b"/v1", CredentialPlace.X_API_KEY, ErrorShape.ANTHROPIC, PATHS),
        request_id_headers=(b"request-id",),
        environment="ANTHROPIC_API_KEY",
        key_prefix="sk-ant-",
        plan_prefix=b"sk-ant-oat",  # OAuth: https://code.claude.com/docs/en/authentication
        besides=frozenset({"api"}),  # Claude Code's event_logging/…, claude_code/metrics, hello
    ),
    "openai": Provider(
        upstream=Origin("https", "api.openai.com", 443),
        native=Surface(b"/v1", CredentialPlace.BEARER, ErrorShape.OPENAI, PATHS, names_deployments=True),
        request_id_headers=(b"x-request-id",),
        environment="OPENAI_API_KEY",
        key_prefix="sk-",
        # https://developers.openai.com/api/docs/guides/your-data: us, eu, au, ca, jp, in, sg, kr, gb, ae
        regional_hosts=re.compile(r"[a-z0-9-]+\.api\.openai\.com", re.IGNORECASE),
    ),
    "google": Provider(
        upstream=Origin("https", "generativelanguage.googleapis.com", 443),
        native=Surface(b"/v1beta", CredentialPlace.X_GOOG_API_KEY, ErrorShape.GOOGLE, GOOGLE_PATHS, names_models=True),
        request_id_headers=(b"x-goog-request-id", b"x-request-id"),
        environment="GEMINI_API_KEY",
        key_prefix="AIza",
        aliases=("gemini",),
        compatible=Compatible(
            # Errors in OpenAI's words: these paths are called with OpenAI's SDK.
            surface=Surface(b"/v1beta/openai", CredentialPlace.BEARER, ErrorShape.OPENAI, PATHS),
            paths=frozenset(
                {b"audio", b"batches", b"chat", b"completions", b"embeddings", b"images", b"models", b"moderations"}
                | {b"responses", b"videos"}
            ),
            shared=frozenset({b"batches", b"models"}),
        ),
    ),
    "mistral": Provider(
        upstream=Origin("https", "api.mistral.ai", 443),
        native=Surface(b"/v1", CredentialPlace.BEARER, ErrorShape.MISTRAL, PATHS),
        request_id_headers=(b"mistral-correlation-id", b"x-kong-request-id", b"x-request-id"),
        environment="MISTRAL_API_KEY",
        vendors=("mistralai",),
    ),
    "xai": Provider(
        upstream=Origin("https", "api.x.ai", 443),
        native=Surface(b"/v1", CredentialPlace.BEARER, ErrorShape.XAI, PATHS),
        request_id_headers=(b"x-request-id",),
        environment="XAI_API_KEY",
        key_prefix="xai-",
        aliases=("grok",),
        vendors=("x-ai",),
    ),
}

UNASKED_USAGE: Mapping[str, str] = {
    "api.anthropic.com": "Anthropic reports the usage of its streams anyway",
    "api.deepseek.com": "DeepSeek reports the usage of its streams anyway",
    "api.groq.com": "Groq reports the usage of its streams anyway",
    "api.mistral.ai": "Mistral answers 422 to stream_options, and reports the usage of its streams anyway",
    "api.perplexity.ai": "Perplexity reports the usage of its streams anyway",
    "openrouter.ai": "OpenRouter reports the usage of its streams anyway",
}
"""By host, why the usage of a stream must not be asked for there: the answer is kept from the client, which would miss
what it gets anyway. OpenAI, Azure, xAI, vLLM and most others report it only where it is asked for.

Sources: recorded streams of requests that did not ask (Groq, Mistral, OpenRouter, Perplexity), the reference at
https://api-docs.deepseek.com/api/create-chat-completion, and ``ChatStreamOptions`` in OpenRouter's."""

ALIASES: Mapping[str, str] = {alias: name for name, provider in PROVIDERS.items() for alias in provider.aliases}
"""Other names that a person may type, and the names they stand for."""

VENDORS: frozenset[str] = frozenset(
    {*PROVIDERS, *ALIASES, *(vendor for provider in PROVIDERS.values() for vendor in provider.vendors)}
)
"""What may stand before a slash without making another model of it: ``openai/gpt-4o``."""

_KEY_PREFIXES = [provider.key_prefix for provider in PROVIDERS.values() if provider.key_prefix]
KEY_SHAPE = rf"(?:{'|'.join(_KEY_PREFIXES)})[\w-]{{16,}}"
"""A regular expression of ASCII texts that look like a key of a provider whose keys have a prefix."""


def canonical_name(name: str) -> str:
    """Return the provider name that ``name`` stands for: ``gemini`` is ``google``; any other name is itself."""
    return ALIASES.get(name, name)


def base_segment(name: str) -> str:
    """Return the path segment under which a provider's base URL is shown: ``gemini`` for ``google``."""
    known = PROVIDERS.get(name)
    return known.aliases[0] if known and known.aliases else name
