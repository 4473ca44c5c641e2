"""How recorded exchanges are read: what routing makes of them on the wire, and a tap for each.

A provider of Metrion's is found by its path, every other server by its host, as an entry that says ``like: openai``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from metrion.admission.routing import Router
from metrion.metering.tap import Tap
from metrion.model import Inbound, Origin, Reading, Route
from metrion.providers import PROVIDERS
from metrion.settings import ProviderSettings, Settings
from tests.corpus import Exchange

SEGMENTS = {"anthropic": "anthropic", "google": "google", "mistral": "mistral", "vertex": "google"}
"""Providers whose recorded paths are also those behind Metrion's own prefix."""

PREFIXES = {"azure": "/openai", "deepseek": "", "groq": "/openai", "openrouter": "/api", "perplexity": ""}
"""Where the APIs of servers that speak like OpenAI begin."""


@cache
def router() -> Router:
    settings = Settings(home=Path("/nowhere"))
    others = {
        name: ProviderSettings(like="openai", upstream=Origin("https", f"{name}.test", 443), prefix=prefix)
        for name, prefix in PREFIXES.items()
    }
    return Router(settings.model_copy(update={"providers": {**settings.providers, **others}}))


@cache
def route(exchange: Exchange) -> Route:
    method, path = exchange.method.encode(), exchange.path.encode()
    if segment := SEGMENTS.get(exchange.provider):
        inbound = Inbound(method, f"/{segment}".encode() + path, ((b"x-goog-api-key", b"k"),))
    else:
        entry = PROVIDERS.get(exchange.provider)
        origin = entry.upstream if entry else Origin("https", f"{exchange.provider}.test", 443)
        inbound = Inbound(method, path, (), origin)
    found = router().route(inbound)
    assert isinstance(found, Route), exchange.id
    return found


def tap_for(exchange: Exchange, content_encoding: str | None = None) -> Tap:
    return Tap(
        route(exchange).dialect,
        content_type=exchange.response_headers.get("content-type"),
        content_encoding=content_encoding,
        status=exchange.status,
    )


def read(exchange: Exchange, *pieces: bytes, content_encoding: str | None = None) -> Reading:
    """What is read of these pieces, the whole body where there are none."""
    tap = tap_for(exchange, content_encoding)
    for piece in pieces or (exchange.response_body,):
        tap.feed(piece)
    tap.finish()
    return tap.reading
