"""The wire formats, one file each, and the one table that names them.

A further format is a file beside these with a :class:`Dialect` in it, and a row here; the tap knows none by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from metrion.dialects import (
    anthropic_batches,
    anthropic_completions,
    anthropic_messages,
    gemini,
    gemini_batches,
    gemini_interactions,
    gemini_live,
    mistral_batches,
    mistral_conversations,
    mistral_ocr,
    openai_audio,
    openai_batches,
    openai_chat,
    openai_embeddings,
    openai_evals,
    openai_images,
    openai_realtime,
    openai_responses,
    openai_runs,
    openai_videos,
    resource,
    vertex_predict,
    xai_batches,
)
from metrion.dialects.dialect import Dialect
from metrion.model import Reading

DIALECTS: Mapping[str, Dialect] = {
    "anthropic_batch_results": anthropic_batches.RESULTS,
    "anthropic_batches": anthropic_batches.DIALECT,
    "anthropic_completions": anthropic_completions.DIALECT,
    "anthropic_messages": anthropic_messages.DIALECT,
    "gemini": gemini.DIALECT,
    "gemini_batch_output": gemini_batches.OUTPUT,
    "gemini_batches": gemini_batches.DIALECT,
    "gemini_interactions": gemini_interactions.DIALECT,
    "mistral_batch_output": mistral_batches.OUTPUT,
    "mistral_batches": mistral_batches.DIALECT,
    "mistral_conversations": mistral_conversations.DIALECT,
    "mistral_ocr": mistral_ocr.DIALECT,
    "openai_audio": openai_audio.DIALECT,
    "openai_batches": openai_batches.DIALECT,
    "openai_chat": openai_chat.DIALECT,
    "openai_embeddings": openai_embeddings.DIALECT,
    "openai_evals": openai_evals.DIALECT,
    "openai_images": openai_images.DIALECT,
    "openai_responses": openai_responses.DIALECT,
    "openai_runs": openai_runs.DIALECT,
    "openai_speech": openai_audio.DIALECT,
    "openai_videos": openai_videos.DIALECT,
    "resource": resource.DIALECT,
    "vertex_predict": vertex_predict.DIALECT,
    "xai_batch_results": xai_batches.RESULTS,
}
"""By the name that a :class:`~metrion.model.Route` has in ``dialect``."""


class SessionReader(Protocol):
    """Reads beside one WebSocket session; ``received`` returns the reading of each response that is billed."""

    def sent(self, message: bytes) -> None:
        """Look at a message of the client's."""

    def received(self, message: bytes) -> Reading | None:
        """Look at a message of the provider's."""


SESSIONS: Mapping[str, Callable[[str | None], SessionReader]] = {
    "gemini_live": gemini_live.LiveReader,
    "openai_realtime": openai_realtime.RealtimeReader,
}
"""The same for WebSocket sessions; called with the model, where the upgrade names it."""
