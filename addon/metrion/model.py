"""The values that travel through Metrion, from the request head to the stored event.

Plain frozen dataclasses and records, standard library only. Everywhere ``None`` means *not reported* or *not known*; it
is never a zero. Money is :class:`~decimal.Decimal` in US dollars, times are UTC, sizes are bytes. Heads are bytes, as
on the wire: nothing that is only forwarded is ever decoded and encoded again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from metrion.record import record

type Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in wire order, repeated names and their case kept."""


def first_values(headers: Headers) -> dict[bytes, bytes]:
    """Return the first value of each header field, by its name in lower case."""
    return {name.lower(): value for name, value in reversed(headers)}


# --- the request ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a server listens. ``host`` is lower case; IPv6 without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> bytes:
        """What stands in a ``Host`` header: the port only where it is not the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"http": 80, "https": 443}.get(self.scheme)
        return (host if self.port == default else f"{host}:{self.port}").encode(
            "idna" if not host.isascii() else "ascii"
        )


@dataclass(frozen=True, slots=True)
class Inbound:
    """A request head as it arrived.

    ``target`` is the raw path with its query. ``origin`` is the server that the request is for when it was not
    addressed to the proxy itself (absolute form, reverse or transparent mode), else ``None``.
    """

    method: bytes
    target: bytes = field(repr=False)
    headers: Headers = field(repr=False)
    origin: Origin | None = None

    @property
    def path(self) -> bytes:
        """The raw path, without the query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes | None:
        """The raw query without its ``?``; ``None`` when there is no ``?`` at all."""
        _, mark, query = self.target.partition(b"?")
        return query if mark else None


class CredentialPlace(StrEnum):
    """Where a provider expects its key."""

    BEARER = "authorization"
    """As ``Bearer KEY``."""
    X_API_KEY = "x-api-key"
    API_KEY = "api-key"
    X_GOOG_API_KEY = "x-goog-api-key"
    NONE = "none"
    """It expects none, as a server of one's own may."""


class ErrorShape(StrEnum):
    """Whose JSON a refusal imitates, so that the provider's SDK raises its own typed exception."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    GOOGLE = "google"
    MISTRAL = "mistral"
    XAI = "xai"


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes and how its answer is to be read."""

    provider: str
    """The configured name, as in the ``provider`` column: ``openai``, ``my-vllm``."""
    upstream: Origin
    target: bytes = field(repr=False)
    """The raw path with its query that goes out, before a credential is taken out of the query."""
    operation: str
    """As in the ``operation`` column."""
    dialect: str | None
    """The wire format of the answer, a key of ``dialects.DIALECTS``; ``None``: pass through unread."""
    credential_place: CredentialPlace
    error_shape: ErrorShape
    request_id_headers: tuple[bytes, ...] = ()
    """Response headers that may hold the provider's request id, lower case, best first."""
    model: str | None = None
    """The model, where it stands in the path."""
    timeout: float | None = None
    """The provider's own timeout in seconds, where one is configured."""
    generation_id: str | None = None
    """The id of what was generated before, where the path reads it back."""
    output: str | None = None
    """The name under which a batch names what this path reads back, such as ``files/ID``. Anything else that is read
    back here tells no usage."""
    inject_usage: bool = False
    """A stream's usage is to be asked for, and kept from the client: :mod:`metrion.include_usage`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that goes no further. ``code`` is sent as ``x-metrion-error`` and stored as ``error_type``.

    ``message`` says what is wrong and the way out; it never contains a credential. ``provider`` is ``None`` when the
    request named none: then there is no event.
    """

    status: int
    code: str
    message: str
    provider: str | None = None
    error_shape: ErrorShape = ErrorShape.OPENAI
    headers: Headers = ()
    route: Route | None = None
    """Where it would have gone, when that was known already."""
    caller: Caller | None = None
    """Who asked, when that was known already."""
    was_sent: bool = False
    """The provider has the whole request: it may have done what was asked, and billed it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of Metrion's own that is no refusal, such as ``/health``."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request belongs to. Holds no secret."""

    account: str
    token_name: str | None
    """``None`` for intercepted traffic, which belongs to an account without a token."""
    credential: str | None
    """``stored`` or ``pass_through``; ``None``: the provider needs none."""
    timeout: float | None = None
    """Seconds to the first byte and between bytes; ``None``: none."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How many requests a token may have forwarded; ``None``: as many as it likes."""

    token: bytes = field(repr=False)
    """The token's digest. Not its name: a name that is used again is another token."""
    requests_per_minute: int | None = None
    """In any 60 seconds."""
    requests_per_month: int | None = None
    """In a calendar month, UTC."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request target and its header fields."""

    target: bytes
    headers: Headers = field(repr=False)


@dataclass(frozen=True, slots=True)
class Forward:
    """A request that may go out.

    ``wire`` is what the provider gets, key included, and must reach nothing but the upstream socket. ``shown`` is the
    head as the client sent it with every credential masked: what flows, dumps and logs hold.
    """

    route: Route
    caller: Caller
    wire: Head = field(repr=False)
    shown: Head
    quota: Quota | None = None
    """``None``: it belongs to no token."""


