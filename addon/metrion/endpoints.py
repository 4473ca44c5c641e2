"""What providers can be asked to do, one row each, and the paths by which they are asked.

In goes nothing; out come tables that routing, metering and reports read. A row of an operation says all that sets it
apart, and a row of a path which operation it asks for: nothing about either is written anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metrion.model import Naming, Operation

_AT_OPENAI = frozenset({"openai"})

AGENT_SESSIONS = Operation("agent_sessions")
AGENTS = Operation("agents", billed=False)
ASSISTANTS = Operation("assistants", billed=False)
AUDIO = Operation("audio")
BATCH = Operation("batch", billed=False)
CACHED_CONTENTS = Operation("cached_contents")
CANCEL = Operation("cancel", billed=False, naming=Naming.NEVER)
CHAT = Operation("chat", asks_usage_in="openai_chat", naming=Naming.ALWAYS)
COMPLETIONS = Operation("completions", asks_usage_in="openai_chat", naming=Naming.ALWAYS)
CONFIGURATION = Operation("configuration", billed=False)
CONVERSATIONS = Operation("conversations", free_at=_AT_OPENAI)
COUNT_TOKENS = Operation("count_tokens", billed=False, naming=Naming.ALWAYS)
DECISIONS = Operation("decisions")
DREAMS = Operation("dreams")
EMBEDDINGS = Operation("embeddings", naming=Naming.ALWAYS)
EVALS = Operation("evals")
FILES = Operation("files", billed=False, naming=Naming.ELSEWHERE)
FINE_TUNING = Operation("fine_tuning")
GENERATE_CONTENT = Operation("generate_content", naming=Naming.ALWAYS)
IMAGES = Operation("images")
INTERACTIONS = Operation("interactions")
MESSAGES = Operation("messages", naming=Naming.ALWAYS)
MODELS = Operation("models", billed=False, naming=Naming.NEVER)
MODERATIONS = Operation("moderations", free_at=_AT_OPENAI)
OCR = Operation("ocr", naming=Naming.ALWAYS)
OTHER = Operation("other")
REALTIME = Operation("realtime", session=True, naming=Naming.ELSEWHERE)
RERANK = Operation("rerank", naming=Naming.ALWAYS)
RESPONSES = Operation("responses", naming=Naming.ALWAYS)
RUNS = Operation("runs", deferred=True)
SESSIONS = Operation("sessions", billed=False)
TELEMETRY = Operation("telemetry", billed=False, naming=Naming.NEVER)
"""What a provider's programs send beside their calls: see ``Provider.besides``."""
VECTOR_STORES = Operation("vector_stores", billed=False)
VIDEOS = Operation("videos")


@dataclass(frozen=True, slots=True)
class Path:
    """What a path asks for, and the wire formats of its answers. ``None``: an answer passes through unread."""

    operation: Operation
    """What is asked for here; a GET that opens a session asks for another."""
    post: str | None = None
    """The wire format of the answer to a POST."""
    get: str | None = None
    """That of the answer to a GET, which reads back what was generated before."""
    session: str | None = None
    """That of the WebSocket session which a GET opens: its operation is :data:`REALTIME`, whatever a POST does here."""
    names_results: bool = False
    """Its answers may say by an absolute URL where the results of a batch are."""
    continues: bool = False
    """A POST has the provider go on with what the path names; a later GET of that reports what it used."""
    is_output: bool = False
    """Serves files of any kind. A GET is read only if a finished batch named the file as its output."""

    @property
    def names_generation(self) -> bool:
        """Whether the id in the path is that of something generated."""
        return self.get is not None or self.session is not None or self.continues

    def asked_with(self, method: bytes) -> tuple[Operation, str | None]:
        """Return what a request with this method asks for, and the wire format of its answer."""
        match method:
            case b"POST":
                return self.operation, self.post
            case b"GET" if self.session:
                return REALTIME, self.session
            case b"GET":
                return self.operation, self.get
        return self.operation, None

    def asks_usage(self, method: bytes) -> bool:
        """Whether a request with this method may ask for the usage of a stream."""
        return method == b"POST" and self.post is not None and self.post == self.operation.asks_usage_in


