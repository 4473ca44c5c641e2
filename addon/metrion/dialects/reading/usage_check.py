"""What a response said → a checked :class:`~metrion.model.Reading`; a raw usage → a checked usage.

Every usage passes here, of a body, a message of a session, a result of a batch or a stored event: here alone it is
decided what to warn of, which counts are missing, and whether a cost can be computed. Nothing here raises on what a
provider sent, and no warning quotes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import Draft, WireFormat
from metrion.dialects.reading import shares
from metrion.dialects.reading.contradictions import consistent
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Reading, Usage
from metrion.model.record import record

MOST_WARNINGS = 16
"""As many are kept of one body."""


@record(frozen=True, slots=True)
class Checked:
    """A usage, and what is wrong with it."""

    usage: Usage
    warnings: Sequence[str]
    is_unreadable: bool
    """Something that is billed is there, and cannot be read."""
    is_incomplete: bool
    """A count is missing that the format always has."""

    @property
    def is_doubtful(self) -> bool:
        """Whether no cost can be computed of it."""
        return self.is_unreadable or self.is_incomplete


def check(raw: Mapping[str, Any], form: WireFormat, *, model: str | None = None, source: str | None = None) -> Checked:
    """Check a provider's usage as this format has it. ``model`` is the response's own, ``source`` its usage as text."""
    reader = UsageReader(raw, raw=source, model=model)
    usage = consistent(reader, reader.checked(shares.under(model, form.usage(reader))))
    return Checked(usage, reader.warnings, reader.is_unreadable, _is_incomplete(usage, form))


def finish(
    draft: Draft,
    form: WireFormat | None,
    *,
    warnings: Sequence[str] = (),
    is_error: bool = False,
    cut_short: bool = False,
    goes_on: bool = False,
    has_output: bool = False,
    wire_format: str | None = None,
) -> Reading:
    """Return what a response said.

    ``form`` may be ``None`` if the draft has no usage. ``warnings`` are those of the body. The others are what the
    reading says; ``cut_short`` and ``goes_on`` are about its usage, and ignored where there is none. ``has_output``
    adds to what the draft knows.
    """
    usage, doubtful = None, False
    if form is not None and draft.usage is not None:
        source = draft.raw
        checked = check(draft.usage, form, model=draft.model, source=source)
        usage, doubtful = checked.usage, checked.is_doubtful
        if usage.raw is not source:
            usage = replace(usage, raw=source)
        if draft.unreported_tools:
            usage = with_shown(usage, draft.unreported_tools)
        if checked.warnings:
            warnings = merged(warnings, checked.warnings)
    has_usage = usage is not None
    return Reading(
        model=draft.model,
        service_tier=draft.service_tier,
        generation_id=draft.generation_id,
        finish_reason=draft.finish_reason,
        error_type=draft.error_type,
        usage=usage,
        terminal=draft.terminal,
        stream_error=draft.stream_error,
        is_error=is_error,
        pending=draft.pending and not has_usage,
        growing=draft.growing and has_usage,
        output=draft.output,
        warnings=tuple(warnings),
        cut_short=cut_short and has_usage,
        goes_on=goes_on and has_usage,
        doubtful=doubtful,
        estimated=draft.estimated and has_usage,
        has_output=has_output or draft.has_output,
        is_results=draft.is_results,
        done_at=draft.done_at,
        wire_format=wire_format,
    )


def with_shown(usage: Usage, calls: Mapping[str, int]) -> Usage:
    """Return the usage with the calls of tools that the answer shows, without those that the usage counts."""
    counted = usage.server_tools or {}
    shown = {name: count for name, count in calls.items() if name not in counted}
    return replace(usage, unreported_tools=shown or None)


def merged(warnings: Iterable[str], more: Iterable[str]) -> list[str]:
    """Return these warnings and those, each once."""
    return list(dict.fromkeys((*warnings, *more)))[:MOST_WARNINGS]


def _is_incomplete(usage: Usage, form: WireFormat) -> bool:
    if usage.shares:
        return any(_lacks(share, form) for _, share in usage.shares)
    return _lacks(usage, form)


def _lacks(share: Usage, form: WireFormat) -> bool:
    if form.or_seconds and share.audio_seconds is not None:
        return False
    return None in [getattr(share, name) for name in form.needs]
