"""The providers that Metrion knows: one entry each, and nothing about a provider stands anywhere else in the core.

In goes nothing; out come ``PROVIDERS`` and ``OPERATIONS``, tables that routing, callers and settings read. No function
here touches a request. A new provider is one more entry; a server that speaks like a known one needs no entry but
``like:`` in the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metrion.model import CredentialPlace, ErrorShape, Origin


@dataclass(frozen=True, slots=True)
class Operation:
    """What a path does."""

    name: str
    dialect: str | None = None
    """The wire format of the answer to a POST; ``None``: passed through unread."""
    read_back: str | None = None
    """That of the answer to a GET, which reads back what was generated before, or opens a session."""
    is_output: bool = False
    """What a GET reads back here is the output of a batch where a batch has named it, and otherwise anything."""


OTHER = Operation("other")

OPERATIONS: Mapping[str, Operation] = {
    "agents": Operation("agents", "resource"),
    "agents/*": Operation("agents", read_back="resource"),
    "agents/automations": Operation("agent_sessions"),
    "agents/completions": Operation("chat", "openai_chat"),
    "agents/environments": Operation("agent_sessions"),
    "agents/sessions": Operation("agent_sessions"),
    "assistants": Operation("assistants", "resource"),
    "assistants/*": Operation("assistants", "resource"),
    "audio": Operation("audio"),
    "audio/speech": Operation("audio", "openai_speech"),
    "audio/speech/realtime": Operation("realtime", read_back="openai_realtime"),
    "audio/transcriptions": Operation("audio", "openai_audio"),
    "audio/transcriptions/realtime": Operation("realtime", read_back="openai_realtime"),
    "audio/translations": Operation("audio", "openai_audio"),
    "batches": Operation("batch", "openai_batches"),
    "batches/*": Operation("batch", read_back="openai_batches"),
    "batches/*/cancel": Operation("cancel"),
    "batches/*/results": Operation("batch", read_back="xai_batch_results", is_output=True),
    "batch": Operation("batch"),
    "batch/jobs": Operation("batch", "mistral_batches"),
    "batch/jobs/*": Operation("batch", read_back="mistral_batches"),
    "batch/jobs/*/cancel": Operation("cancel"),
    "chat/classifications": Operation("moderations", "openai_embeddings"),
    "chat/completions": Operation("chat", "openai_chat"),
    "chat/completions/*": Operation("chat", read_back="openai_chat"),
    "chat/deferred-completion/*": Operation("chat", read_back="openai_chat"),
    "chat/moderations": Operation("moderations", "openai_embeddings"),
    "chatkit/sessions": Operation("sessions"),
    "chatkit/sessions/*/cancel": Operation("cancel"),
    "classifications": Operation("moderations", "openai_embeddings"),
    "complete": Operation("completions", "anthropic_completions"),
    "completions": Operation("completions", "openai_chat"),
    "conversations": Operation("conversations", "mistral_conversations"),
    "conversations/*": Operation("conversations", "mistral_conversations"),
    "conversations/*/restart": Operation("conversations", "mistral_conversations"),
    "decisions": Operation("decisions", "openai_responses"),
    "embedding-models": Operation("models"),
    "embeddings": Operation("embeddings", "openai_embeddings"),
    "evals/*/runs": Operation("evals", "openai_evals"),
    "evals/*/runs/*": Operation("evals", read_back="openai_evals"),
    "files": Operation("files"),
    "files/*/content": Operation("files", read_back="mistral_batch_output", is_output=True),
    "fim/completions": Operation("chat", "openai_chat"),
    "fine_tuning": Operation("fine_tuning"),
    "fine_tuning/alpha/graders/run": Operation("evals", "openai_evals"),
    "image-generation-models": Operation("models"),
    "images": Operation("images", "openai_images"),
    "images/edits": Operation("images", "openai_images"),
    "images/generations": Operation("images", "openai_images"),
    "images/variations": Operation("images", "openai_images"),
    "language-models": Operation("models"),
    "live/sessions": Operation("realtime", read_back="openai_realtime"),
    "live/sessions/*/fork": Operation("realtime", read_back="openai_realtime"),
    "live/sessions/*/hangup": Operation("cancel"),
    "live/sessions/*/reject": Operation("cancel"),
    "messages": Operation("messages", "anthropic_messages"),
    "messages/batches": Operation("batch", "anthropic_batches"),
    "messages/batches/*": Operation("batch", read_back="anthropic_batches"),
    "messages/batches/*/cancel": Operation("cancel"),
    "messages/batches/*/results": Operation("batch", read_back="anthropic_batch_results"),
    "messages/count_tokens": Operation("count_tokens"),
    "models": Operation("models"),
    "models/chat/completions": Operation("chat", "openai_chat"),  # Azure's models that are not OpenAI's
    "models/embeddings": Operation("embeddings", "openai_embeddings"),
    "moderations": Operation("moderations", "openai_embeddings"),
    "ocr": Operation("ocr", "mistral_ocr"),
    "realtime": Operation("realtime", read_back="openai_realtime"),
    "realtime/calls/*/hangup": Operation("cancel"),
    "realtime/calls/*/reject": Operation("cancel"),
    "realtime/client_secrets": Operation("sessions"),
    "realtime/sessions": Operation("sessions", "resource"),
    "realtime/transcription_sessions": Operation("sessions", "resource"),
    "realtime/translations/client_secrets": Operation("sessions"),
    "rerank": Operation("rerank", "openai_embeddings"),
    "responses": Operation("responses", "openai_responses", read_back="openai_realtime"),
    "responses/*": Operation("responses", read_back="openai_responses"),
    "responses/*/cancel": Operation("cancel", "openai_responses"),
    "responses/compact": Operation("responses", "openai_responses"),
    "responses/input_tokens": Operation("count_tokens"),
    "score": Operation("rerank", "openai_embeddings"),  # vLLM
    "stt": Operation("audio", "openai_audio"),
    "threads": Operation("assistants"),
    "threads/*/runs": Operation("runs", "openai_runs"),
    "threads/*/runs/*": Operation("assistants", read_back="openai_runs"),
    "threads/*/runs/*/cancel": Operation("cancel", "openai_runs"),
    "threads/*/runs/*/submit_tool_outputs": Operation("runs", "openai_runs"),
    "threads/runs": Operation("runs", "openai_runs"),
    "tokenize-text": Operation("count_tokens"),
    "tts": Operation("audio"),
    "uploads": Operation("files"),
    "vector_stores": Operation("vector_stores"),
    "videos": Operation("videos", "openai_videos"),
    "videos/*": Operation("videos", read_back="openai_videos"),
    "videos/*/remix": Operation("videos", "openai_videos"),
    "videos/characters": Operation("files"),
    "videos/edits": Operation("videos", "openai_videos"),
    "videos/extensions": Operation("videos", "openai_videos"),
    "videos/generations": Operation("videos", "openai_videos"),
}
"""Paths after the version, for every provider whose API is made of plain paths: no two give one path two meanings, and
several serve each other's (xAI and OpenRouter ``messages``, Anthropic ``chat/completions``). ``*`` is an id. The
longest entry that is the path or a parent of it names the operation; wire formats belong to the exact path only."""

GOOGLE_OPERATIONS: Mapping[str, Operation] = {
    ":asyncBatchEmbedContent": Operation("batch"),
    ":batchEmbedContents": Operation("embeddings", "gemini"),
    ":batchGenerateContent": Operation("batch", "gemini_batches"),
    ":cancel": Operation("cancel"),
    ":computeTokens": Operation("count_tokens"),
    ":countMessageTokens": Operation("count_tokens"),
    ":countTextTokens": Operation("count_tokens"),
    ":countTokens": Operation("count_tokens"),
    ":download": Operation("files", read_back="gemini_batch_output", is_output=True),
    ":embedContent": Operation("embeddings", "gemini"),
    ":fetchPredictOperation": Operation("models"),
    ":generateContent": Operation("generate_content", "gemini"),
    ":predict": Operation("images", "vertex_predict"),
    ":predictLongRunning": Operation("videos"),
    ":rawPredict": Operation("messages", "anthropic_messages"),
    ":streamGenerateContent": Operation("generate_content", "gemini"),
    ":streamRawPredict": Operation("messages", "anthropic_messages"),
    ":uploadToFileSearchStore": OTHER,  # unlike other uploads, it is billed: what comes is embedded
    "batches": Operation("batch"),
    "batches/*": Operation("batch", read_back="gemini_batches"),
    "cachedContents": Operation("cached_contents", "resource"),
    "cachedContents/*": Operation("cached_contents", read_back="resource"),
    "decisions": Operation("decisions", "gemini_interactions"),
    "download": Operation("files"),
    "files": Operation("files"),
    "interactions": Operation("interactions", "gemini_interactions"),
    "interactions/*": Operation("interactions", read_back="gemini_interactions"),
    "interactions/*/cancel": Operation("cancel", "gemini_interactions"),
    "mistralai:rawPredict": Operation("chat", "openai_chat"),
    "mistralai:streamRawPredict": Operation("chat", "openai_chat"),
    "models": Operation("models"),
    "upload": Operation("files"),
    "ws": Operation("realtime"),
    "ws/*": Operation("realtime", read_back="gemini_live"),
    "ws/*/*": Operation("realtime", read_back="gemini_live"),  # Vertex AI
}
"""The same for Google's native paths, where a verb after a colon (``models/M:verb``) decides before the path does.
Sources: the REST references of the Gemini API and of Vertex AI, whose raw predictions are in the words of the model's
publisher, Anthropic's or, as the mistralai SDK has them, Mistral's."""


@dataclass(frozen=True, slots=True)
class Surface:
    """One API of a provider: where its paths begin, where it expects the key, and how it words errors."""

    prefix: bytes
    """Put before a path that names no version."""
    credential_place: CredentialPlace
    error_shape: ErrorShape
    operations: Mapping[str, Operation]
    names_models: bool = False
    """Paths hold the model and a verb: ``models/M:verb``."""


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
    aliases: tuple[str, ...] = ()
    compatible: Compatible | None = None


PROVIDERS: Mapping[str, Provider] = {
    "anthropic": Provider(
        upstream=Origin("https", "api.anthropic.com", 443),
        native=Surface(b"/v1", CredentialPlace.X_API_KEY, ErrorShape.ANTHROPIC, OPERATIONS),
        request_id_headers=(b"request-id",),
        environment="ANTHROPIC_API_KEY",
    ),
    "openai": Provider(
        upstream=Origin("https", "api.openai.com", 443),
        native=Surface(b"/v1", CredentialPlace.BEARER, ErrorShape.OPENAI, OPERATIONS),
        request_id_headers=(b"x-request-id",),
        environment="OPENAI_API_KEY",
    ),
    "google": Provider(
        upstream=Origin("https", "generativelanguage.googleapis.com", 443),
        native=Surface(
            b"/v1beta", CredentialPlace.X_GOOG_API_KEY, ErrorShape.GOOGLE, GOOGLE_OPERATIONS, names_models=True
        ),
        request_id_headers=(b"x-goog-request-id", b"x-request-id"),
        environment="GEMINI_API_KEY",
        aliases=("gemini",),
        compatible=Compatible(
            # Errors in OpenAI's words: these paths are called with OpenAI's SDK.
            surface=Surface(b"/v1beta/openai", CredentialPlace.BEARER, ErrorShape.OPENAI, OPERATIONS),
            paths=frozenset(
                {b"audio", b"batches", b"chat", b"completions", b"embeddings", b"images", b"models", b"moderations"}
                | {b"responses", b"videos"}
            ),
            shared=frozenset({b"batches", b"models"}),
        ),
    ),
    "mistral": Provider(
        upstream=Origin("https", "api.mistral.ai", 443),
        native=Surface(b"/v1", CredentialPlace.BEARER, ErrorShape.MISTRAL, OPERATIONS),
        request_id_headers=(b"mistral-correlation-id", b"x-kong-request-id", b"x-request-id"),
        environment="MISTRAL_API_KEY",
    ),
    "xai": Provider(
        upstream=Origin("https", "api.x.ai", 443),
        native=Surface(b"/v1", CredentialPlace.BEARER, ErrorShape.XAI, OPERATIONS),
        request_id_headers=(b"x-request-id",),
        environment="XAI_API_KEY",
        aliases=("grok",),
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
"""Why the usage of a stream is not to be asked for there, by host: the client, from which the answer is kept, would
miss what it gets anyway. OpenAI, Azure, xAI, vLLM and most others report it only where it is asked for.

Sources: recorded streams of requests that did not ask (Groq, Mistral, OpenRouter, Perplexity), the reference at
https://api-docs.deepseek.com/api/create-chat-completion, and ``ChatStreamOptions`` in OpenRouter's."""

ALIASES: Mapping[str, str] = {alias: name for name, provider in PROVIDERS.items() for alias in provider.aliases}
"""Other names that a person may type, and the names they stand for."""


def canonical_name(name: str) -> str:
    """Return the provider name that ``name`` stands for: ``gemini`` is ``google``; any other name is itself."""
    return ALIASES.get(name, name)
