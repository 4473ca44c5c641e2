"""The wire formats, one file each, and the tables of them.

A further format is a file beside these with a row in it, and that row in a table here. A row knows its own name and all
that other rooms have to know of the format; nobody else knows a format by name but the operations that speak it.
"""

from __future__ import annotations

from collections.abc import Mapping

from metrion.dialects import resource
from metrion.dialects.anthropic import batches as anthropic_batches
from metrion.dialects.anthropic import completions as anthropic_completions
from metrion.dialects.anthropic import messages as anthropic_messages
from metrion.dialects.anthropic import sessions as anthropic_sessions
from metrion.dialects.dialect import Dialect, SessionFormat, SessionReader, WireFormat
from metrion.dialects.google import batches as gemini_batches
from metrion.dialects.google import generate_content as gemini
from metrion.dialects.google import interactions as gemini_interactions
from metrion.dialects.google import live as gemini_live
from metrion.dialects.google import vertex_predict
from metrion.dialects.mistral import batches as mistral_batches
from metrion.dialects.mistral import conversations as mistral_conversations
from metrion.dialects.mistral import ocr as mistral_ocr
from metrion.dialects.openai import agent_sessions as openai_agent_sessions
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

__all__ = ["DIALECTS", "FORMATS", "SESSIONS", "SessionReader"]

DIALECTS: Mapping[str, Dialect] = {
    row.name: row
    for row in (
        anthropic_batches.RESULTS,
        anthropic_batches.DIALECT,
        anthropic_completions.DIALECT,
        anthropic_sessions.DREAMS,
        anthropic_sessions.DIALECT,
        anthropic_messages.DIALECT,
        gemini.DIALECT,
        gemini_batches.OUTPUT,
        gemini_batches.DIALECT,
        gemini_interactions.DIALECT,
        mistral_batches.OUTPUT,
        mistral_batches.DIALECT,
        mistral_conversations.DIALECT,
        mistral_ocr.DIALECT,
        openai_agent_sessions.DIALECT,
        openai_audio.DIALECT,
        openai_batches.DIALECT,
        openai_chat.DIALECT,
        openai_embeddings.DIALECT,
        openai_evals.DIALECT,
        openai_images.DIALECT,
        openai_images.EDITS,
        openai_responses.DIALECT,
        openai_runs.DIALECT,
        openai_audio.SPEECH,
        openai_videos.DIALECT,
        resource.DIALECT,
        vertex_predict.DIALECT,
        xai_batches.RESULTS,
    )
}
"""Formats of bodies, by the name that a :class:`~metrion.model.Route` has in ``dialect``."""

SESSIONS: Mapping[str, SessionFormat] = {row.name: row for row in (gemini_live.FORMAT, openai_realtime.FORMAT)}
"""Formats of WebSocket sessions, by the same."""

FORMATS: Mapping[str, WireFormat] = {**DIALECTS, **SESSIONS}
"""All of them."""
