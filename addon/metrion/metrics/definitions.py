"""What is counted: the tables of figures, and the metrics that are made of them. Pure; to add a metric, add a row here.

``gen_ai_…`` are names and labels of the OpenTelemetry GenAI conventions in Prometheus' spelling, ``metrion_…`` are
Metrion's own, with the columns of ``events`` as labels. What a provider did not report is in no figure, and a metric of
which nothing is known has no series: 0 is said only where 0 was reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from metrion.metrics.labels import OPERATION_NAMES, PROVIDER_NAMES, error_of
from metrion.metrics.tables import Labels, Layout
from metrion.model import Event

type Figures = Sequence[float]

# --- what a row holds -------------------------------------------------------------------------------------------------

REQUEST_LABELS = ("provider", "operation", "model_requested", "model", "status", "end_reason", "error", "cost_source")
"""The labels of a row of the table of requests; metrics have some of them."""

EVENTS, USAGE_MISSING, PRICE_FOUND, PRICE_MISSING = range(4)
OPTIONAL = (
    "cost_usd", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "input_audio_tokens", "input_image_tokens", "output_audio_tokens", "output_image_tokens", "audio_seconds",
)  # fmt: skip
"""Columns that are added up where they are known; a figure each."""
FIRST_OPTIONAL = PRICE_MISSING + 1
_OPTIONAL_AT = {column: at for at, column in enumerate(OPTIONAL, FIRST_OPTIONAL)}

# fmt: off
_SECONDS = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36,
)
_CHUNK_SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0,
)
_TOKEN_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
)
_OVERHEAD_SECONDS = (
    0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
)
# fmt: on
_TOKENS = tuple(float(4**power) for power in range(14))


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a value of events is spread. Its figures: a count for each bound, one beyond them, and the sum."""

    value: Callable[[Event], float | None]
    """What is known of an event."""
    bounds: tuple[float, ...]
    scale: float = 1.0
    """What a value is multiplied by."""
    inference_only: bool = True
    """Only requests count that reached a provider and are billed as a rule."""

    @property
    def figures(self) -> int:
        """How many figures it takes."""
        return len(self.bounds) + 2


def _first_chunk_ms(event: Event) -> float | None:
    """Return the time to the first chunk, which the conventions know of streams alone."""
    return event.first_byte_ms if event.streamed else None


def _ms_per_output_token(event: Event) -> float | None:
    """Return how long each token after the first took, of a stream that came whole."""
    tokens, first, whole = event.output_tokens, event.first_byte_ms, event.latency_ms
    if not event.streamed or tokens is None or tokens < 2 or first is None or whole is None or error_of(event):
        return None
    return (whole - first) / (tokens - 1)


DURATION, FIRST_CHUNK, OVERHEAD, INPUT_TOKENS, OUTPUT_TOKENS, PER_OUTPUT_TOKEN = range(6)
DISTRIBUTIONS = (
    Distribution(attrgetter("latency_ms"), _SECONDS, 0.001),
    Distribution(_first_chunk_ms, _CHUNK_SECONDS, 0.001),
    Distribution(attrgetter("overhead_ms"), _OVERHEAD_SECONDS, 0.001, inference_only=False),
    Distribution(attrgetter("input_tokens"), _TOKENS),
    Distribution(attrgetter("output_tokens"), _TOKENS),
    Distribution(_ms_per_output_token, _TOKEN_SECONDS, 0.001),
)
FIRST_DISTRIBUTION = FIRST_OPTIONAL + len(OPTIONAL)
DISTRIBUTION_AT = tuple(
    FIRST_DISTRIBUTION + sum(each.figures for each in DISTRIBUTIONS[:at]) for at in range(len(DISTRIBUTIONS))
)
"""Where the figures of each begin in a row."""

USER_OPTIONAL = ("cost_usd", "input_tokens", "output_tokens")
REMAINING, LIMIT, REPORTED_AT = range(3)
ANSWERED_AT, FAILED_AT = range(2)

