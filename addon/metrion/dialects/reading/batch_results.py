"""The usage of a batch's results, added up as they pass: one result after another in, one usage of all of them out.

Results that are priced alike share one entry, in the words of an event's columns, so that a batch of a million requests
takes no more memory than one of ten. If the usage of one result is not complete, that of the batch is not either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metrion.dialects.dialect import Dialect, Draft
from metrion.dialects.reading import shares
from metrion.dialects.reading.usage_check import check, with_shown
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import to_json

TIER = "batch"
"""The service tier of everything in a batch, whatever its results say; they seldom name it."""

_MOST_ENTRIES, _MOST_TOOLS = 1 << 11, 100
"""As many prices, and tools of one price, are kept apart."""

INCOMPLETE = "the usage of a result is not whole"
"""A fault: a count is missing that has to be there."""


class Results(dict[str, Any]):
    """The usage of the results so far."""

    def __init__(self) -> None:
        super().__init__(responses=0, billed=[])
        self.models: set[str | None] = set()
        """Those that answered, without their advisors."""
        self._entries: dict[shares.Kind, dict[str, Any]] = {}
        self.is_full = False
        """Whether there is no room for more prices."""

    @property
    def model(self) -> str | None:
        """The one that answered everything; ``None`` where there are several."""
        return next(iter(self.models)) if len(self.models) == 1 else None

    def add(self, model: str | None, usage: Usage) -> None:
        """Add what a response under this model is billed for."""
        self["responses"] += 1
        self.models.add(model)
        for share_model, share in usage.shares or ((None, usage),):
            kind = shares.kind(share_model or model, share)
            if (entry := self._entries.get(kind)) is None:
                entry = self._entries[kind] = {"model": share_model or model, **shares.counts(share)}
                self["billed"].append(entry)
            else:
                both = shares.added_up([shares.read(UsageReader(entry)), share])
                entry.update(shares.counts(both))
            tools = max(len(entry.get(name) or ()) for name in shares.TOOLS)
            self.is_full |= tools > _MOST_TOOLS or len(self._entries) > _MOST_ENTRIES


@dataclass(slots=True)
class BatchDraft(Draft):
    """A draft of results. Their usage becomes text once, at the end, and not with each of them."""

    @property
    def raw(self) -> str | None:
        """The usage as JSON text, for the column."""
        return None if self.usage is None else to_json(self.usage)


def add(draft: Draft, model: str | None, usage: Usage) -> None:
    """Add what one more result is billed for to the draft."""
    results = started(draft)
    if results.is_full:
        draft.faults.append("prices are too many to be told apart")
    else:
        results.add(model, usage)
    draft.model = results.model


def started(draft: Draft) -> Results:
    """Return the sums in the draft so far; begin them where there are none."""
    if not isinstance(draft.usage, Results):
        draft.usage, draft.is_results = Results(), True
    return draft.usage


def read_answer(dialect: Dialect, body: Mapping[str, Any], draft: Draft) -> tuple[str | None, Usage | None]:
    """Read one result that is an answer in this format: its model, and its usage as :func:`read` has it."""
    answer = dialect.draft()
    dialect.read(body, answer)
    draft.faults += answer.faults
    usage = read(dialect, answer.usage, draft, answer.model)
    if usage is not None and answer.unreported_tools:
        usage = with_shown(usage, answer.unreported_tools)
    return answer.model, usage


def read(dialect: Dialect, raw: object, draft: Draft, model: str | None = None) -> Usage | None:
    """Read the usage of one result as this format has it. If it is not complete, neither is that of the batch."""
    started(draft)
    if not isinstance(raw, dict) or not raw:
        draft.faults.append("a result has no usage")
        return None
    checked = check(raw, dialect, model=model)
    if checked.is_doubtful:
        draft.faults += checked.warnings or [INCOMPLETE]
    return checked.usage


def usage(reader: UsageReader) -> Usage:
    """Read what the results added up to."""
    entries = [(entry.text("model"), shares.read(entry)) for entry in reader.entries("billed") or ()]
    if len({model for model, _ in entries}) == 1:
        entries = [(None, share) for _, share in entries]
    return shares.together(entries)
