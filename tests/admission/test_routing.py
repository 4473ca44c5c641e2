"""The routes of the contract as tables: what comes in, and what goes out to whom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metrion.admission.routing import OPENAI_ROOT, ROUTES_REMEMBERED, Endpoint, Router
from metrion.model import CredentialPlace, ErrorShape, Inbound, Origin, Refusal, Route
from metrion.providers import PROVIDERS
from metrion.settings import ProviderSettings, Settings, load_settings
from tests.corpus import at_least, exchanges

BEARER = ((b"Authorization", b"Bearer something"),)
GOOGLE_KEY = ((b"X-Goog-Api-Key", b"something"),)

SETTINGS = Settings(home=Path("/nowhere"))
ROUTER = Router(SETTINGS)


def configured(default_provider: str | None = None, **upstreams: str) -> Router:
    """A router whose providers are elsewhere; names that are not built in speak like OpenAI."""
    environ = {f"METRION_{name.upper()}_UPSTREAM": url for name, url in upstreams.items() if name in PROVIDERS}
    settings = load_settings(environ=environ | {"METRION_HOME": "/nowhere"})
    others: Mapping[str, ProviderSettings] = {
        name.replace("_", "-"): ProviderSettings(like="openai", upstream=Origin("http", url, 8000))
        for name, url in upstreams.items()
        if name not in PROVIDERS
    }
    update = {"providers": {**settings.providers, **others}, "default_provider": default_provider}
    return Router(settings.model_copy(update=update))


def route(
    target: bytes,
    method: bytes = b"POST",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    *,
    origin: Origin | None = None,
    router: Router = ROUTER,
) -> Route:
    found = router.route(Inbound(method, target, headers, origin))
    assert isinstance(found, Route), found
    return found


def refusal(target: bytes, *, origin: Origin | None = None, router: Router = ROUTER) -> Refusal:
    found = router.route(Inbound(b"POST", target, (), origin))
    assert isinstance(found, Refusal), found
    return found


BY_PATH = [
    # Anthropic has the root.
    (b"/v1/messages", "anthropic", b"/v1/messages"),
    (b"/v1/messages?beta=true", "anthropic", b"/v1/messages?beta=true"),
    (b"/v1/models", "anthropic", b"/v1/models"),
    (b"/v1/files/f_1/content", "anthropic", b"/v1/files/f_1/content"),
    (b"/v1/", "anthropic", b"/v1/"),
    (b"/messages", "anthropic", b"/v1/messages"),
    (b"/messages?beta=true", "anthropic", b"/v1/messages?beta=true"),
    (b"/messages/count_tokens", "anthropic", b"/v1/messages/count_tokens"),
    (b"/anthropic/v1/messages", "anthropic", b"/v1/messages"),
    (b"/anthropic/messages", "anthropic", b"/v1/messages"),
    # A provider's segment, with and without the version.
    (b"/openai/v1/chat/completions", "openai", b"/v1/chat/completions"),
    (b"/openai/chat/completions", "openai", b"/v1/chat/completions"),
    (b"/openai/models", "openai", b"/v1/models"),
    (b"/openai/v1/realtime?model=gpt-realtime", "openai", b"/v1/realtime?model=gpt-realtime"),
    (b"/openai/v2/anything", "openai", b"/v2/anything"),
    (b"/openai/vector_stores", "openai", b"/v1/vector_stores"),
    (b"/openai/videos", "openai", b"/v1/videos"),
    (b"/mistral/v1/chat/completions", "mistral", b"/v1/chat/completions"),
    (b"/mistral/fim/completions", "mistral", b"/v1/fim/completions"),
    (b"/grok/v1/chat/completions", "xai", b"/v1/chat/completions"),
    (b"/grok/responses", "xai", b"/v1/responses"),
    (b"/xai/v1/responses", "xai", b"/v1/responses"),
    (b"/openai", "openai", b"/v1"),
    (b"/openai/", "openai", b"/v1/"),
    (b"/openai?x=1", "openai", b"/v1?x=1"),
    # Google's compatible paths.
    (b"/gemini/v1/chat/completions", "google", b"/v1beta/openai/chat/completions"),
    (b"/gemini/chat/completions", "google", b"/v1beta/openai/chat/completions"),
    (b"/gemini/embeddings", "google", b"/v1beta/openai/embeddings"),
    (b"/gemini/v1/images/generations", "google", b"/v1beta/openai/images/generations"),
    (b"/gemini/v1beta/openai/chat/completions", "google", b"/v1beta/openai/chat/completions"),
    (b"/google/v1/chat/completions", "google", b"/v1beta/openai/chat/completions"),
    # Google's native paths.
    (b"/gemini/v1beta/models/m:generateContent", "google", b"/v1beta/models/m:generateContent"),
    (b"/gemini/v1alpha/models/m:generateContent", "google", b"/v1alpha/models/m:generateContent"),
    (b"/gemini/v1/models/m:generateContent", "google", b"/v1/models/m:generateContent"),
    (b"/gemini/v1/models/m%3AgenerateContent", "google", b"/v1/models/m%3AgenerateContent"),
    (b"/gemini/models/m:generateContent", "google", b"/v1beta/models/m:generateContent"),
    (b"/gemini/cachedContents", "google", b"/v1beta/cachedContents"),
    (b"/gemini/v1/tunedModels", "google", b"/v1/tunedModels"),
    (b"/gemini/upload/v1beta/files", "google", b"/upload/v1beta/files"),
    (b"/gemini/download/v1beta/files/f:download?alt=media", "google", b"/download/v1beta/files/f:download?alt=media"),
    (b"/gemini/ws/google.ai.v1beta.Bidi?key=k", "google", b"/ws/google.ai.v1beta.Bidi?key=k"),
    (b"/google/v1beta/files", "google", b"/v1beta/files"),
    # What Claude Code sends beside its calls.
    (b"/anthropic/api/event_logging/batch", "anthropic", b"/api/event_logging/batch"),
    (b"/anthropic/api/claude_code/metrics", "anthropic", b"/api/claude_code/metrics"),
    (b"/anthropic/api/hello?x=1", "anthropic", b"/api/hello?x=1"),
    (b"/anthropic/apis/hello", "anthropic", b"/v1/apis/hello"),
    (b"/openai/api/hello", "openai", b"/v1/api/hello"),
    (b"/mistral/nobody/knows", "mistral", b"/v1/nobody/knows"),
    # Bytes count.
    (b"/openai/v1/files/a%2Fb%20c", "openai", b"/v1/files/a%2Fb%20c"),
    (b"/openai/v1//chat//completions/", "openai", b"/v1//chat//completions/"),
    (b"/openai//v1/chat/completions", "openai", b"//v1/chat/completions"),
    (b"/openai//chat/completions", "openai", b"/v1//chat/completions"),
    (b"/openai/v1/models/gpt-4.1...x", "openai", b"/v1/models/gpt-4.1...x"),
    (b"/openai/v1/files/\xc3\xa9", "openai", b"/v1/files/\xc3\xa9"),
    (b"/openai/v1/files?a=..%2f&b=/../&&a=%zz?", "openai", b"/v1/files?a=..%2f&b=/../&&a=%zz?"),
    (b"/openai/v1/files?", "openai", b"/v1/files?"),
    (b"/openai/v1/files/.well-known/..a/a..", "openai", b"/v1/files/.well-known/..a/a.."),
]


@pytest.mark.parametrize("prefix", [b"", b"/api/proxy"])
@pytest.mark.parametrize(("target", "provider", "outgoing"), BY_PATH)
def test_path(prefix: bytes, target: bytes, provider: str, outgoing: bytes) -> None:
    found = route(prefix + target)
    assert (found.provider, found.target, found.upstream) == (provider, outgoing, PROVIDERS[provider].upstream)


@pytest.mark.parametrize("path", [b"models", b"models/gemini-2.5-flash", b"batches"])
@pytest.mark.parametrize("version", [b"v1/", b""])
@pytest.mark.parametrize(
    ("headers", "query", "compatible"),
    [
        (BEARER, b"", True),
        (((b"authorization", b"BEARER x"),), b"", True),
        (BEARER + GOOGLE_KEY, b"", True),
        ((), b"", True),
        (GOOGLE_KEY, b"", False),
        ((), b"?key=k", False),
        ((), b"?pageSize=3&key=k", False),
        ((), b"?monkey=k", True),
        (((b"authorization", b"Basic x"), *GOOGLE_KEY), b"", False),
    ],
)
def test_the_credential_decides_what_both_of_googles_apis_have(
    path: bytes, version: bytes, headers: tuple[tuple[bytes, bytes], ...], query: bytes, *, compatible: bool
) -> None:
    found = route(b"/gemini/" + version + path + query, b"GET", headers)
    native = (b"/v1/" if version else b"/v1beta/") + path + query
    assert found.target == (b"/v1beta/openai/" + path + query if compatible else native)
    assert found.credential_place is (CredentialPlace.BEARER if compatible else CredentialPlace.X_GOOG_API_KEY)


VERTEX = b"/gemini/v1beta1/projects/p/locations/l/publishers/"

OPERATIONS = [
    (b"/openai/v1/chat/completions", "chat", "openai_chat"),
    (b"/openai/v1//chat/completions/", "chat", "openai_chat"),
    (b"/openai/v1/%63hat/completions", "chat", "openai_chat"),
    (b"/openai/v1/chat/completions/chatcmpl-1", "chat", None),
    (b"/openai/v1/completions", "completions", "openai_chat"),
    (b"/openai/v1/responses", "responses", "openai_responses"),
    (b"/openai/v1/responses/resp_1", "responses", None),
    (b"/openai/v1/responses/resp_1/input_items", "responses", None),
    (b"/openai/v1/responses/resp_1/cancel", "cancel", "openai_responses"),
    (b"/openai/v1/responses/compact", "responses", "openai_responses"),
    (b"/openai/v1/responses/input_tokens", "count_tokens", None),
    (b"/openai/v1/embeddings", "embeddings", "openai_embeddings"),
    (b"/openai/v1/images/generations", "images", "openai_images"),
    (b"/openai/v1/audio/transcriptions", "audio", "openai_audio"),
    (b"/openai/v1/moderations", "moderations", "openai_embeddings"),
    (b"/openai/v1/models", "models", None),
    (b"/openai/v1/models/chat/completions", "chat", "openai_chat"),
    (b"/openai/v1/models/ft:gpt-4o", "models", None),
    (b"/openai/v1/deployments/mine/chat/completions?api-version=2024-10-21", "chat", "openai_chat"),
    (b"/openai/v1/deployments/mine", "other", None),
    (b"/openai/v1/batches", "batch", "openai_batches"),
    (b"/openai/v1/files", "files", None),
    (b"/openai/v1/realtime", "realtime", None),
    (b"/openai/v1/realtime/client_secrets", "sessions", None),
    (b"/openai/v1/realtime/sessions", "sessions", "resource"),
    (b"/openai/v1/assistants", "assistants", "resource"),
    (b"/openai/v1/threads", "assistants", None),
    (b"/openai/v1/threads/t/messages", "assistants", None),
    (b"/openai/v1/threads/t/runs", "runs", "openai_runs"),
    (b"/openai/v1/threads/t/runs/r", "assistants", None),
    (b"/openai/v1/threads/t/runs/r/steps", "assistants", None),
    (b"/openai/v1/threads/t/runs/r/submit_tool_outputs", "runs", "openai_runs"),
    (b"/openai/v1/threads/t/runs/r/cancel", "cancel", "openai_runs"),
    (b"/openai/v1/threads/runs", "runs", "openai_runs"),
    (b"/openai/v1/decisions", "decisions", "openai_responses"),
    (b"/openai/v1/live/sessions", "realtime", None),
    (b"/openai/v1/live/sessions/live_1/hangup", "cancel", None),
    (b"/openai/v1/realtime/calls/rtc_1/accept", "realtime", None),
    (b"/openai/v1/realtime/calls/rtc_1/hangup", "cancel", None),
    (b"/openai/v1/realtime/translations/client_secrets", "sessions", None),
    (b"/openai/v1/chatkit/sessions", "sessions", None),
    (b"/openai/v1/agents", "agents", "resource"),
    (b"/openai/v1/agents/sessions/sess_1/events", "agent_sessions", "openai_agent_sessions"),
    (b"/openai/v1/videos", "videos", "openai_videos"),
    (b"/openai/v1/videos/video_1/remix", "videos", "openai_videos"),
    (b"/openai/v1/videos/characters", "files", None),
    (b"/openai/v1/evals/eval_1/runs", "evals", "openai_evals"),
    (b"/openai/v1/evals/eval_1/runs/evalrun_1", "evals", None),
    (b"/openai/v1/fine_tuning/alpha/graders/run", "evals", "openai_evals"),
    (b"/openai/v1/fine_tuning/jobs", "fine_tuning", None),
    (b"/openai/v1/rerank", "rerank", "openai_embeddings"),
    (b"/openai/v2/rerank", "rerank", "openai_embeddings"),
    (b"/openai/v1/score", "rerank", "openai_embeddings"),
    (b"/openai/v1/nobody/knows", "other", None),
    (b"/openai/", "other", None),
    (b"/mistral/v1/agents/completions", "chat", "openai_chat"),
    (b"/mistral/v1/fim/completions", "chat", "openai_chat"),
    (b"/mistral/v1/chat/moderations", "moderations", "openai_embeddings"),
    (b"/mistral/v1/batch/jobs", "batch", "mistral_batches"),
    (b"/mistral/v1/batch/jobs/j", "batch", None),
    (b"/mistral/v1/batch/jobs/j/cancel", "cancel", None),
    (b"/mistral/v1/files/f/content", "files", None),
    (b"/grok/v1/batches/b:cancel", "batch", None),
    (b"/grok/v1/batches/b/requests", "batch", None),
    (b"/grok/v1/chat/completions", "chat", "openai_chat"),
    (b"/grok/v1/messages", "messages", "anthropic_messages"),
    (b"/grok/v1/videos/generations", "videos", "openai_videos"),
    (b"/v1/messages", "messages", "anthropic_messages"),
    (b"/messages", "messages", "anthropic_messages"),
    (b"/v1/messages/count_tokens", "count_tokens", None),
    (b"/v1/messages/batches", "batch", "anthropic_batches"),
    (b"/v1/messages/batches/msgbatch_1/results", "batch", None),
    (b"/v1/complete", "completions", "anthropic_completions"),
    (b"/anthropic/v1/chat/completions", "chat", "openai_chat"),
    (b"/gemini/chat/completions", "chat", "openai_chat"),
    (b"/gemini/v1beta/openai/chat/completions", "chat", "openai_chat"),
    (b"/gemini/v1beta/openai/embeddings", "embeddings", "openai_embeddings"),
    (b"/gemini/v1beta/models/m:generateContent", "generate_content", "gemini"),
    (b"/gemini/v1beta/models/m:streamGenerateContent?alt=sse", "generate_content", "gemini"),
    (b"/gemini/v1beta/models/m:countTokens", "count_tokens", None),
    (b"/gemini/v1beta/models/m:batchEmbedContents", "embeddings", "gemini"),
    (b"/gemini/v1beta/models/m:batchGenerateContent", "batch", "gemini_batches"),
    (b"/gemini/v1beta/models/m:countTextTokens", "count_tokens", None),
    (b"/gemini/v1/projects/p/locations/l/publishers/google/models/m:computeTokens", "count_tokens", None),
    (b"/gemini/v1beta/models/m:unheardOf", "other", None),
    (b"/gemini/v1beta/tunedModels/m:generateText", "other", None),
    (b"/gemini/v1beta/batches/b:cancel", "cancel", None),
    (b"/gemini/v1beta/interactions", "interactions", "gemini_interactions"),
    (b"/gemini/v1beta/decisions", "decisions", "gemini_interactions"),
    (b"/gemini/upload/v1beta/files", "files", None),
    (b"/gemini/ws/google.ai.v1beta.Bidi", "realtime", None),
    (b"/gemini/v1beta/cachedContents", "cached_contents", "resource"),
    (VERTEX + b"google/models/m:streamGenerateContent", "generate_content", "gemini"),
    (VERTEX + b"google/models/m:predict", "images", "vertex_predict"),
    (VERTEX + b"anthropic/models/m:streamRawPredict", "messages", "anthropic_messages"),
    (VERTEX + b"mistralai/models/m:rawPredict", "chat", "openai_chat"),
    (VERTEX + b"mistralai/models/m:streamRawPredict", "chat", "openai_chat"),
    (b"/mistral/v1/ocr", "ocr", "mistral_ocr"),
    (b"/mistral/v1/conversations/conv_1", "conversations", "mistral_conversations"),
    (b"/mistral/v1/agents", "agents", "resource"),
]


@pytest.mark.parametrize(("target", "operation", "dialect"), OPERATIONS)
def test_operation(target: bytes, operation: str, dialect: str | None) -> None:
    found = route(target)
    assert (found.operation.name, found.dialect) == (operation, dialect)


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"HEAD", b"OPTIONS"])
def test_only_a_post_is_read_for_usage(method: bytes) -> None:
    assert route(b"/openai/v1/chat/completions", method).dialect is None
    assert route(b"/openai/v1/chat/completions", method).operation.name == "chat"


@pytest.mark.parametrize(
    ("target", "operation", "dialect"),
    [
        (b"/openai/v1/responses/resp_1", "responses", "openai_responses"),
        (b"/openai/v1/responses/resp_1?stream=true", "responses", "openai_responses"),
        (b"/openai/v1/responses/resp_1/input_items", "responses", None),
        (b"/openai/v1/responses", "realtime", "openai_realtime"),
        (b"/openai/v1/threads/t/runs/r", "assistants", "openai_runs"),
        (b"/openai/v1/threads/t/runs", "runs", None),
        (b"/openai/v1/threads/t/runs/r/steps", "assistants", None),
        (b"/openai/v1/chat/completions/chatcmpl-1", "chat", "openai_chat"),
        (b"/grok/v1/chat/deferred-completion/r", "chat", "openai_chat"),
        (b"/openai/v1/batches/batch_1", "batch", "openai_batches"),
        (b"/openai/v1/live/sessions", "realtime", "openai_realtime"),
        (b"/mistral/v1/audio/transcriptions/realtime?model=m", "realtime", "openai_realtime"),
        (b"/openai/v1/live/sessions/live_1/fork", "realtime", "openai_realtime"),
        (b"/openai/v1/live/sessions/live_1/attach", "realtime", None),
        (b"/openai/v1/realtime/translations", "realtime", None),
        (b"/openai/v1/videos/video_1", "videos", "openai_videos"),
        (b"/openai/v1/videos/video_1/content", "videos", None),
        (b"/openai/v1/evals/eval_1/runs/evalrun_1", "evals", "openai_evals"),
        (b"/openai/v1/evals/eval_1/runs/evalrun_1/output_items", "evals", None),
        (b"/openai/v1/models/m", "models", None),
        (b"/v1/messages/batches/msgbatch_1", "batch", "anthropic_batches"),
        (b"/v1/messages/batches/msgbatch_1/results", "batch", "anthropic_batch_results"),
        (b"/gemini/v1beta/interactions/v1_x", "interactions", "gemini_interactions"),
        (
            b"/gemini/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
            "realtime",
            "gemini_live",
        ),
        (b"/gemini/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent", "realtime", "gemini_live"),
        (b"/mistral/v1/batch/jobs/j?inline=true", "batch", "mistral_batches"),
        (b"/mistral/v1/batch/jobs", "batch", None),
        (b"/mistral/v1/files/f/content", "files", "mistral_batch_output"),
        (b"/mistral/v1/files/f/url", "files", None),
        (b"/mistral/v1/files/f", "files", None),
        (b"/grok/v1/batches/b/results?limit=10", "batch", "xai_batch_results"),
        (b"/grok/v1/batches/b/requests", "batch", None),
        (b"/gemini/v1beta/files/f:download?alt=media", "files", "gemini_batch_output"),
        (b"/gemini/download/v1beta/files/f:download?alt=media", "files", "gemini_batch_output"),
        (b"/gemini/v1beta/files/f", "files", None),
        (b"/gemini/v1beta/batches/b", "batch", "gemini_batches"),
        (b"/gemini/v1beta/batches", "batch", None),
    ],
)
def test_what_was_generated_before_is_read_back_with_a_get(target: bytes, operation: str, dialect: str | None) -> None:
    found = route(target, b"GET")
    assert (found.operation.name, found.dialect) == (operation, dialect)
    assert route(target, b"DELETE").dialect is None


@pytest.mark.parametrize(
    ("target", "generation_id"),
    [
        (b"/v1/messages/batches/msgbatch_1/results", "msgbatch_1"),
        (b"/openai/v1/responses/resp_1?stream=true", "resp_1"),
        (b"/openai/v1/threads/t/runs/r", "r"),
        (b"/openai/v1/responses", None),
        (b"/openai/v1/threads/t/runs", None),
        (b"/openai/v1/responses/resp_1/cancel", None),
    ],
)
def test_what_is_read_back_is_known_by_the_id_in_its_path(target: bytes, generation_id: str | None) -> None:
    assert route(target, b"GET").generation_id == generation_id


@pytest.mark.parametrize(
    ("target", "output"),
    [
        (b"/mistral/v1/files/f/content", "files/f"),
        (b"/mistral//v1/files/f%2Dg/content/", "files/f-g"),
        (b"/gemini/v1beta/files/f:download?alt=media", "files/f"),
        (b"/gemini/download/v1beta/files/f%3Adownload?alt=media", "files/f"),
        (b"/grok/v1/batches/b/results", "batch/b"),
        (b"/grok/v1/batches/b/results?limit=10&pagination_token=a%2Fb+c%3D", "batch/b?a/b+c="),
        (b"/grok/v1/batches/b/results?pagination_token=", "batch/b"),
        (b"/grok/v1/batches/b", None),
        (b"/gemini/v1beta/models/m:generateContent", None),
        (b"/v1/messages/batches/b/results", None),
    ],
)
def test_what_a_batch_may_have_named_is_known_by_that_name(target: bytes, output: str | None) -> None:
    assert route(target, b"GET").output == output


INJECTING = Router(
    SETTINGS.model_copy(
        update={
            "providers": {
                name: entry.model_copy(update={"inject_usage": name in ("openai", "google")})
                for name, entry in SETTINGS.providers.items()
            }
        }
    )
)


@pytest.mark.parametrize(
    ("method", "target", "origin", "injected"),
    [
        (b"POST", b"/openai/v1/chat/completions", None, True),
        (b"POST", b"/api/proxy/openai/chat/completions?x=1", None, True),
        (b"POST", b"/openai/completions", None, True),
        (b"POST", b"/openai/v1/deployments/mine/chat/completions?api-version=2024-10-21", None, True),
        (b"POST", b"/v1/chat/completions", PROVIDERS["openai"].upstream, True),
        (b"POST", b"/gemini/chat/completions", None, True),
        (b"POST", b"/gemini/v1beta/models/m:streamGenerateContent?alt=sse", None, False),
        (b"GET", b"/openai/v1/chat/completions", None, False),
        (b"GET", b"/openai/v1/chat/completions/chatcmpl-1", None, False),
        (b"POST", b"/openai/v1/chat/completions/chatcmpl-1", None, False),
        (b"POST", b"/openai/v1/responses", None, False),
        (b"POST", b"/openai/v1/embeddings", None, False),
        (b"POST", b"/openai/v1/nobody/knows", None, False),
        (b"POST", b"/grok/v1/chat/completions", None, False),
        (b"POST", b"/v1/messages", None, False),
    ],
)
def test_usage_is_asked_for_where_that_is_set_and_where_it_applies(
    method: bytes, target: bytes, origin: Origin | None, *, injected: bool
) -> None:
    assert route(target, method, origin=origin, router=INJECTING).inject_usage is injected
    assert route(target, method, origin=origin).inject_usage is False


@pytest.mark.parametrize(
    ("target", "model"),
    [
        (VERTEX + b"google/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        (b"/gemini/v1beta1/publishers/google/models/gemini-2.5-pro:predict", "gemini-2.5-pro"),
        (b"/gemini/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        (b"/gemini/v1beta/models/gemini-2.5-pro%3AgenerateContent", "gemini-2.5-pro"),
        (b"/gemini/v1/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        (b"/gemini/v1beta/models/gemini-2.5-pro", "gemini-2.5-pro"),
        (b"/gemini/v1beta/tunedModels/mine:generateContent", "tunedModels/mine"),
        (b"/gemini/v1beta/models", None),
        (b"/gemini/v1beta/models/:generateContent", None),
        (b"/gemini/v1beta/files/f", None),
        (b"/gemini/v1beta/openai/models/m", None),
        (b"/openai/v1/chat/completions", None),
    ],
)
def test_model_in_the_path(target: bytes, model: str | None) -> None:
    assert route(target).model == model


@pytest.mark.parametrize(
    ("target", "place", "shape"),
    [
        (b"/v1/messages", CredentialPlace.X_API_KEY, ErrorShape.ANTHROPIC),
        (b"/openai/v1/x", CredentialPlace.BEARER, ErrorShape.OPENAI),
        (b"/mistral/v1/x", CredentialPlace.BEARER, ErrorShape.MISTRAL),
        (b"/grok/v1/x", CredentialPlace.BEARER, ErrorShape.XAI),
        (b"/gemini/chat/completions", CredentialPlace.BEARER, ErrorShape.OPENAI),
        (b"/gemini/v1beta/openai/chat/completions", CredentialPlace.BEARER, ErrorShape.OPENAI),
        (b"/gemini/v1beta/models/m:generateContent", CredentialPlace.X_GOOG_API_KEY, ErrorShape.GOOGLE),
        (b"/gemini/upload/v1beta/files", CredentialPlace.X_GOOG_API_KEY, ErrorShape.GOOGLE),
    ],
)
def test_credential_place_and_error_shape(target: bytes, place: CredentialPlace, shape: ErrorShape) -> None:
    assert (route(target).credential_place, route(target).error_shape) == (place, shape)


@pytest.mark.parametrize("segment", sorted(OPENAI_ROOT))
@pytest.mark.parametrize("prefix", [b"", b"/api/proxy"])
def test_an_openai_path_at_the_root_is_told_the_prefixes(prefix: bytes, segment: bytes) -> None:
    for rest in (b"", b"/", b"/x", b"?a=1"):
        refused = refusal(prefix + b"/v1/" + segment + rest)
        status = 400 if segment == b"responses" and rest != b"/x" else 404
        assert (refused.status, refused.code, refused.provider) == (status, "unknown_route", None)
        assert refused.error_shape is ErrorShape.OPENAI
        for name in ("/openai/", "/mistral/", "/gemini/", "/grok/", f"/openai/v1/{segment.decode()}"):
            assert name in refused.message


@pytest.mark.parametrize(
    "target",
    (
        b"/ /v1 /nope /api/proxy /api/proxy/ /api/proxyopenai/v1/x /api/openai/v1 //openai/v1 /OpenAI/v1/x "
        b"/open%61i/v1/x /v1beta/models/m /favicon.ico /messagesx"
    ).split(),
)
def test_an_unknown_path_is_told_every_route(target: bytes) -> None:
    refused = refusal(target)
    assert (refused.status, refused.code, refused.provider) == (404, "unknown_route", None)
    for listed in ("/anthropic/", "/openai/", "/google/", "/gemini/", "/mistral/", "/xai/", "/grok/", "/health"):
        assert listed in refused.message


@pytest.mark.parametrize(
    "path",
    (
        rb"/.. /. /../x /a/../b /a/./b /a/.. /%2e%2e/x /%2E%2e /.%2e/x /%2e./x /%2e "
        rb"/a\..\b /..\b /a%2f..%2fb /a%2F%2E%2E /a%5c..%5Cb /..;/x /..;a=1/x /%2e%2e%3b/x"
    ).split(),
)
@pytest.mark.parametrize(
    ("prefix", "provider", "origin"),
    [
        (b"/openai/v1", "openai", None),
        (b"/api/proxy/gemini", "google", None),
        (b"/v1", "anthropic", None),
        (b"", None, None),
        (b"/v1", "mistral", PROVIDERS["mistral"].upstream),
        (b"/v1", None, Origin("https", "example.com", 443)),
    ],
)
def test_a_dot_segment_is_refused_before_anything_else(
    path: bytes, prefix: bytes, provider: str | None, origin: Origin | None
) -> None:
    refused = refusal(prefix + path, origin=origin)
    assert (refused.status, refused.code, refused.provider) == (400, "bad_request", provider)


@pytest.mark.parametrize(
    "target", [b"", b"*", b"openai/v1", b"http://x/openai", b"/openai/v1/a b", b"/openai/v1/a\r\nb"]
)
def test_what_is_no_path_is_refused(target: bytes) -> None:
    assert (refusal(target).status, refusal(target).code) == (400, "bad_request")


def test_a_token_in_the_path_is_refused_and_not_repeated() -> None:
    refused = refusal(b"/openai/sk-metrion-" + b"a" * 43 + b"/v1/models")
    assert (refused.status, refused.provider) == (400, "openai")
    assert "aaaa" not in repr(refused)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("target", [b"/health", b"/health?x=1", b"/api/proxy/health"])
def test_health(method: bytes, target: bytes) -> None:
    assert ROUTER.route(Inbound(method, target, ())) is Endpoint.HEALTH


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("prefix", [b"", b"/api/proxy"])
@pytest.mark.parametrize("slash", [b"", b"/"])
@pytest.mark.parametrize("query", [b"", b"?x=1"])
@pytest.mark.parametrize(
    "path", [b"", b"/anthropic", b"/openai", b"/gemini", b"/google", b"/mistral", b"/grok", b"/xai", b"/my-vllm"]
)
@pytest.mark.parametrize("default", [None, "openai"])
def test_somebody_is_there(
    method: bytes, prefix: bytes, path: bytes, slash: bytes, query: bytes, default: str | None
) -> None:
    target = (prefix + path + slash) + query
    if not target.startswith(b"/"):
        return
    assert configured(default, my_vllm="vllm.local").route(Inbound(method, target, ())) is Endpoint.WELCOME


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"POST", b"/anthropic"),
        (b"OPTIONS", b"/anthropic/"),
        (b"GET", b"/anthropic//"),
        (b"GET", b"/anthropic/v1"),
        (b"HEAD", b"/anthropic/v1/messages"),
    ],
)
def test_what_is_more_than_a_look_goes_to_the_provider(method: bytes, target: bytes) -> None:
    assert route(target, method).provider == "anthropic"


def test_by_host_a_look_goes_to_the_provider() -> None:
    for path in (b"/", b"/anthropic"):
        assert route(path, b"HEAD", origin=PROVIDERS["openai"].upstream).provider == "openai"


def test_health_is_only_asked_for() -> None:
    assert refusal(b"/health").status == 404
    assert refusal(b"/health/x").status == 404


@pytest.mark.parametrize(
    ("target", "provider", "outgoing"),
    [
        (b"/v1/chat/completions", "openai", b"/v1/chat/completions"),
        (b"/chat/completions", "openai", b"/v1/chat/completions"),
        (b"/api/proxy/v1/responses", "openai", b"/v1/responses"),
        (b"/v1/messages", "openai", b"/v1/messages"),
        (b"/messages", "openai", b"/v1/messages"),
        (b"/", "openai", b"/v1/"),
        (b"/anthropic/v1/messages", "anthropic", b"/v1/messages"),
        (b"/gemini/chat/completions", "google", b"/v1beta/openai/chat/completions"),
    ],
)
def test_default_provider_has_the_whole_root(target: bytes, provider: str, outgoing: bytes) -> None:
    router = configured("openai")
    assert (route(target, router=router).provider, route(target, router=router).target) == (provider, outgoing)
    assert router.route(Inbound(b"GET", b"/health", ())) is Endpoint.HEALTH


def test_default_provider_google_keeps_its_two_apis() -> None:
    router = configured("google")
    assert route(b"/v1beta/models/m:generateContent", router=router).target == b"/v1beta/models/m:generateContent"
    assert route(b"/v1/chat/completions", router=router).target == b"/v1beta/openai/chat/completions"


def test_an_upstreams_path_goes_before_every_other() -> None:
    router = configured(openai="http://localhost:9000/some/where/", google="http://localhost:9001/g")
    found = route(b"/openai/chat/completions?a", router=router)
    assert (found.upstream, found.target) == (Origin("http", "localhost", 9000), b"/some/where/v1/chat/completions?a")
    assert (found.operation.name, found.dialect) == ("chat", "openai_chat")
    found = route(b"/gemini/v1/chat/completions", router=router)
    assert (found.target, found.credential_place) == (b"/g/v1beta/openai/chat/completions", CredentialPlace.BEARER)


def test_a_provider_like_another() -> None:
    router = configured(my_vllm="vllm.local")
    found = route(b"/my-vllm/chat/completions", router=router)
    assert (found.provider, found.target) == ("my-vllm", b"/v1/chat/completions")
    assert (found.upstream, found.dialect) == (Origin("http", "vllm.local", 8000), "openai_chat")
    assert "/my-vllm/" in refusal(b"/nope", router=router).message


OTHERS = """
providers:
  groq: {like: openai, upstream: https://api.groq.com/openai/v1}
  openrouter: {like: openai, upstream: https://openrouter.ai/api}
  bare: {like: openai, upstream: https://bare.example}
  perplexity: {like: openai, upstream: https://api.perplexity.ai, version: ""}
  zai: {like: openai, upstream: https://api.z.ai/api/paas, version: v4}
  azure: {like: openai, upstream: https://mine.openai.azure.com/openai, credential: api-key}
  mine: {like: anthropic, upstream: https://mine.example/v2, credential: authorization}
  local: {like: openai, upstream: http://localhost:8000, credential: none}
"""


@pytest.mark.parametrize(
    ("target", "outgoing", "operation", "model"),
    [
        (b"/groq/chat/completions", b"/openai/v1/chat/completions", "chat", None),
        (b"/groq/v1/chat/completions", b"/openai/v1/chat/completions", "chat", None),
        (b"/openrouter/chat/completions", b"/api/v1/chat/completions", "chat", None),
        # as their own paths are, at servers whose upstream was given without them
        (b"/bare/openai/v1/chat/completions", b"/openai/v1/chat/completions", "chat", None),
        (b"/bare/api/v1/embeddings", b"/api/v1/embeddings", "embeddings", None),
        (b"/bare/api/paas/v4/chat/completions", b"/api/paas/v4/chat/completions", "chat", None),
        (
            b"/bare/openai/deployments/d-1/completions?a=1",
            b"/openai/deployments/d-1/completions?a=1",
            "completions",
            "d-1",
        ),
        # which a model or an id that looks like a version does not make of them
        (b"/bare/models/v3", b"/v1/models/v3", "models", None),
        (b"/bare/responses/v2", b"/v1/responses/v2", "responses", None),
        (b"/bare/what/ever", b"/v1/what/ever", "other", None),
        (b"/perplexity/chat/completions", b"/chat/completions", "chat", None),
        (b"/perplexity/v1/chat/completions", b"/v1/chat/completions", "chat", None),
        (b"/zai/chat/completions", b"/api/paas/v4/chat/completions", "chat", None),
        (
            b"/azure/deployments/my%20d/embeddings?a=1",
            b"/openai/deployments/my%20d/embeddings?a=1",
            "embeddings",
            "my d",
        ),
        (b"/azure/chat/completions", b"/openai/v1/chat/completions", "chat", None),
        (b"/azure/responses", b"/openai/v1/responses", "responses", None),
        (b"/mine/messages", b"/v2/messages", "messages", None),
        # the built-in ones keep to the table
        (b"/openai/openai/v1/chat/completions", b"/v1/openai/v1/chat/completions", "other", None),
    ],
)
def test_servers_that_speak_like_another_have_paths_of_their_own(
    target: bytes, outgoing: bytes, operation: str, model: str | None, tmp_path: Path
) -> None:
    config = tmp_path / "metrion.yaml"
    config.write_text(OTHERS)
    found = route(target, router=Router(load_settings(config, {"METRION_HOME": str(tmp_path)})))
    assert (found.target, found.operation.name, found.model) == (outgoing, operation, model)


@pytest.mark.parametrize(
    ("target", "place"),
    [
        (b"/azure/chat/completions", CredentialPlace.API_KEY),
        (b"/mine/messages", CredentialPlace.BEARER),
        (b"/bare/chat/completions", CredentialPlace.BEARER),
        (b"/local/chat/completions", CredentialPlace.NONE),
    ],
)
def test_the_place_of_the_key_can_be_another(target: bytes, place: CredentialPlace, tmp_path: Path) -> None:
    config = tmp_path / "metrion.yaml"
    config.write_text(OTHERS)
    found = route(target, router=Router(load_settings(config, {"METRION_HOME": str(tmp_path)})))
    assert found.credential_place is place


def test_a_providers_timeout_travels_with_the_route() -> None:
    settings = Settings(home=Path("/nowhere"))
    slow = settings.providers["openai"].model_copy(update={"timeout": 7.0})
    router = Router(settings.model_copy(update={"providers": {**settings.providers, "openai": slow}}))
    assert route(b"/openai/v1/x", router=router).timeout == 7
    assert route(b"/mistral/v1/x", router=router).timeout is None


OPENAI, GOOGLE, MOVED = PROVIDERS["openai"].upstream, PROVIDERS["google"].upstream, Origin("http", "localhost", 9000)


@pytest.mark.parametrize(
    ("origin", "target", "provider", "operation", "place"),
    [
        (OPENAI, b"/v1/chat/completions", "openai", "chat", CredentialPlace.BEARER),
        (OPENAI, b"/anthropic/v1/messages", "openai", "messages", CredentialPlace.BEARER),
        (OPENAI, b"/health", "openai", "other", CredentialPlace.BEARER),
        (GOOGLE, b"/v1beta/models/m:generateContent", "google", "generate_content", CredentialPlace.X_GOOG_API_KEY),
        (GOOGLE, b"/v1beta/openai/chat/completions", "google", "chat", CredentialPlace.BEARER),
        (GOOGLE, b"/v1/models", "google", "models", CredentialPlace.X_GOOG_API_KEY),
        (PROVIDERS["anthropic"].upstream, b"/v1/chat/completions", "anthropic", "chat", CredentialPlace.X_API_KEY),
        (MOVED, b"/base/v1/chat/completions", "mistral", "chat", CredentialPlace.BEARER),
        (MOVED, b"/v1/chat/completions", "mistral", "chat", CredentialPlace.BEARER),
        (PROVIDERS["mistral"].upstream, b"/v1/ocr", "mistral", "ocr", CredentialPlace.BEARER),
    ],
)
def test_by_host_the_path_is_the_providers_own(
    origin: Origin, target: bytes, provider: str, operation: str, place: CredentialPlace
) -> None:
    router = configured(mistral="http://localhost:9000/base")
    found = route(target + b"?q=%20", origin=origin, router=router)
    assert (found.provider, found.operation.name, found.credential_place) == (provider, operation, place)
    assert (found.upstream, found.target) == (origin, target + b"?q=%20")


def test_two_providers_at_one_host_are_told_apart_by_their_path() -> None:
    router = configured(openai="http://localhost:9000/a", mistral="http://localhost:9000/a/b")
    assert route(b"/a/v1/x", origin=MOVED, router=router).provider == "openai"
    assert route(b"/a/b/v1/x", origin=MOVED, router=router).provider == "mistral"
    assert route(b"/a/bc/v1/x", origin=MOVED, router=router).provider == "openai"


@pytest.mark.parametrize(
    "origin",
    [
        Origin("https", "example.com", 443),
        Origin("https", "api.openai.com", 8443),
        Origin("http", "api.openai.com", 80),
        Origin("http", "api.openai.com", 443),  # the stored key would go out in the clear
        Origin("https", "api.openai.com.example.com", 443),
        Origin("https", "::1", 443),
    ],
)
def test_no_open_relay(origin: Origin) -> None:
    refused = refusal(b"/v1/chat/completions", origin=origin)
    assert (refused.status, refused.code, refused.provider) == (403, "not_a_provider", None)
    assert origin.host in refused.message


SEGMENT = st.binary(max_size=12).map(lambda raw: raw.translate(None, bytes(range(33)) + b"./?%\\\x7f"))


@given(st.lists(SEGMENT, max_size=5), st.none() | SEGMENT)
def test_what_follows_the_version_goes_out_byte_for_byte(segments: list[bytes], query: bytes | None) -> None:
    tail = b"".join(b"/" + segment for segment in segments) + (b"" if query is None else b"?" + query)
    assume(b"sk-metrion-" not in tail)  # refused, wherever it stands
    assume(not re.match(rb"/+v\d", tail))  # nor may the version stand twice
    assert route(b"/mistral/v1" + tail).target == (b"/v1" + tail)


@given(st.binary(max_size=60))
def test_any_target_gets_a_decision(target: bytes) -> None:
    assert isinstance(ROUTER.route(Inbound(b"POST", target, ())), Route | Refusal)


# What the corpus calls an operation by another name, or does not tell apart.
CORPUS_KINDS = {"generateContent": "generate_content", "other": None, "assistants": None, "batch": None}


def test_recorded_paths_have_the_operations_that_they_were_filed_under() -> None:
    seen = 0
    for exchange in exchanges():
        expected = CORPUS_KINDS.get(exchange.kind, exchange.kind)
        if exchange.provider not in PROVIDERS or expected is None:
            continue
        origin = PROVIDERS[exchange.provider].upstream
        found = route(exchange.path.encode(), exchange.method.encode(), origin=origin)
        assert found.operation.name == expected, exchange.id
        seen += 1
    assert seen > at_least(1000, 50)


# --- what is remembered -----------------------------------------------------------------------------------------------

OPENAI = Origin("https", "api.openai.com", 443)


@pytest.mark.parametrize(
    ("target", "method", "origin", "remembered"),
    [
        (b"/openai/v1/chat/completions", b"POST", None, True),
        (b"/openai/v1/models", b"GET", None, True),
        (b"/v1/chat/completions", b"POST", OPENAI, True),
        (b"/gemini/v1beta/models/m:streamGenerateContent?alt=sse", b"POST", None, True),
        (b"/v1/messages?beta=true", b"POST", None, True),
        (b"/openai/deployments/d/chat/completions?api-version=2024-10-21", b"POST", None, True),
        (b"/gemini/v1beta/models/m:generateContent?key=secret", b"POST", None, False),
        (b"/v1/messages?beta=true&key=secret", b"POST", None, False),
        (b"/v1/messages?beta=secret-that-is-too-long-for-any-flag", b"POST", None, False),
        (b"/openai/v1/models?after=anything", b"GET", None, False),
        (b"/openai/v1/models/" + b"m" * 300, b"GET", None, False),
        (b"/openai/v1/models", b"ANYTHING", None, False),
        (b"/gemini/models", b"GET", None, False),
        (b"/nowhere", b"GET", None, False),
    ],
)
def test_a_route_is_remembered_where_nothing_in_it_is_of_one_request(
    target: bytes, method: bytes, origin: Origin | None, remembered: bool
) -> None:
    first, again = (ROUTER.route(Inbound(method, bytes(bytearray(target)), (), origin)) for _ in range(2))
    assert first == again
    assert (first is again) is remembered


def test_what_is_remembered_of_one_is_not_taken_for_another() -> None:
    path = b"/openai/v1/responses"
    routes = [
        route(path),
        route(path, b"GET"),
        route(path, origin=OPENAI),
        route(b"/api/proxy" + path),
        route(path, headers=BEARER),
    ]
    assert [(found.dialect, found.target) for found in routes] == [
        ("openai_responses", b"/v1/responses"),
        ("openai_realtime", b"/v1/responses"),
        ("openai_responses", path),
        ("openai_responses", b"/v1/responses"),
        ("openai_responses", b"/v1/responses"),
    ]


def test_the_kind_of_a_credential_decides_each_time() -> None:
    kinds = [GOOGLE_KEY, BEARER, GOOGLE_KEY, BEARER]
    assert [route(b"/gemini/v1/models", b"GET", kind).target for kind in kinds] == [
        b"/v1/models",
        b"/v1beta/openai/models",
    ] * 2


def test_strangers_cannot_fill_the_memory_of_routes() -> None:
    router = Router(SETTINGS)
    first = route(b"/v1/messages", router=router)
    assert route(b"/v1/messages", router=router) is first
    for number in range(ROUTES_REMEMBERED):
        route(b"/v1/%d" % number, router=router)
    assert route(b"/v1/messages", router=router) is not first


# --- what a route says beside where it goes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        (b"/anthropic/api/event_logging/batch", "telemetry"),
        (b"/anthropic/api/hello", "telemetry"),
        (b"/anthropic/v1/api/hello", "other"),
        (b"/openai/api/hello", "other"),
    ],
)
def test_what_programs_send_beside_their_calls_is_not_billed(target: bytes, operation: str) -> None:
    found = route(target)
    assert (found.operation.name, found.operation.billed) == (operation, operation == "other")


def test_with_a_default_provider_the_root_has_them_too() -> None:
    assert route(b"/api/hello", router=configured("anthropic")).target == b"/api/hello"
    assert refusal(b"/api/hello").status == 404


def test_a_server_like_anthropic_has_an_api_of_its_own() -> None:
    settings = Settings(home=Path("/nowhere"))
    mine = ProviderSettings(like="anthropic", upstream=Origin("https", "openrouter.ai", 443))
    router = Router(settings.model_copy(update={"providers": {**settings.providers, "mine": mine}}))
    assert route(b"/mine/api/v1/messages", router=router).operation.name == "messages"


@pytest.mark.parametrize(
    ("upstream", "regional"),
    [
        ("https://api.openai.com", False),
        ("https://eu.api.openai.com", True),
        ("https://us.api.openai.com/v1", True),
        ("https://jp.api.openai.com", True),
        ("https://eu.api.openai.com.example.org", False),
        ("http://localhost:8000", False),
    ],
)
def test_a_regional_endpoint_is_known_by_its_host(upstream: str, *, regional: bool) -> None:
    assert route(b"/openai/v1/responses", router=configured(openai=upstream)).regional is regional


@pytest.mark.parametrize(
    ("target", "method", "rewrites"),
    [
        (b"/anthropic/v1/messages/batches", b"GET", True),
        (b"/v1/messages/batches", b"POST", True),
        (b"/v1/messages/batches/msgbatch_1", b"GET", True),
        (b"/v1/messages/batches/msgbatch_1/cancel", b"POST", True),
        (b"/v1/messages/batches/msgbatch_1/results", b"GET", False),
        (b"/v1/messages", b"POST", False),
        (b"/openai/v1/batches/b", b"GET", False),
    ],
)
def test_which_answers_may_name_results(target: bytes, method: bytes, *, rewrites: bool) -> None:
    router = Router(SETTINGS.model_copy(update={"rewrite_result_urls": True}))
    assert route(target, method, router=router).rewrites_result_urls is rewrites
    assert not route(target, method).rewrites_result_urls


@pytest.mark.parametrize(
    ("method", "target", "operation", "billed"),
    [
        (b"POST", b"/anthropic/v1/agents", "agents", False),
        (b"POST", b"/anthropic/v1/environments", "configuration", False),
        (b"POST", b"/anthropic/v1/sessions", "agent_sessions", True),
        (b"POST", b"/anthropic/v1/sessions/sesn_1/events", "agent_sessions", True),
        (b"GET", b"/anthropic/v1/sessions/sesn_1/events/stream", "agent_sessions", True),
        (b"POST", b"/anthropic/v1/sessions/sesn_1/archive", "sessions", False),
        (b"POST", b"/anthropic/v1/deployments", "configuration", False),
        (b"POST", b"/anthropic/v1/deployments/depl_1/run", "agent_sessions", True),
        (b"POST", b"/anthropic/v1/dreams", "dreams", True),
        (b"POST", b"/anthropic/v1/dreams/drm_1/cancel", "cancel", False),
        (b"POST", b"/anthropic/v1/dreams/drm_1/archive", "configuration", False),
        (b"POST", b"/anthropic/v1/memory_stores/m/memories", "configuration", False),
        (b"POST", b"/anthropic/v1/vaults", "configuration", False),
        (b"POST", b"/openai/v1/agents/environments", "configuration", False),
        (b"POST", b"/openai/v1/agents/sessions", "agent_sessions", True),
        (b"POST", b"/openai/v1/agents/sessions/s", "sessions", False),
        (b"POST", b"/openai/v1/agents/sessions/s/events", "agent_sessions", True),
        (b"POST", b"/openai/v1/agents/automations", "configuration", False),
        (b"POST", b"/openai/v1/agents/automations/a/invocations", "agent_sessions", True),
    ],
)
def test_agents_that_a_provider_runs(method: bytes, target: bytes, operation: str, *, billed: bool) -> None:
    found = route(target, method)
    assert (found.operation.name, found.operation.billed, found.model) == (operation, billed, None)