REQUESTS, REFUSALS, USERS, LIMITS, REACH = range(5)
LAYOUTS = (
    Layout(
        768,
        len(REQUEST_LABELS),
        FIRST_DISTRIBUTION + sum(each.figures for each in DISTRIBUTIONS),
        FIRST_OPTIONAL,
        FIRST_DISTRIBUTION,
    ),
    Layout(256, 2, 1),  # by provider and code
    Layout(256, 1, 1 + len(USER_OPTIONAL), 1, 1 + len(USER_OPTIONAL)),
    Layout(128, 2, 3, 0, 2),  # by provider and kind
    Layout(64, 1, 2),  # by provider
)
"""The tables of a seat."""

# --- metrics ----------------------------------------------------------------------------------------------------------

_LABELS: dict[str, Callable[[Labels], str]] = {
    "provider": lambda row: row[0],
    "operation": lambda row: row[1],
    "model": lambda row: row[3] or row[2],
    "endpoint": lambda row: row[1],
    "status": lambda row: row[4],
    "end_reason": lambda row: row[5],
    "cost_source": lambda row: row[7],
    "gen_ai_provider_name": lambda row: PROVIDER_NAMES.get(row[0], row[0]),
    "gen_ai_operation_name": lambda row: OPERATION_NAMES.get(row[1], row[1]),
    "gen_ai_request_model": lambda row: row[2],
    "gen_ai_response_model": lambda row: row[3],
    "error_type": lambda row: row[6],
    "user": lambda row: row[0],  # of the table of users
}
_CALL = ("gen_ai_provider_name", "gen_ai_operation_name", "gen_ai_request_model", "gen_ai_response_model")
_OWN = ("provider", "operation", "model")


