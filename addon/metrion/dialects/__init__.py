"""The wire formats, one file each, and the one table that names them.

A further format is a file beside these with a :class:`Dialect` in it, and a row here; the tap knows none by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from metrion.dialects import resource
from metrion.dialects.anthropic import batches as anthropic_batches
from metrion.dialects.anthropic import completions as anthropic_completions
from metrion.dialects.anthropic import messages as anthropic_messages
from metrion.dialects.dialect import Dialect
from metrion.dialects.google import batches as gemini_batches
from metrion.dialects.google import generate_content as gemini
from metrion.dialects.google import interactions as gemini_interactions
from metrion.dialects.google import live as gemini_live
from metrion.dialects.google import vertex_predict
from metrion.dialects.mistral import batches as mistral_batches
from metrion.dialects.mistral import conversations as mistral_conversations
from metrion.dialects.mistral import ocr as mistral_ocr
from metrion.dialects.openai import audio as openai_audio
from metrion.dialects.openai import batches as openai_batches
from metrion.dialects.openai import chat as openai_chat
from metrion.dialects.openai import embeddings as openai_embeddings
from metrion.dialects.openai import evals as openai_evals
from metrion.dialects.openai import images as openai_images
from metrion.dialects.openai import realtime as openai_realtime
from metrion.dialects.openai import responses as openai_responses
from metrion.dialects.openai import runs as openai_runs
from metrion.dialects.openai import videos as openai_videos
from metrion.dialects.xai import batches as xai_batches
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
    "openai_speech": openai_audio.SPEECH,
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
