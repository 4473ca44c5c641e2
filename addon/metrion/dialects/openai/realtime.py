"""OpenAI's Realtime and Live APIs, and Responses over a WebSocket: messages of one session in, billed readings out.

Sources: ``RealtimeResponseUsage``, ``ConversationItemInputAudioTranscriptionCompletedEvent`` and
``ResponsesServerEvent`` in the openai SDK, there also ``SessionUsageUpdatedEvent``, ``ResponseEvent`` and
``DecisionEvent`` for the Live API; https://docs.x.ai/docs/guides/voice/agent for xAI's; ``TranscriptionStreamDone``
and ``SpeechStreamDone`` in the mistralai SDK for sessions of Mistral's that transcribe or speak.

- Each response that is over has its usage, also one that was cut off. What earlier turns left in the conversation is
  input again each time, so that usages are added up and never replace one another.
- The transcription of what the client said is another model's work, and is billed apart.
- xAI bills by the second: ``billable_audio_seconds``.
- A Live session reports how many seconds it has lasted, again and again: what was added is billed each time. Where it
  says how many of them it was paused, those are apart. Responses
  and decisions that it delegates are other models' work, and pass wrapped into its own events.

Nothing here raises, and nothing of a message is held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from metrion.dialects.dialect import TOKENS, Draft, SessionFormat, label, mapping, usages
from metrion.dialects.openai import responses as openai_responses
from metrion.dialects.reading import errors
from metrion.dialects.reading.session_message import Message
from metrion.dialects.reading.usage_check import finish
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Reading, Usage
from metrion.parsing.json_values import Object, to_json, tree

_RESPONSES = frozenset({"response.done", *openai_responses.END_TYPES})
_TRANSCRIPTION = "conversation.item.input_audio_transcription.completed"
_DELEGATED = frozenset({"response.event", "decision.event"})
_LASTED = frozenset({"session.usage.updated", "session.closed"})
_DONE = frozenset({"transcription.done", "speech.audio.done"})

_MARKS = (b"response.done", b"response.completed", b"response.incomplete", b"response.failed", b"decision.completed",
         b"session.created", b"session.started", b"session.updated", b"session.usage", b"session.closed",
         b"input_audio_transcription.completed", b"transcription.done", b"speech.audio.done")  # fmt: skip
"""A message that shows none of these has nothing new. Nearly all are of that kind, and many are long."""

_MEMBERS = (
    *openai_responses.DIALECT.wanted,
    ("item_id",),
    *(("event", *path) for path in openai_responses.DIALECT.wanted),
    ("event", "decision", "model"),
    ("event", "decision", "usage"),
    ("session", "id"),
    ("session", "request_id"),
    ("session", "model"),
    ("session", "audio", "input", "transcription", "model"),
    ("session", "input_audio_transcription", "model"),
)
_WANTED, _USAGES = tree(_MEMBERS), usages(_MEMBERS)


_ACTIVE, _PAUSED = ("active", "active_seconds"), ("paused", "paused_seconds")
_MORE = "since the last report"
"""The name under which the draft keeps, beside the totals of a session, by how much they grew."""
_ROUNDING = 1.0
"""Seconds by which the parts of a length may differ from it."""


class RealtimeReader:
    """Reads beside one session. ``model`` is the one in the upgrade's path, where it is there."""

    def __init__(self, model: str | None = None) -> None:
        self._model = model
        self._transcription_model: str | None = None
        self._session_id: str | None = None
        self._active = self._paused = 0.0
        """Seconds of a Live session that have been billed, and that it was paused until then."""

    def sent(self, message: bytes) -> None:
        """Look at a message of the client's: it may choose a model, which not every server repeats."""
        if b"session" in message and b'"model"' in message:
            self._record_session(Message(message, _WANTED).document)

    def received(self, message: bytes) -> Reading | None:
        """Look at a message of the provider's. Returns the reading of what it says is over and billed, if it does."""
        if not any(mark in message for mark in _MARKS):
            return None
        read = Message(message, _WANTED)
        self._record_session(read.document)
        return read.reading(self._read(read.document), _USAGES)

    def _read(self, document: Mapping[str, Any]) -> Reading | None:
        match document.get("type"):
            case str() as name if name in _RESPONSES:
                return self._response(document)
            case str() as name if name == _TRANSCRIPTION:
                return self._transcription(document)
            case str() as name if name in _DELEGATED:
                return self._delegated(mapping(document.get("event")))
            case str() as name if name in _LASTED:
                return self._more_seconds(document)
            case str() as name if name in _DONE:
                return self._done(document)
        return None

    def _record_session(self, document: object) -> None:
        session = mapping(mapping(document).get("session"))
        self._model = label(session.get("model"), self._model)
        self._session_id = label(session.get("id"), session.get("request_id"), self._session_id)
        heard = mapping(mapping(mapping(session.get("audio")).get("input")).get("transcription"))
        older = mapping(session.get("input_audio_transcription"))
        self._transcription_model = label(heard.get("model"), older.get("model"), self._transcription_model)

    def _delegated(self, event: Mapping[str, Any]) -> Reading | None:
        if event.get("type") in _RESPONSES:
            return self._response(event)
        decision = mapping(event.get("decision"))
        usage = decision.get("usage")
        if not isinstance(usage, Object) or not usage:
            return None
        return _reading(Draft(model=label(decision.get("model")), usage=usage, usage_source=usage.source))

    def _done(self, document: Mapping[str, Any]) -> Reading | None:
        usage = document.get("usage")
        if not isinstance(usage, Object) or not usage:
            return None
        model = label(document.get("model"), self._model)
        return _reading(Draft(model=model, generation_id=self._session_id, usage=usage, usage_source=usage.source))

    def _more_seconds(self, document: Mapping[str, Any]) -> Reading | None:
        usage = document.get("usage")
        if not isinstance(usage, Object):
            return None
        active, paused = _lengths(UsageReader(usage))
        if active is None:
            return None
        more = {"active": active - self._active, "paused": (paused or 0) - self._paused}
        more = {name: max(0.0, round(length, 6)) for name, length in more.items()}
        if not any(more.values()):
            return None
        self._active, self._paused = max(active, self._active), max(paused or 0, self._paused)
        draft = Draft(model=self._model, generation_id=self._session_id, usage={**usage, _MORE: _decimals(more)})
        draft.usage_source = to_json(draft.usage) if _has_parts(UsageReader(usage)) else usage.source
        return _reading(draft)

    def _response(self, document: Mapping[str, Any]) -> Reading:
        draft = Draft(model=self._model)
        openai_responses.read(document, draft)
        response = mapping(document.get("response"))
        if response.get("status") == "failed":
            draft.stream_error = True
            details = mapping(response.get("status_details"))
            draft.error_type = errors.error_type(details) or draft.error_type
        return _reading(draft)

    def _transcription(self, document: Mapping[str, Any]) -> Reading | None:
        usage = document.get("usage")
        if not isinstance(usage, Object) or not usage:
            return None  # a server that does not bill it apart
        item = label(document.get("item_id"))
        return _reading(
            Draft(model=self._transcription_model, generation_id=item, usage=usage, usage_source=usage.source)
        )


