"""Anthropic's message batches: a batch, and the results of one, a line for each request.

Sources: ``MessageBatch`` and ``MessageBatchIndividualResponse`` in the anthropic SDK.

- To create a batch costs nothing. What its requests cost is known from the results, which can be read more than once.
- Only a request that succeeded is billed, as its message says (:mod:`~metrion.dialects.anthropic_messages`); its tier
  is ``batch``.
- The usage of the lines is added up: what is priced alike is one entry, in the words of an event's columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects import anthropic_messages, several
from metrion.dialects.dialect import Dialect, Draft, label, mapping
from metrion.dialects.figures import Figures
from metrion.model import Usage

MOST_ENTRIES, MOST_TOOLS = 1 << 11, 100
"""As many prices, and tools of one price, are told apart."""


class Results(dict[str, Any]):
    """The usage of the lines so far."""

    def __init__(self) -> None:
        super().__init__(responses=0, billed=[])
        self.models: set[str | None] = set()
        """Those that answered; their advisors are not among them."""
        self._entries: dict[several.Kind, dict[str, Any]] = {}
        self.is_full = False
        """Whether no more can be held."""

    def add(self, model: str | None, usage: Usage) -> None:
        """Add what a message under this model is billed for."""
        self["responses"] += 1
        self.models.add(model)
        for share_model, share in usage.shares or ((None, usage),):
            kind = several.kind(share_model or model, share)
            if (entry := self._entries.get(kind)) is None:
                entry = self._entries[kind] = {"model": share_model or model, **several.counts(share)}
                self["billed"].append(entry)
            else:
                both = several.added_up([several.read(Figures(entry)), share])
                entry.update(several.counts(both))
            tools = max(len(entry.get(name) or ()) for name in several.TOOLS)
            self.is_full |= tools > MOST_TOOLS or len(self._entries) > MOST_ENTRIES


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what a batch says."""
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.pending = document.get("type") == "message_batch" and document.get("processing_status") != "ended"


def read_result(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what a line of results says."""
    message = mapping(mapping(document.get("result")).get("message"))
    raw = message.get("usage")
    if not isinstance(raw, dict) or not raw:
        return
    if not isinstance(draft.usage, Results):
        draft.usage = Results()
    figures = Figures(raw)
    served = anthropic_messages.fallback(figures.entries("iterations"))
    usage = figures.checked(anthropic_messages.usage(figures))
    if figures.is_doubtful(usage):
        draft.faults += figures.warnings
    if draft.usage.is_full:
        draft.faults.append("prices are too many to be told apart")
    else:
        draft.usage.add(label(served, message.get("model")), usage)
    draft.model = next(iter(draft.usage.models)) if len(draft.usage.models) == 1 else None
    draft.service_tier = label(raw.get("service_tier"), draft.service_tier)


def usage(figures: Figures) -> Usage:
    """Read what the lines added up to."""
    entries = [(entry.text("model"), several.read(entry)) for entry in figures.entries("billed") or ()]
    if len({model for model, _ in entries}) == 1:
        entries = [(None, share) for _, share in entries]
    return several.together(entries)


DIALECT = Dialect(
    wanted=(("type",), ("id",), ("processing_status",)),
    marks=(b'"message_batch"',),
    read=read,
    usage=lambda _: Usage(),
)

RESULTS = Dialect(
    wanted=(("result", "message", "model"), ("result", "message", "usage")),
    marks=(b'"usage"',),
    read=read_result,
    usage=usage,
    lines=True,
    needs=("input_tokens", "output_tokens"),
)
