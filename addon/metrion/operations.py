"""What the paths of the providers do: one row each, and nothing about an operation stands anywhere else.

In goes nothing; out come tables that routing, metering and estimates read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