@dataclass(frozen=True, slots=True)
class Series:
    """A part of a metric: the values of the labels that only its parts have, and what it reads in a row."""

    labels: Labels
    value: Callable[[Figures], float]


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter, unless it is made of a distribution."""

    name: str
    """Without the ``_total`` of a counter."""
    help: str
    labels: Labels
    """Those out of a row, then those of its parts."""
    parts: tuple[Series, ...] = ()
    distribution: int | None = None
    part: Labels = ()
    """Of a distribution: the values of the labels that are not out of a row."""
    old: bool = False
    """It has a name of the older conventions."""
    of_mistral: bool = False
    """It is of Mistral's requests alone, under a name that a guide to a proxy of one's own gives it."""

    def row_labels(self, row: Labels) -> Labels:
        """Return the values of the labels that are out of a row."""
        return tuple(_LABELS[name](row) for name in self.labels if name in _LABELS)


def _figure(at: int) -> Callable[[Figures], float]:
    return lambda figures: figures[at]


def _column(column: str) -> Callable[[Figures], float]:
    return _figure(_OPTIONAL_AT[column])


def _rest(side: str) -> Callable[[Figures], float]:
    """Return what reads the tokens of a side of which no other modality is reported."""
    whole, parts = _column(f"{side}_tokens"), [_column(f"{side}_{kind}_tokens") for kind in ("audio", "image")]

    def value(figures: Figures) -> float:
        return whole(figures) - sum(each for part in parts if not math.isnan(each := part(figures)))

    return value


def _by_modality(side: str) -> tuple[Series, ...]:
    return (
        Series(("",), _rest(side)),
        *(Series((kind,), _column(f"{side}_{kind}_tokens")) for kind in ("audio", "image")),
    )


def _one(value: Callable[[Figures], float]) -> tuple[Series, ...]:
    return (Series((), value),)


_MODALITY = (*_CALL, "gen_ai_token_modality")
_FAILED = (*_CALL, "error_type")
_USAGE = "gen_ai_client_inference_usage"

METRICS: tuple[Metric, ...] = (
    Metric("metrion_requests", "Rows of events.", (*_OWN, "status", "end_reason"), _one(_figure(EVENTS))),
    Metric(
        "metrion_cost_usd",
        "Cost in US dollars, of requests whose cost is known.",
        (*_OWN, "cost_source"),
        _one(_column("cost_usd")),
    ),
    Metric("metrion_usage_missing", "Billable requests whose usage is not known.", _OWN, _one(_figure(USAGE_MISSING))),
    Metric(
        "metrion_price_lookups",
        "Looks for a price, and whether there was one.",
        (*_OWN, "outcome"),
        (Series(("found",), _figure(PRICE_FOUND)), Series(("missing",), _figure(PRICE_MISSING))),
    ),
    Metric("metrion_audio_seconds", "Audio that is billed by its length.", _OWN, _one(_column("audio_seconds"))),
    Metric(f"{_USAGE}_input_tokens", "Tokens billed as input, cached ones included.", _MODALITY, _by_modality("input")),
    Metric(
        f"{_USAGE}_output_tokens", "Tokens billed as output, reasoning included.", _MODALITY, _by_modality("output")
    ),
    Metric(
        f"{_USAGE}_cache_read_input_tokens",
        "The part of the input that was read from a cache.",
        _CALL,
        _one(_column("cache_read_tokens")),
    ),
    Metric(
        f"{_USAGE}_cache_write_input_tokens",
        "The part of the input that was written to a cache.",
        _CALL,
        _one(_column("cache_write_tokens")),
    ),
    Metric(
        f"{_USAGE}_reasoning_output_tokens",
        "The part of the output that is reasoning.",
        _CALL,
        _one(_column("reasoning_tokens")),
    ),
    Metric(
        "gen_ai_client_inference_duration_seconds",
        "From the request's head to the end of the response.",
        _FAILED,
        distribution=DURATION,
    ),
    Metric(
        "gen_ai_client_inference_time_to_first_chunk_seconds",
        "Of streams: from the request's head to the response's.",
        _FAILED,
        distribution=FIRST_CHUNK,
    ),
    Metric(
        "gen_ai_server_time_per_output_token_seconds",
        "Of streams that came whole: the time of each output token after the first.",
        _CALL,
        distribution=PER_OUTPUT_TOKEN,
    ),
    Metric(
        "gen_ai_client_inference_operation_input_tokens", "Input tokens of a request.", _CALL, distribution=INPUT_TOKENS
    ),
    Metric(
        "gen_ai_client_inference_operation_output_tokens",
        "Output tokens of a request.",
        _CALL,
        distribution=OUTPUT_TOKENS,
    ),
    Metric(
        "metrion_overhead_seconds", "Time that a request spent in Metrion itself.", ("provider",), distribution=OVERHEAD
    ),
    Metric(
        "gen_ai_client_token_usage",
        "Tokens of a request (older name).",
        (*_CALL, "gen_ai_token_type"),
        distribution=INPUT_TOKENS,
        part=("input",),
        old=True,
    ),
    Metric(
        "gen_ai_client_token_usage",
        "Tokens of a request (older name).",
        (*_CALL, "gen_ai_token_type"),
        distribution=OUTPUT_TOKENS,
        part=("output",),
        old=True,
    ),
    Metric(
        "gen_ai_client_operation_duration_seconds",
        "The whole duration (older name).",
        _FAILED,
        distribution=DURATION,
        old=True,
    ),
    Metric(
        "gen_ai_server_request_duration_seconds",
        "The whole duration (older name).",
        _FAILED,
        distribution=DURATION,
        old=True,
    ),
    Metric(
        "gen_ai_server_time_to_first_token_seconds",
        "Of streams: the time to the response's head (older name).",
        _FAILED,
        distribution=FIRST_CHUNK,
        old=True,
    ),
    Metric(
        "mistral_request_latency_seconds",
        "Request latency in seconds.",
        ("model", "endpoint"),
        distribution=DURATION,
        of_mistral=True,
    ),
    Metric(
        "mistral_tokens",
        "Total tokens used.",
        ("model", "endpoint", "type"),
        (Series(("input",), _column("input_tokens")), Series(("output",), _column("output_tokens"))),
        of_mistral=True,
    ),
)
"""The metrics that are made of the table of requests."""

USER_METRICS: tuple[Metric, ...] = (
    Metric("metrion_user_requests", "Rows of events with this label.", ("user",), _one(_figure(0))),
    Metric("metrion_user_cost_usd", "Cost in US dollars, where it is known.", ("user",), _one(_figure(1))),
    Metric(
        "metrion_user_tokens",
        "Tokens, where they are reported.",
        ("user", "type"),
        (Series(("input",), _figure(2)), Series(("output",), _figure(3))),
    ),
)
"""The metrics by user label, which `metrics: {users: true}` turns on."""
