"""Mistaken base URLs: what each is answered, in whose words, and which of them has a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from metrion.admission.mistakes import is_a_mistake
from metrion.admission.routing import Router
from metrion.model import ErrorShape, Inbound, Origin, Refusal, Route
from metrion.settings import ProviderSettings, Settings

SETTINGS = Settings(home=Path("/nowhere"))
VLLM = ProviderSettings(like="openai", upstream=Origin("http", "vllm.local", 8000))
ROUTER = Router(SETTINGS.model_copy(update={"providers": {**SETTINGS.providers, "my-vllm": VLLM}}))


def refusal(target: bytes, router: Router = ROUTER) -> Refusal:
    refused = router.route(Inbound(b"POST", target, ()))
    assert isinstance(refused, Refusal), refused
    assert refused.code == "unknown_route"
    assert "/openai/…" in refused.message
    return refused


@pytest.mark.parametrize("prefix", [b"", b"/api/proxy"])
@pytest.mark.parametrize(
    ("target", "status", "shape", "meant"),
    [
        # a slip of the fingers
        (b"/antropic/v1/messages", 400, "anthropic", "anthropic"),
        (b"/antrhopic/v1/messages", 400, "anthropic", "anthropic"),
        (b"/anthropc/messages?beta=true", 400, "anthropic", "anthropic"),
        (b"/antropic/v1/models", 404, "anthropic", "anthropic"),
        (b"/opneai/v1/responses", 400, "openai", "openai"),
        (b"/opanai/chat/completions/", 400, "openai", "openai"),
        (b"/openia/v1/embeddings", 404, "openai", "openai"),
        (b"/gemeni/v1beta/models/m:generateContent", 400, "google", "gemini"),
        (b"/gemni/v1beta/models/m%3AstreamGenerateContent?alt=sse", 400, "google", "gemini"),
        (b"/gogle/v1beta/models", 404, "google", "gemini"),
        (b"/gemeni/v1/chat/completions", 400, "openai", "gemini"),
        (b"/mistrl/v1/chat/completions", 400, "mistral", "mistral"),
        (b"/gork/v1/chat/completions", 400, "xai", "grok"),
        (b"/my-vlm/v1/chat/completions", 400, "openai", "my-vllm"),
        # case, plural, punctuation, encoding
        (b"/OpenAI/v1/chat/completions", 400, "openai", "openai"),
        (b"/ANTHROPIC/v1/messages", 400, "anthropic", "anthropic"),
        (b"/anthropics/v1/messages", 400, "anthropic", "anthropic"),
        (b"/open-ai/v1/responses", 400, "openai", "openai"),
        (b"/open_ai/v1/files", 404, "openai", "openai"),
        (b"/open%61i/v1/responses", 400, "openai", "openai"),
        (b"/x.ai/v1/chat/completions", 400, "xai", "grok"),
        (b"/x-ai/v1/chat/completions", 400, "xai", "grok"),
        (b"/MyVLLM/v1/completions", 404, "openai", "my-vllm"),
        # what people call them
        (b"/claude/v1/messages", 400, "anthropic", "anthropic"),
        (b"/Claude-Code/v1/messages", 400, "anthropic", "anthropic"),
        (b"/calude/v1/messages", 400, "anthropic", "anthropic"),
        (b"/gpt/v1/chat/completions", 400, "openai", "openai"),
        (b"/chatgpt/v1/responses", 400, "openai", "openai"),
        (b"/googleai/v1beta/models/m:generateContent", 400, "google", "gemini"),
        (b"/vertex/v1/models", 404, "google", "gemini"),
        (b"/mistralai/v1/chat/completions", 400, "mistral", "mistral"),
        # the host's name, or something else before it
        (b"/api.openai.com/v1/chat/completions", 400, "openai", "openai"),
        (b"/api.x.ai/v1/chat/completions", 400, "xai", "grok"),
        (b"/proxy/openai/v1/chat/completions", 400, "openai", "openai"),
        (b"//openai/v1/models", 404, "openai", "openai"),
        # whose SDK calls it counts, not whose name it may be
        (b"/grokk/v1/messages", 400, "anthropic", "grok"),
    ],
)
def test_a_misspelt_provider(prefix: bytes, target: bytes, status: int, shape: str, meant: str) -> None:
    refused = refusal(prefix + target)
    assert (refused.status, refused.error_shape, refused.provider) == (status, ErrorShape(shape), None)
    assert f"Did you mean /{meant}/…?" in refused.message


@pytest.mark.parametrize("prefix", [b"", b"/api/proxy"])
@pytest.mark.parametrize(
    ("target", "status", "shape", "prefixes"),
    [
        (b"/v1/chat/completions", 400, "openai", "/openai/"),
        (b"/v1/responses?x=1", 400, "openai", "/openai/"),
        (b"/v1/v1/chat/completions", 400, "openai", "/openai/"),
        (b"/v1/threads/t/messages", 400, "openai", "/openai/"),
        (b"/v1/embeddings", 404, "openai", "/openai/"),
        (b"/chat/completions", 400, "openai", "/openai/…, /mistral/…, /grok/…"),
        (b"/responses", 400, "openai", "/openai/"),
        (b"/embeddings", 404, "openai", "/openai/"),
        (b"/models", 404, "openai", "/anthropic/"),
        (b"/v1beta/models/m:generateContent", 400, "google", "/gemini/"),
        (b"/v1beta/models/m:countTokens", 404, "openai", "/gemini/"),
        (b"/v1beta/openai/chat/completions", 400, "openai", "/gemini/"),
        (b"/v2/messages", 400, "anthropic", "/anthropic/"),
    ],
)
def test_an_apis_path_without_a_provider(prefix: bytes, target: bytes, status: int, shape: str, prefixes: str) -> None:
    refused = refusal(prefix + target)
    assert (refused.status, refused.error_shape, refused.provider) == (status, ErrorShape(shape), None)
    assert "names no provider" in refused.message
    assert prefixes in refused.message


@pytest.mark.parametrize("prefix", [b"", b"/api/proxy"])
@pytest.mark.parametrize(
    ("target", "status", "shape", "provider"),
    [
        (b"/v1/v1/messages", 400, "anthropic", "anthropic"),
        (b"/anthropic/v1/v1/messages?beta=true", 400, "anthropic", "anthropic"),
        (b"/anthropic/v1//v1/messages", 400, "anthropic", "anthropic"),
        (b"/anthropic/v1/v1/models", 404, "anthropic", "anthropic"),
        (b"/openai/v1/v1/chat/completions", 400, "openai", "openai"),
        (b"/openai/v1/v1/responses", 400, "openai", "openai"),
        (b"/openai/v1/v1", 404, "openai", "openai"),
        (b"/openai/v1/v1/realtime?model=m", 404, "openai", "openai"),
        (b"/gemini/v1beta/v1beta/models/m:generateContent", 400, "google", "google"),
        (b"/gemini/v1/v1beta/models/m:streamGenerateContent", 400, "google", "google"),
        (b"/gemini/v1/v1/chat/completions", 400, "openai", "google"),
        (b"/gemini/v1beta/openai/v1/chat/completions", 400, "openai", "google"),
        (b"/mistral/v1/v1/chat/completions", 400, "mistral", "mistral"),
        (b"/grok/v1/v1/chat/completions", 400, "xai", "xai"),
        (b"/my-vllm/v1/v1/chat/completions", 400, "openai", "my-vllm"),
    ],
)
def test_a_version_that_stands_twice(prefix: bytes, target: bytes, status: int, shape: str, provider: str) -> None:
    refused = refusal(prefix + target)
    assert (refused.status, refused.error_shape, refused.provider) == (status, ErrorShape(shape), provider)
    assert "version" in refused.message
    assert "base URL" in refused.message


def test_a_default_provider_has_all_of_the_root_but_a_doubled_version() -> None:
    router = Router(SETTINGS.model_copy(update={"default_provider": "openai"}))
    for target in (b"/antropic/v1/messages", b"/chat/completions", b"/v1/chat/completions", b"/nope"):
        found = router.route(Inbound(b"POST", target, ()))
        assert isinstance(found, Route)
        assert found.provider == "openai"
    assert refusal(b"/v1/v1/chat/completions", router).provider == "openai"


@pytest.mark.parametrize(
    "target",
    [
        b"/openai/v1/models/v3",
        b"/openai/v1/vector_stores",
        b"/openai/openai/v1/chat/completions",
        b"/gemini/v1beta/openai/models",
        b"/my-vllm/v1/v2/embeddings",
        b"/my-vllm/api/v1/chat/completions",
        b"/anthropic/v1/v1x/messages",
    ],
)
def test_what_only_looks_like_a_doubled_version_passes(target: bytes) -> None:
    assert isinstance(ROUTER.route(Inbound(b"POST", target, ())), Route)


@pytest.mark.parametrize(
    "target", b"/ /nope /zz /files-of-mine/x /wp-login.php /images.png /metrics-of-mine /.env /%00 /%ff%fe".split()
)
def test_nothing_is_suggested_for_what_is_like_nothing(target: bytes) -> None:
    assert "Did you mean" not in refusal(target).message


@pytest.mark.parametrize(
    "target", [b"/deepseek/v1/chat/completions", b"/together/chat/completions", b"/fireworks/v1/models", b"/zz/models"]
)
def test_a_server_that_nobody_has_configured(target: bytes) -> None:
    message = refusal(target).message
    assert "No provider has the name" in message
    assert "`providers` in metrion.yaml" in message
    assert "Did you mean" not in message


def test_a_message_repeats_nothing_of_the_path() -> None:
    secret = b"sk-proj-0123456789abcdefghij"
    assert secret.decode() not in refusal(b"/antropic/" + secret + b"/messages").message
    assert secret.decode() not in refusal(b"/" + secret + b"/messages").message


@pytest.mark.parametrize(
    ("method", "path", "mistake"),
    [
        (b"GET", b"/favicon.ico", False),
        (b"GET", b"/apple-touch-icon-precomposed.png", False),
        (b"HEAD", b"/robots.txt", False),
        (b"GET", b"/.well-known/appspecific/com.chrome.devtools.json", False),
        (b"POST", b"/favicon.ico", True),
        (b"GET", b"/antropic/v1/models", True),
        (b"GET", b"/nope", True),
    ],
)
def test_what_browsers_ask_for_by_themselves_is_no_mistake(method: bytes, path: bytes, *, mistake: bool) -> None:
    assert is_a_mistake(method, path) is mistake
