"""What an answer says of itself, what it used and what that cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from metrion.model.record import record


@record(frozen=True, slots=True)
class Usage:
    """What one response is billed for, as reported. Every count may be ``None``: not reported.

    The counts are of what is billed under the response's own model; what other models did for it is in ``shares``.
    """

    input_tokens: int | None = None
    """Everything billed as input, cache reads and writes included."""
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    """All cache writes, whatever their lifetime."""
    cache_write_1h_tokens: int | None = None
    """The part of the cache writes that lives an hour."""
    output_tokens: int | None = None
    """Everything billed as output, reasoning included."""
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    output_audio_tokens: int | None = None
    output_image_tokens: int | None = None
    audio_seconds: float | None = None
    server_tools: Mapping[str, int] | None = None
    """Calls of tools that the provider runs and bills, as its usage counts them, by its name for them."""
    unreported_tools: Mapping[str, int] | None = None
    """Further such calls, which the answer shows and its usage does not count."""
    raw: str | None = None
    """The provider's own usage object as JSON text."""
    provider_cost_usd: Decimal | None = None
    """What the provider says it charged."""
    cache_read_audio_tokens: int | None = None
    """The part of the cache reads that is audio. Priced but not stored, like the next three."""
    cache_read_image_tokens: int | None = None
    input_video_tokens: int | None = None
    output_video_tokens: int | None = None
    modes: tuple[str, ...] | None = None
    """What changes the rates besides the service tier, as the provider names it: ``fast`` (Anthropic's ``speed``),
    ``us`` (its ``inference_geo``). Standard modes are left out."""
    shares: tuple[tuple[str | None, Usage], ...] | None = None
    """All that is billed, where its parts have different prices: each with the model that it is billed under; ``None``
    is the response's own. Not stored, like the next one."""
    largest_input_tokens: int | None = None
    """Where several responses are added up, the most input that one of them had: rates for long contexts depend on it.
    ``None``: it is one response."""
    averaged: bool | None = None
    """``True``: the counts are those of several responses, of which only the sum is known; ``largest_input_tokens`` is
    their average."""
    undivided: tuple[str, ...] | None = None
    """Modalities of which there must be some, and of which the provider does not report how much: ``input_audio`` in a
    transcription, for instance. They are in the sum of their side. Not stored."""
    paused_seconds: float | None = None
    """How long a session that is billed by its length was paused; not part of ``audio_seconds``, and not stored."""
    unbilled: bool | None = None
    """``True``: the provider reports these counts and charges nothing for them. Of a sum: for none of them."""


@record(frozen=True, slots=True)
class Reading:
    """What a tap read from a response. A fresh one is all ``None``."""

    model: str | None = None
    service_tier: str | None = None
    generation_id: str | None = None
    finish_reason: str | None = None
    error_type: str | None = None
    """The provider's error type, from an error body or an error event."""
    usage: Usage | None = None
    terminal: bool = False
    """The event that ends the format's stream has passed, its blank line included."""
    stream_error: bool = False
    """An error event passed inside a stream that began as a success."""
    is_error: bool = False
    """The body says that the request failed, though its status is a success and it is no stream."""
    pending: bool = False
    """The provider is still at work, as on a background response: what ``generation_id`` names will have usage."""
    growing: bool = False
    """The usage is all that was used so far: earlier responses may have reported less of it, and later ones more."""
    output: str | None = None
    """What reports the usage of a finished batch, by the name that a :class:`Route` has for it in ``output``. Only its
    part from the ``?`` on, where this response is a page of it and that is the next."""
    warnings: tuple[str, ...] = ()
    """What could not be read and why; contains nothing of prompts, completions or keys."""
    estimated: bool = False
    """The provider did not report the usage, or not all of it: Metrion has estimated the rest."""
    cut_short: bool = False
    """The body ended, or could not be read further, before the provider had reported all of the usage."""
    goes_on: bool = False
    """More usage may follow, whatever the finish reason says."""
    doubtful: bool = False
    """A part of what is billed is missing in the usage, or cannot be read: no cost can be computed from the rest."""
    has_output: bool = field(default=False, compare=False)
    """Something was generated before the stream ended, be it with an error: it may be billed. Not compared either."""
    is_results: bool = False
    """The body is the results of a batch, or begins as such: they are billed once, to whoever asked for the batch."""
    done_at: datetime | None = None
    """When the batch that the body is about was done; naive UTC."""
    wire_format: str | None = field(default=None, compare=False)
    """The format in which the response was read, a key of ``dialects.DIALECTS``; ``None``: it was not read. Readings
    that differ only in it are equal."""
    shared: bool = False
    """The usage is a share of what the provider reported for several requests that went out as one."""

    def has_final_usage(self, end_reason: EndReason) -> bool:
        """Whether there is a usage that can be billed.

        A usage from the middle of a stream cannot: it lacks the last counts. An answer that was not handed on, and the
        request sent again, may have one.
        """
        if self.usage is None or self.cut_short:
            return False
        if end_reason in (EndReason.COMPLETE, EndReason.RETRIED):
            return True
        return self.finish_reason is not None and not self.goes_on


class CostSource(StrEnum):
    """Where a cost comes from; the meaning of each value is the contract's (column ``cost_source``)."""

    PROVIDER = "provider"
    COMPUTED = "computed"
    ESTIMATED = "estimated"
    UNPRICED = "unpriced"
    UNKNOWN = "unknown"
    NOT_BILLED = "not_billed"
    SUBSCRIPTION = "subscription"


@record(frozen=True, slots=True)
class Cost:
    """What a response cost. ``parts`` add up to ``computed_usd`` to the last of 12 places."""

    source: CostSource
    usd: Decimal | None = None
    computed_usd: Decimal | None = None
    parts: Mapping[str, Decimal] | None = None
    price_version: str | None = None
    at_least_usd: Decimal | None = None
    """Where there is no ``usd``: what is known of the usage costs as much."""


class EndReason(StrEnum):
    """How a request ended (column ``end_reason``)."""

    COMPLETE = "complete"
    CLIENT_ABORT = "client_abort"
    UPSTREAM_ERROR = "upstream_error"
    STREAM_ERROR = "stream_error"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    RETRIED = "retried"
    """Its answer was not handed on: the request went out again."""
