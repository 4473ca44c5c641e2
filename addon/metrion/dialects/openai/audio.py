"""OpenAI's Audio API: transcriptions, translations and streamed speech, as OpenAI, Mistral and xAI speak it.

Sources: ``Transcription``, ``TranscriptionVerbose``, ``TranscriptionTextDoneEvent`` in the openai SDK,
``TranscriptionResponse`` in the mistralai SDK, https://docs.x.ai/developers/rest-api-reference/inference/voice.

- The usage counts tokens, or, with ``"type": "duration"``, seconds. Mistral counts both.
- What is heard in a transcription is not told where its input has no details: a part of it may be the prompt.
- Where there is no usage, the ``duration`` that a detailed answer has is what was heard, which is about what is billed:
  OpenAI's usage has it in whole seconds. Speech that is not streamed is nothing but sound, and has no usage at all:
  see :mod:`metrion.estimates.speech`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, label
from metrion.dialects.openai import token_details as openai_tokens
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import Object

_SECONDS = ("seconds", "prompt_audio_seconds", "duration")
"""OpenAI's, Mistral's, and the member beside the usage."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a transcription, or an event of a stream, says."""
    draft.model = label(document.get("model"), draft.model)
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.finish_reason = label(document.get("finish_reason"), draft.finish_reason)
    usage = document.get("usage")
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source, draft.estimated = usage, usage.source, False
    elif draft.usage is None and document.get("duration") is not None:
        draft.usage, draft.estimated = {"duration": document["duration"]}, True


def usage(reader: UsageReader) -> Usage:
    """Read a ``Transcription.Usage`` of either kind."""
    length = next((seconds for name in _SECONDS if (seconds := reader.seconds(name)) is not None), None)
    found = replace(openai_tokens.usage(reader), audio_seconds=length)
    return found if length is not None else openai_tokens.undivided(reader, found, "input_audio")


def spoken_usage(reader: UsageReader) -> Usage:
    """Read the usage of speech, whose input is words."""
    return replace(usage(reader), undivided=None)


DIALECT = Dialect(
    name="openai_audio",
    wanted=(("type",), ("model",), ("id",), ("finish_reason",), ("duration",), ("usage",)),
    nullable=("usage",),
    read=read,
    usage=usage,
    end_data=b"[DONE]",
    end_types=frozenset({"transcript.text.done", "speech.audio.done", "transcription.done"}),
)

SPEECH = replace(DIALECT, name="openai_speech", usage=spoken_usage, by_character=True)
"""Speech: read alike where it is streamed, and nothing but sound where it is not."""
