"""Gemini's Live API, over a WebSocket: messages of one session in, billed readings out.

Sources: ``BidiGenerateContentServerMessage`` in the Live API reference, and recorded sessions.

- Each turn has a ``usageMetadata`` of its own. What earlier turns left in the session is input again each time, so that
  usages are added up and never replace one another.
- The client names the model in its first message, ``setup``; the server does not repeat it.
- A message is JSON, whether it comes as text or as bytes.

Nothing here raises, and nothing of a message is held.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import SessionFormat, label, mapping, usages
from metrion.dialects.google import generate_content as gemini
from metrion.dialects.reading.session_message import Message
from metrion.dialects.reading.usage_check import finish
from metrion.model import Reading
from metrion.parsing.json_values import tree

_MARKS = (b"usageMetadata", b"groundingMetadata")
"""A message that shows none of these has nothing new. Nearly all are of that kind, and many are long."""

_MEMBERS = (
    ("usageMetadata",),
    ("setup", "model"),
    ("serverContent", "turnComplete"),
    ("serverContent", "interrupted"),
    *(("serverContent", "groundingMetadata", *path) for path in gemini.GROUNDING),
)
_WANTED, _USAGES = tree(_MEMBERS), usages(_MEMBERS)
_ENDS = {"turnComplete": "turn_complete", "interrupted": "interrupted"}


class LiveReader:
    """Reads beside one session. ``model`` is the one in the upgrade's path, where it is there."""

    def __init__(self, model: str | None = None) -> None:
        self._model = model
        self._draft = gemini.GeminiDraft(model=model)
        self._is_set_up = False

    def sent(self, message: bytes) -> None:
        """Look at a message of the client's: the first chooses the model."""
        if not self._is_set_up and b'"setup"' in message:
            model = label(mapping(Message(message, _WANTED).document.get("setup")).get("model"))
            self._is_set_up = model is not None
            self._draft.model = self._model = model or self._model

    def received(self, message: bytes) -> Reading | None:
        """Look at a message of the provider's. Returns the reading of what it says is over and billed, if it does."""
        if not any(mark in message for mark in _MARKS):
            return None
        read = Message(message, _WANTED)
        return read.reading(self._read(read.document), _USAGES)

    def _read(self, document: Mapping[str, Any]) -> Reading | None:
        content = mapping(document.get("serverContent"))
        gemini.record_searches(mapping(content.get("groundingMetadata")), self._draft)
        gemini.record_usage(document.get("usageMetadata"), self._draft)
        if self._draft.usage is None:
            return None
        draft, self._draft = self._draft, gemini.GeminiDraft(model=self._model)
        draft.finish_reason = next((end for name, end in _ENDS.items() if content.get(name) is True), None)
        draft.terminal = True
        return finish(draft, FORMAT)


FORMAT = SessionFormat(name="gemini_live", usage=gemini.usage, needs=gemini.DIALECT.needs, open=LiveReader)