PATHS: Mapping[str, Path] = {
    "agents": Path(AGENTS, "resource"),
    "agents/*": Path(AGENTS, get="resource"),
    "agents/automations": Path(CONFIGURATION),
    "agents/automations/*/invocations": Path(AGENT_SESSIONS, "openai_agent_sessions"),
    "agents/completions": Path(CHAT, "openai_chat"),
    "agents/environments": Path(CONFIGURATION),
    "agents/sessions": Path(AGENT_SESSIONS, "openai_agent_sessions"),
    "agents/sessions/*": Path(SESSIONS, get="openai_agent_sessions"),
    "agents/sessions/*/events": Path(AGENT_SESSIONS, "openai_agent_sessions", continues=True),
    "assistants": Path(ASSISTANTS, "resource"),
    "assistants/*": Path(ASSISTANTS, "resource"),
    "audio": Path(AUDIO),
    "audio/speech": Path(AUDIO, "openai_speech"),
    "audio/speech/realtime": Path(REALTIME, session="openai_realtime"),
    "audio/transcriptions": Path(AUDIO, "openai_audio"),
    "audio/transcriptions/realtime": Path(REALTIME, session="openai_realtime"),
    "audio/translations": Path(AUDIO, "openai_audio"),
    "batches": Path(BATCH, "openai_batches"),
    "batches/*": Path(BATCH, get="openai_batches"),
    "batches/*/cancel": Path(CANCEL),
    "batches/*/results": Path(BATCH, get="xai_batch_results", is_output=True),
    "batch": Path(BATCH),
    "batch/jobs": Path(BATCH, "mistral_batches"),
    "batch/jobs/*": Path(BATCH, get="mistral_batches"),
    "batch/jobs/*/cancel": Path(CANCEL),
    "chat/classifications": Path(MODERATIONS, "openai_embeddings"),
    "chat/completions": Path(CHAT, "openai_chat"),
    "chat/completions/*": Path(CHAT, get="openai_chat"),
    "chat/deferred-completion/*": Path(CHAT, get="openai_chat"),
    "chat/moderations": Path(MODERATIONS, "openai_embeddings"),
    "chatkit/sessions": Path(SESSIONS),
    "chatkit/sessions/*/cancel": Path(CANCEL),
    "classifications": Path(MODERATIONS, "openai_embeddings"),
    "complete": Path(COMPLETIONS, "anthropic_completions"),
    "completions": Path(COMPLETIONS, "openai_chat"),
    "conversations": Path(CONVERSATIONS, "mistral_conversations"),
    "conversations/*": Path(CONVERSATIONS, "mistral_conversations"),
    "conversations/*/restart": Path(CONVERSATIONS, "mistral_conversations"),
    "decisions": Path(DECISIONS, "openai_responses"),
    "deployment_runs": Path(CONFIGURATION),
    "deployments": Path(CONFIGURATION),
    "deployments/*/run": Path(AGENT_SESSIONS, "anthropic_sessions"),
    "dreams": Path(DREAMS, "anthropic_dreams"),
    "dreams/*": Path(DREAMS, get="anthropic_dreams"),
    "dreams/*/archive": Path(CONFIGURATION),
    "dreams/*/cancel": Path(CANCEL),
    "embedding-models": Path(MODELS),
    "embeddings": Path(EMBEDDINGS, "openai_embeddings"),
    "environments": Path(CONFIGURATION),
    "evals/*/runs": Path(EVALS, "openai_evals"),
    "evals/*/runs/*": Path(EVALS, get="openai_evals"),
    "files": Path(FILES),
    "files/*/content": Path(FILES, get="mistral_batch_output", is_output=True),
    "fim/completions": Path(CHAT, "openai_chat"),
    "fine_tuning": Path(FINE_TUNING),
    "fine_tuning/alpha/graders/run": Path(EVALS, "openai_evals"),
    "image-generation-models": Path(MODELS),
    "images": Path(IMAGES, "openai_images"),
    "images/edits": Path(IMAGES, "openai_image_edits"),
    "images/generations": Path(IMAGES, "openai_images"),
    "images/variations": Path(IMAGES, "openai_image_edits"),
    "language-models": Path(MODELS),
    "live/sessions": Path(REALTIME, session="openai_realtime"),
    "live/sessions/*/fork": Path(REALTIME, session="openai_realtime"),
    "live/sessions/*/hangup": Path(CANCEL),
    "live/sessions/*/reject": Path(CANCEL),
    "memory_stores": Path(CONFIGURATION),
    "messages": Path(MESSAGES, "anthropic_messages"),
    "messages/batches": Path(BATCH, "anthropic_batches", names_results=True),
    "messages/batches/*": Path(BATCH, get="anthropic_batches", names_results=True),
    "messages/batches/*/cancel": Path(CANCEL, names_results=True),
    "messages/batches/*/results": Path(BATCH, get="anthropic_batch_results"),
    "messages/count_tokens": Path(COUNT_TOKENS),
    "models": Path(MODELS),
    "models/chat/completions": Path(CHAT, "openai_chat"),  # Azure's models that are not OpenAI's
    "models/embeddings": Path(EMBEDDINGS, "openai_embeddings"),
    "moderations": Path(MODERATIONS, "openai_embeddings"),
    "ocr": Path(OCR, "mistral_ocr"),
    "organization": Path(CONFIGURATION),
    "organizations": Path(CONFIGURATION),
    "realtime": Path(REALTIME, session="openai_realtime"),
    "realtime/calls/*/hangup": Path(CANCEL),
    "realtime/calls/*/reject": Path(CANCEL),
    "realtime/client_secrets": Path(SESSIONS),
    "realtime/sessions": Path(SESSIONS, "resource"),
    "realtime/transcription_sessions": Path(SESSIONS, "resource"),
    "realtime/translations/client_secrets": Path(SESSIONS),
    "rerank": Path(RERANK, "openai_embeddings"),
    "responses": Path(RESPONSES, "openai_responses", session="openai_realtime"),
    "responses/*": Path(RESPONSES, get="openai_responses"),
    "responses/*/cancel": Path(CANCEL, "openai_responses"),
    "responses/compact": Path(RESPONSES, "openai_responses"),
    "responses/input_tokens": Path(COUNT_TOKENS),
    "score": Path(RERANK, "openai_embeddings"),  # vLLM
    "sessions": Path(AGENT_SESSIONS, "anthropic_sessions"),
    "sessions/*": Path(SESSIONS, get="anthropic_sessions"),
    "sessions/*/events": Path(AGENT_SESSIONS, continues=True),
    "skills": Path(CONFIGURATION),
    "stt": Path(AUDIO, "openai_audio"),
    "threads": Path(ASSISTANTS),
    "threads/*/runs": Path(RUNS, "openai_runs"),
    "threads/*/runs/*": Path(ASSISTANTS, get="openai_runs"),
    "threads/*/runs/*/cancel": Path(CANCEL, "openai_runs"),
    "threads/*/runs/*/submit_tool_outputs": Path(RUNS, "openai_runs"),
    "threads/runs": Path(RUNS, "openai_runs"),
    "tokenize-text": Path(COUNT_TOKENS),
    "tts": Path(AUDIO),
    "tunnels": Path(CONFIGURATION),
    "uploads": Path(FILES),
    "user_profiles": Path(CONFIGURATION),
    "vaults": Path(CONFIGURATION),
    "vector_stores": Path(VECTOR_STORES),
    "videos": Path(VIDEOS, "openai_videos"),
    "videos/*": Path(VIDEOS, get="openai_videos"),
    "videos/*/remix": Path(VIDEOS, "openai_videos"),
    "videos/characters": Path(FILES),
    "videos/edits": Path(VIDEOS, "openai_videos"),
    "videos/extensions": Path(VIDEOS, "openai_videos"),
    "videos/generations": Path(VIDEOS, "openai_videos"),
}
"""Paths after the version, for every provider whose API is made of plain paths: no two give one path two meanings, and
several serve each other's (xAI and OpenRouter ``messages``, Anthropic ``chat/completions``). ``*`` is an id. The
longest entry that is the path or a parent of it names the operation; wire formats belong to the exact path only."""

