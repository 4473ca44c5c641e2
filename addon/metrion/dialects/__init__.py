"""The wire formats, one file each, and the one table that names them.

A further format is a file beside these with a :class:`Dialect` in it, and a row here; the tap knows none by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from metrion.dialects import (
    anthropic_messages,
    openai_audio,
    openai_chat,
    openai_embeddings,
    openai_images,
    openai_responses,
    openai_runs,
)
from metrion.dialects.dialect import Dialect

DIALECTS: Mapping[str, Dialect] = {
    "anthropic_messages": anthropic_messages.DIALECT,
    "openai_audio": openai_audio.DIALECT,
    "openai_chat": openai_chat.DIALECT,
    "openai_embeddings": openai_embeddings.DIALECT,
    "openai_images": openai_images.DIALECT,
    "openai_responses": openai_responses.DIALECT,
    "openai_runs": openai_runs.DIALECT,
}
"""By the name that a :class:`~metrion.model.Route` has in ``dialect``."""
