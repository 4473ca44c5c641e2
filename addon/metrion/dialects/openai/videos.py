"""Videos, which are ordered and read back later, of OpenAI, xAI, OpenRouter and others.

Sources: ``Video`` in the openai SDK, https://docs.x.ai/developers/model-capabilities/video/generation and
https://docs.x.ai/developers/cost-tracking, ``VideoGenerationResponse`` of OpenRouter.

- The answer to the request is a job, or just a ``request_id``. The GET that finds it done says what it cost.
- xAI and OpenRouter say then what they charged. OpenAI says nothing of money; it bills the seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, label
from metrion.dialects.reading.charges import charged
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import Object, to_json

_DONE = frozenset({"completed", "done"})
_FAILED = frozenset({"failed", "expired", "cancelled"})

_SECONDS = "video_seconds"


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a job says."""
    draft.model = label(document.get("model"), draft.model)
    draft.generation_id = label(document.get("id"), document.get("request_id"), draft.generation_id)
    status = label(document.get("status"))
    draft.pending = draft.generation_id is not None and status not in _DONE | _FAILED
    if status not in _DONE:
        return
    draft.finish_reason = status
    usage, seconds = document.get("usage"), label(document.get("seconds"))
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source
    elif seconds is not None and seconds.isdecimal():
        draft.usage = {"seconds": int(seconds)}
        draft.usage_source = to_json(draft.usage)


def usage(reader: UsageReader) -> Usage:
    """Read what was charged, or for how many seconds there will be a charge."""
    seconds = reader.count("seconds")
    return Usage(
        server_tools=None if seconds is None else {_SECONDS: seconds} if seconds else {},
        provider_cost_usd=charged(reader),
    )


DIALECT = Dialect(
    name="openai_videos",
    wanted=(("model",), ("id",), ("request_id",), ("status",), ("seconds",), ("usage",)),
    marks=(b'"status"',),
    read=read,
    usage=usage,
    ends_with_body=True,
)