GOOGLE_PATHS: Mapping[str, Path] = {
    ":asyncBatchEmbedContent": Path(BATCH, "gemini_batches"),
    ":batchEmbedContents": Path(EMBEDDINGS, "gemini"),
    ":batchGenerateContent": Path(BATCH, "gemini_batches"),
    ":cancel": Path(CANCEL),
    ":computeTokens": Path(COUNT_TOKENS),
    ":countMessageTokens": Path(COUNT_TOKENS),
    ":countTextTokens": Path(COUNT_TOKENS),
    ":countTokens": Path(COUNT_TOKENS),
    ":download": Path(FILES, get="gemini_batch_output", is_output=True),
    ":embedContent": Path(EMBEDDINGS, "gemini"),
    ":fetchPredictOperation": Path(MODELS),
    ":generateContent": Path(GENERATE_CONTENT, "gemini"),
    ":predict": Path(IMAGES, "vertex_predict"),
    ":predictLongRunning": Path(VIDEOS),
    ":rawPredict": Path(MESSAGES, "anthropic_messages"),
    ":streamGenerateContent": Path(GENERATE_CONTENT, "gemini"),
    ":streamRawPredict": Path(MESSAGES, "anthropic_messages"),
    ":uploadToFileSearchStore": Path(OTHER),  # unlike other uploads, it is billed: what comes is embedded
    "batches": Path(BATCH),
    "batches/*": Path(BATCH, get="gemini_batches"),
    "cachedContents": Path(CACHED_CONTENTS, "resource"),
    "cachedContents/*": Path(CACHED_CONTENTS, get="resource"),
    "decisions": Path(DECISIONS, "gemini_interactions"),
    "download": Path(FILES),
    "files": Path(FILES),
    "interactions": Path(INTERACTIONS, "gemini_interactions"),
    "interactions/*": Path(INTERACTIONS, get="gemini_interactions"),
    "interactions/*/cancel": Path(CANCEL, "gemini_interactions"),
    "mistralai:rawPredict": Path(CHAT, "openai_chat"),
    "mistralai:streamRawPredict": Path(CHAT, "openai_chat"),
    "models": Path(MODELS),
    "upload": Path(FILES),
    "ws": Path(REALTIME),
    "ws/*": Path(REALTIME, session="gemini_live"),
    "ws/*/*": Path(REALTIME, session="gemini_live"),  # Vertex AI
}
"""The same for Google's native paths, where a verb after a colon (``models/M:verb``) decides before the path does.
Sources: the REST references of the Gemini API and of Vertex AI, whose raw predictions are in the words of the model's
publisher, Anthropic's or, as the mistralai SDK has them, Mistral's."""

OPERATIONS: Mapping[str, Operation] = {
    row.name: row for row in (OTHER, TELEMETRY, *(path.operation for path in (*PATHS.values(), *GOOGLE_PATHS.values())))
}
"""Every operation by its name."""