def usage(reader: UsageReader) -> Usage:
    """Read the usage of a response or of a transcription, or the time that was added to that of a session."""
    found = openai_responses.usage(reader)
    if reader.holds_object(_MORE):
        _lengths(reader)
        if reader.is_unreadable:
            return found
        paused = reader.seconds(_MORE, "paused") if _has_parts(reader) else None
        return replace(found, audio_seconds=reader.seconds(_MORE, "active"), paused_seconds=paused)
    seconds = (reader.seconds(name) for name in ("seconds", "billable_audio_seconds", "prompt_audio_seconds"))
    return replace(found, audio_seconds=next((length for length in seconds if length is not None), None))


def _has_parts(reader: UsageReader) -> bool:
    """Whether a session's length is reported in parts."""
    return any(reader.has(name) for name in (*_ACTIVE, *_PAUSED))


def _lengths(reader: UsageReader) -> tuple[float | None, float | None]:
    """Return how long a session was active and how long it was paused; ``None``: they are not reported apart."""
    lasted = reader.seconds("seconds")
    active, paused = (next((s for name in names if (s := reader.seconds(name)) is not None), None)
                      for names in (_ACTIVE, _PAUSED))  # fmt: skip
    if active is None and paused is None:
        return lasted, None
    if lasted is not None:
        active = lasted - (paused or 0) if active is None else active
        paused = lasted - active if paused is None else paused
        if active < 0 or paused < 0 or abs(lasted - active - paused) > _ROUNDING:
            reader.contradict("seconds", by="what was active and what was paused")
    return active, paused


def _decimals(lengths: Mapping[str, float]) -> dict[str, Decimal]:
    return {name: Decimal(repr(length)) for name, length in lengths.items()}


def _reading(draft: Draft) -> Reading:
    draft.terminal = True
    return finish(draft, FORMAT)


FORMAT = SessionFormat(name="openai_realtime", usage=usage, needs=TOKENS, or_seconds=True, open=RealtimeReader)
