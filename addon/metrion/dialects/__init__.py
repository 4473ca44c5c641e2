"""The wire formats, one file each, and the one table that names them.

A further format is a file beside these with a :class:`Dialect` in it, and a row here; the tap knows none by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from metrion.dialects import anthropic_messages, openai_chat
from metrion.dialects.dialect import Dialect

DIALECTS: Mapping[str, Dialect] = {
    "anthropic_messages": anthropic_messages.DIALECT,
    "openai_chat": openai_chat.DIALECT,
}
"""By the name that a :class:`~metrion.model.Route` has in ``dialect``."""