# --- the answer -------------------------------------------------------------------------------------------------------


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
    """More such calls, which the answer shows and its usage does not count."""
    raw: str | None = None
    """The provider's own usage object as JSON text."""
    provider_cost_usd: Decimal | None = None
    """What the provider says it charged."""
    cache_read_audio_tokens: int | None = None
    """The part of the cache reads that is audio; priced, not stored. So are the three below."""
    cache_read_image_tokens: int | None = None
    input_video_tokens: int | None = None
    output_video_tokens: int | None = None
    modes: tuple[str, ...] | None = None
    """What else than the service tier changes the rates, as the provider names it: ``fast`` (Anthropic's ``speed``),
    ``us`` (its ``inference_geo``). Standard modes are left out."""
    shares: tuple[tuple[str | None, Usage], ...] | None = None
    """All that is billed, where not all of it is priced alike: each with the model that it is billed under, ``None``
    being the response's own. Not stored, as is the one below."""
    largest_input_tokens: int | None = None
    """The most input that one of the responses had which are added up here; rates for long contexts go by it. ``None``:
    it is one response."""
    unbilled: bool | None = None
    """``True``: the provider tells these counts, and charges nothing for them. Of a sum: for none of them."""


@record(frozen=True, slots=True)
class Reading:
    """What the tap read out of a response. A fresh one is all ``None``."""

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
    """The body says that it failed, though it came with a success and is no stream."""
    pending: bool = False
    """The provider is still at work, as for a background response: what ``generation_id`` names will have usage."""
    output: str | None = None
    """What tells the usage of a batch that is over, by the name that a :class:`Route` has for it in ``output``; from
    the ``?`` on, where this response is a page of it and that the next."""
    warnings: tuple[str, ...] = ()
    """What could not be read and why; contains nothing of prompts, completions or keys."""
    estimated: bool = False
    """The usage is not reported, or only in part: Metrion has estimated the rest."""
    cut_short: bool = False
    """The body ended, or could not be read on, before the provider had told all of the usage."""
    goes_on: bool = False
    """More usage may follow, whatever the finish reason says."""
    doubtful: bool = False
    """Of what is billed something is missing in the usage, or cannot be read: no cost can be computed of the rest."""
    wire_format: str | None = field(default=None, compare=False)
    """As what the response was read, a key of ``dialects.DIALECTS``; ``None``: it was not. No part of what it says."""

    def has_final_usage(self, end_reason: EndReason) -> bool:
        """Whether there is a usage that can be billed.

        What a stream has reported halfway is no bill: the counts of its last words are missing.
        """
        if self.usage is None or self.cut_short:
            return False
        return end_reason is EndReason.COMPLETE or (self.finish_reason is not None and not self.goes_on)


class CostSource(StrEnum):
    """Where a cost comes from; the meaning of each value is the contract's (column ``cost_source``)."""

    PROVIDER = "provider"
    COMPUTED = "computed"
    ESTIMATED = "estimated"
    UNPRICED = "unpriced"
    UNKNOWN = "unknown"
    NOT_BILLED = "not_billed"


@record(frozen=True, slots=True)
class Cost:
    """What a response cost. ``parts`` add up to ``computed_usd`` to the last of 12 places."""

    source: CostSource
    usd: Decimal | None = None
    computed_usd: Decimal | None = None
    parts: Mapping[str, Decimal] | None = None
    price_version: str | None = None


class EndReason(StrEnum):
    """How a request ended (column ``end_reason``)."""

    COMPLETE = "complete"
    CLIENT_ABORT = "client_abort"
    UPSTREAM_ERROR = "upstream_error"
    STREAM_ERROR = "stream_error"
    TIMEOUT = "timeout"
    REFUSED = "refused"


# --- the event --------------------------------------------------------------------------------------------------------


@record(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of ``events``: the fields are its columns, in order. Columns are added at the end, never changed."""

    event_id: UUID
    request_id: str
    attempt: int = 1
    started_at: datetime
    """Naive UTC."""
    account: str | None = None
    token_name: str | None = None
    user_label: str | None = None
    tags: Mapping[str, str] | None = None
    credential: str | None = None

    provider: str
    operation: str | None = None
    method: str | None = None
    path: str | None = None
    model_requested: str | None = None
    model: str | None = None
    service_tier: str | None = None
    streamed: bool | None = None
    generation_id: str | None = None

    status: int | None = None
    end_reason: str | None = None
    error_type: str | None = None
    finish_reason: str | None = None
    provider_request_id: str | None = None
    client_retry: int | None = None

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    output_audio_tokens: int | None = None
    output_image_tokens: int | None = None
    audio_seconds: float | None = None
    server_tools: Mapping[str, int] | None = None
    usage: str | None = None
    """JSON text."""
    usage_source: str = "none"

    cost_usd: Decimal | None = None
    cost_source: str | None = None
    computed_cost_usd: Decimal | None = None
    cost_parts: Mapping[str, Decimal] | None = None
    price_version: str | None = None

    latency_ms: float | None = None
    first_byte_ms: float | None = None
    overhead_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None

    unreported_tools: Mapping[str, int] | None = None
    cost_at_least_usd: Decimal | None = None
    client: str | None = None
    session_id: str | None = None
    provider_limits: str | None = None
    """JSON text."""
    wire_format: str | None = None
    policy: Mapping[str, str] | None = None
    queued_ms: float | None = None


EVENT_COLUMNS: tuple[str, ...] = tuple(column.name for column in fields(Event))
