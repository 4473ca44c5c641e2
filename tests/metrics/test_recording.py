"""Which figures an event moves; bounds of every label; many processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from metrion.admission.codes import RATE_LIMITED
from metrion.metrics import Board, Recording
from metrion.metrics.definitions import LAYOUTS
from metrion.metrics.exposition import render
from metrion.metrics.labels import Names, error_of, status_class
from metrion.metrics.tables import OTHER, Layout
from metrion.model import CostSource, EndReason, Event, Refusal
from metrion.model.event_id import uuid7
from metrion.settings import MetricsSettings
from tests.metrics.scraped import Samples, total

# pytest-xdist has threads; these children count a little and are gone.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
ALL = MetricsSettings(users=True, old_names=True)
STARTED = datetime(2026, 5, 1, 12)  # noqa: DTZ001 -- as events hold it, naive UTC
INPUT = "gen_ai_client_inference_usage_input_tokens_total"


def event(**columns: Any) -> Event:
    known: dict[str, Any] = {
        "provider": "openai", "operation": "chat", "model_requested": "gpt-4o", "model": "gpt-4o", "status": 200,
        "end_reason": EndReason.COMPLETE, "latency_ms": 250.0, "first_byte_ms": 100.0, "overhead_ms": 0.4,
        "cost_source": CostSource.COMPUTED,
    }  # fmt: skip
    return Event(event_id=uuid7(), request_id="r1", started_at=STARTED, **known | columns)


def samples_of(board: Board, settings: MetricsSettings = ALL) -> Samples:
    text = render(board, [], settings).decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def counted(*events: Event, settings: MetricsSettings = ALL) -> Samples:
    board = Board(1, LAYOUTS)
    recording = Recording(board.seat(0), settings)
    for each in events:
        recording.event(each)
    return samples_of(board, settings)


def test_unknown_is_in_no_sum_and_makes_no_series() -> None:
    samples = counted(event(input_tokens=None, cost_usd=None, cost_source=CostSource.UNKNOWN))
    assert total(samples, INPUT) is None
    assert total(samples, "metrion_cost_usd_total") is None
    assert total(samples, "metrion_usage_missing_total") == 1
    samples = counted(event(input_tokens=None), event(input_tokens=0), event(input_tokens=3))
    assert total(samples, INPUT) == 3
    assert total(counted(event(input_tokens=0)), INPUT) == 0


def test_modalities_add_up_to_the_whole() -> None:
    samples = counted(event(input_tokens=10, input_audio_tokens=4, input_image_tokens=None), event(input_tokens=5))
    assert total(samples, INPUT) == 15
    assert total(samples, INPUT, gen_ai_token_modality="audio") == 4
    assert total(samples, INPUT, gen_ai_token_modality="image") is None


@pytest.mark.parametrize(
    ("source", "computed", "found", "missing", "usage_missing"),
    [
        (CostSource.COMPUTED, Decimal(1), 1, 0, 0),
        (CostSource.ESTIMATED, Decimal(1), 1, 0, 0),
        (CostSource.UNPRICED, None, 0, 1, 0),
        (CostSource.PROVIDER, Decimal(1), 1, 0, 0),
        (CostSource.PROVIDER, None, 0, 1, 0),
        (CostSource.SUBSCRIPTION, Decimal(1), 1, 0, 0),
        (CostSource.UNKNOWN, None, 0, 0, 1),
        (CostSource.NOT_BILLED, None, 0, 0, 0),
    ],
)
def test_looks_for_a_price(
    source: CostSource, computed: Decimal | None, found: int, missing: int, usage_missing: int
) -> None:
    samples = counted(event(cost_source=source, computed_cost_usd=computed))
    assert total(samples, "metrion_price_lookups_total", outcome="found") == found
    assert total(samples, "metrion_price_lookups_total", outcome="missing") == missing
    assert total(samples, "metrion_usage_missing_total") == usage_missing


def test_what_was_refused_or_is_never_billed_is_in_no_histogram_of_calls() -> None:
    samples = counted(
        event(end_reason=EndReason.REFUSED, status=401, error_type="invalid_token"), event(operation="models"), event()
    )
    assert total(samples, "gen_ai_client_inference_duration_seconds_count") == 1
    assert total(samples, "metrion_overhead_seconds_count") == 3
    assert total(samples, "metrion_requests_total") == 3


def test_overhead_has_buckets_from_50_microseconds() -> None:
    samples = counted(event(overhead_ms=0.05), event(overhead_ms=0.051), event(overhead_ms=9000.0))
    assert total(samples, "metrion_overhead_seconds_bucket", le="5e-05") == 1
    assert total(samples, "metrion_overhead_seconds_bucket", le="0.0001") == 2
    assert total(samples, "metrion_overhead_seconds_bucket", le="+Inf") == 3


@pytest.mark.parametrize(
    ("columns", "seconds"),
    [
        ({"output_tokens": 4}, 0.05),
        ({"output_tokens": 2}, 0.15),
        ({"output_tokens": 1}, None),
        ({"output_tokens": None}, None),
        ({"output_tokens": 4, "first_byte_ms": None}, None),
        ({"output_tokens": 4, "latency_ms": None}, None),
        ({"output_tokens": 4, "streamed": False}, None),
        ({"output_tokens": 4, "streamed": None}, None),
        ({"output_tokens": 4, "end_reason": EndReason.CLIENT_ABORT}, None),
        ({"output_tokens": 4, "end_reason": EndReason.STREAM_ERROR}, None),
        ({"output_tokens": 4, "status": 500}, None),
    ],
)
def test_time_per_token_is_of_streams_that_came_whole(columns: dict[str, Any], seconds: float | None) -> None:
    samples = counted(event(**{"streamed": True, **columns}))
    name = "gen_ai_server_time_per_output_token_seconds"
    assert total(samples, f"{name}_sum") == (None if seconds is None else pytest.approx(seconds))
    assert total(samples, f"{name}_count") == (None if seconds is None else 1)


def test_only_streams_have_a_first_chunk() -> None:
    samples = counted(event(streamed=True), event(streamed=False), event(streamed=None))
    assert total(samples, "gen_ai_client_inference_time_to_first_chunk_seconds_count") == 1
    assert total(samples, "gen_ai_server_time_to_first_token_seconds_count") == 1
    assert total(samples, "gen_ai_client_inference_duration_seconds_count") == 3


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ('{"x-ratelimit-remaining-requests": "59"}', {("requests", 59.0)}),
        ('{"anthropic-ratelimit-input-tokens-remaining": "80000"}', {("input_tokens", 80000.0)}),
        ('{"anthropic-ratelimit-unified-5h-status": "allowed"}', set()),
        ('{"x-ratelimit-remaining-tokens": "many"}', set()),
        ('{"x-ratelimit-remaining-tokens": "1e9"}', set()),
        ('{"x-ratelimit-remaining-tokens": 5}', set()),
        ("[1]", set()),
        ("{", set()),
    ],
)
def test_limits_of_a_provider(limits: str, expected: set[tuple[str, float]]) -> None:
    samples = counted(event(provider_limits=limits))
    found = [sample for sample in samples if sample.name == "metrion_provider_limit_remaining"]
    assert {(sample.labels["kind"], sample.value) for sample in found} == expected


def test_the_last_answer_of_any_worker_says_what_is_left() -> None:
    board = Board(2, LAYOUTS)
    for seat, left in ((0, 50), (1, 40), (0, 30)):
        Recording(board.seat(seat), ALL).event(event(provider_limits=f'{{"x-ratelimit-remaining-requests": "{left}"}}'))
    assert total(samples_of(board), "metrion_provider_limit_remaining") == 30


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_labels_are_bounded_and_lose_no_request() -> None:
    events = [event(model=f"m{n}", model_requested=f"r{n}", user_label=f"u{n}", input_tokens=1) for n in range(3000)]
    samples = counted(*events, settings=MetricsSettings(users=True, models=50))
    assert total(samples, "metrion_requests_total") == 3000
    assert total(samples, INPUT) == 3000
    assert len({sample.labels.get("model") for sample in samples}) <= 52
    assert len({sample.labels.get("user") for sample in samples}) <= 52
    assert total(samples, "metrion_user_requests_total") == 3000
    assert total(samples, "metrion_user_requests_total", user=OTHER) == 2950


def test_rows_that_do_not_fit_are_counted_as_other() -> None:
    events = [
        event(provider=f"p{p}", model=f"m{m}", model_requested=f"m{m}", status=status)
        for p in range(20) for m in range(60) for status in (200, 404, 500)
    ]  # fmt: skip
    samples = counted(*events)
    assert total(samples, "metrion_requests_total") == len(events)


def test_users_are_off_unless_they_are_turned_on() -> None:
    samples = counted(event(user_label="ann@example.com"), settings=MetricsSettings())
    assert not [sample for sample in samples if "user" in sample.name or "user" in sample.labels]


@pytest.mark.parametrize(
    "text", ['"quoted"', "back\\slash", "new\nline", "‮right to left", "é" * 500, "\x00", "emoji 🙂"]
)
def test_any_text_is_a_label(text: str) -> None:
    samples = counted(event(user_label=text, model=text))
    assert total(samples, "metrion_user_requests_total") == 1
    assert total(samples, "metrion_requests_total") == 1


def test_guesses_do_not_use_up_the_names() -> None:
    names = Names(100)
    for number in range(1000):
        names.label(f"guess-{number}", succeeded=False)
    assert names.label("real", succeeded=True) == "real"
    assert names.label("guess-1", succeeded=False) == "guess-1"
    assert names.label("guess-999", succeeded=False) == OTHER
    assert names.label(None) == names.label("") == ""


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({}, ""),
        ({"status": 429, "error_type": "whatever it says"}, "429"),
        ({"status": 999}, OTHER),
        ({"status": None, "end_reason": EndReason.CLIENT_ABORT}, "client_abort"),
        ({"status": 429, "end_reason": EndReason.REFUSED, "error_type": "rate_limited"}, "rate_limited"),
    ],
)
def test_errors(columns: dict[str, Any], error: str) -> None:
    assert error_of(event(**columns)) == error


def test_classes_of_status() -> None:
    assert [status_class(status) for status in (101, 200, 304, 429, 599, 600, 99, None)] == [
        "1xx",
        "2xx",
        "3xx",
        "4xx",
        "5xx",
        "",
        "",
        "",
    ]


def test_a_fault_reaches_nobody() -> None:
    board = Board(1, LAYOUTS)
    recording = Recording(board.seat(0), ALL)
    assert recording.event(event(latency_ms="slow")) is not None
    recording.event(None)  # type: ignore[arg-type]  # what no caller does
    recording.refused(None)  # type: ignore[arg-type]  # as above
    recording.refused(Refusal(RATE_LIMITED, "later", provider="openai"))
    assert total(samples_of(board), "metrion_refusals_total", code="rate_limited") == 1


# --- processes --------------------------------------------------------------------------------------------------------


def in_child(work: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_who_takes_the_seat_of_one_that_died_goes_on_counting() -> None:
    board = Board(2, LAYOUTS)
    for seat in (0, 0, 1, 0):
        in_child(lambda seat=seat: [Recording(board.seat(seat), ALL).event(event(input_tokens=2)) for _ in range(5)])  # type: ignore[misc]
    samples = samples_of(board)
    assert total(samples, "metrion_requests_total") == 20
    assert total(samples, INPUT) == 40
    assert len([sample for sample in samples if sample.name == "metrion_requests_total"]) == 1


def test_a_table_is_as_large_as_its_layout() -> None:
    assert Layout(10, 2, 3).size == 8 + 10 * (24 + 512)
    assert sum(layout.size for layout in LAYOUTS) < 1_600_000
