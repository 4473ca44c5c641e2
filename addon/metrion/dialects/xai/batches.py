"""xAI's batches, and the pages of their results.

Sources: https://docs.x.ai/developers/advanced-api-usage/batch-api, and the xAI provider of Vercel's AI SDK.

- A batch has counts and no status: it is over when nothing of what it has is pending. A new one has nothing yet.
- The results come in pages, each of which names the next. A page reports what its own results cost; so all of them
  together report the batch, from the first one on.
- A request to the Responses API is answered as a chat completion too. What pictures and videos used is not documented,
  so a page with one of them has no known cost.
- A result that failed has no ``response``, and is not billed. One that succeeded may have an error with the code 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import TOKENS, Dialect, Draft, label, mapping
from metrion.dialects.openai import chat as openai_chat
from metrion.dialects.reading import batch_results
from metrion.dialects.reading.batch_results import TIER
from metrion.dialects.reading.charges import charged
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import EACH, Path

_COST = "cost_in_usd_ticks"
_CHAT = "chat_get_completion"

BATCH: tuple[Path, ...] = (("batch_id",), ("state", "num_requests"), ("state", "num_pending"))
"""What :func:`read` looks at."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a batch says."""
    batch_id, state = label(document.get("batch_id")), mapping(document.get("state"))
    draft.generation_id, draft.service_tier = batch_id, TIER
    is_over = bool(state.get("num_requests")) and state.get("num_pending") == 0
    draft.pending = not is_over
    if is_over and batch_id:
        draft.output = f"batch/{batch_id}"


def read_results(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a page of results says."""
    draft.service_tier = TIER
    token = document.get("pagination_token")
    draft.output = f"?{token}" if isinstance(token, str) and token else None
    results = document.get("results")
    draft.is_results |= isinstance(results, list)
    costs = []
    for result in results if isinstance(results, list) else ():
        response = mapping(mapping(result).get("batch_result")).get("response")
        if not isinstance(response, dict):
            continue
        completion = mapping(response.get(_CHAT))
        usage = batch_results.read(openai_chat.DIALECT, completion.get("usage"), draft, label(completion.get("model")))
        if usage is not None:
            costs.append(mapping(completion.get("usage")).get(_COST))
            batch_results.add(draft, label(completion.get("model")), usage)
    if draft.usage is not None:
        is_reported = all(type(cost) is int for cost in costs)
        draft.usage = {**draft.usage, _COST: sum(costs) if costs and is_reported else None}


def usage(reader: UsageReader) -> Usage:
    """Read what the results of a page added up to."""
    return replace(batch_results.usage(reader), provider_cost_usd=charged(reader))


RESULTS = Dialect(
    name="xai_batch_results",
    wanted=(
        ("pagination_token",),
        *(
            ("results", EACH, "batch_result", "response", _CHAT, *path)
            for path in (
                ("model",),
                # Number by number: a page of a thousand objects would be too much to hold.
                ("usage", "prompt_tokens"),
                ("usage", "completion_tokens"),
                ("usage", "total_tokens"),
                ("usage", "prompt_tokens_details", "cached_tokens"),
                ("usage", "prompt_tokens_details", "image_tokens"),
                ("usage", "prompt_tokens_details", "audio_tokens"),
                ("usage", "completion_tokens_details", "reasoning_tokens"),
                ("usage", "num_sources_used"),
                ("usage", "server_side_tool_usage_details"),
                ("usage", _COST),
            )
        ),
    ),
    marks=(b'"results"',),
    draft=batch_results.BatchDraft,
    read=read_results,
    usage=usage,
    ends_with_body=True,
    needs=TOKENS,
)
"""A page of results."""
