"""What a collector gets, decoded as it is on the wire, and that one which fails harms nothing."""

from __future__ import annotations

import gzip
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from metrion.errors import SettingsError
from metrion.metrics import otlp
from metrion.model import CostSource, EndReason, Event
from metrion.model.event_id import uuid7
from metrion.settings import MetricsSettings, OtlpSettings, Settings
from tests.metrics.test_exposition import CHAT, post
from tests.processes import STORED_KEYS, eventually, free_port, running_serve, upstreams
from tests.simulated import Simulator

SECRET = "collector-secret-0123456789"
HANGS_SECONDS = 30.0
STARTED = datetime(2026, 5, 1, 12)  # noqa: DTZ001 -- as events hold it, naive UTC
LABELS = ("openai", "chat", "gpt-4o", "gpt-4o", "2xx", "complete", "", "computed")


class Collector:
    """A collector on a port of this machine. ``status``: what it answers; ``hangs``: it does not."""

    def __init__(self, *, status: int = 200, hangs: bool = False, location: str | None = None) -> None:
        self.bodies: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.bodies.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if hangs:
                    collector.released.wait(2 * HANGS_SECONDS)
                self.send_response(status)
                if location:
                    self.send_header("location", location)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self) -> list[Any]:
        found = []
        for path, _, body in self.bodies:
            if path == "/v1/traces":
                request = ExportTraceServiceRequest.FromString(body)
                found += [
                    span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans
                ]
        return found

    def metrics(self) -> dict[str, Any]:
        found = dict[str, Any]()
        for path, _, body in self.bodies:
            if path == "/v1/metrics":
                request = ExportMetricsServiceRequest.FromString(body)
                for group in request.resource_metrics:
                    found |= {metric.name: metric for scope in group.scope_metrics for metric in scope.metrics}
        return found


@contextmanager
def collecting(**how: Any) -> Iterator[Collector]:
    collector = Collector(**how)
    threading.Thread(target=collector.server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        collector.released.set()
        collector.server.shutdown()
        collector.server.server_close()


def attributes(of: Any) -> dict[str, Any]:
    found = {}
    for each in of.attributes:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        found[each.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


def settings(endpoint: str, *, users: bool = False, **headers: str) -> Settings:
    return Settings(
        home=Path("/nowhere"),
        otlp=OtlpSettings(endpoint=endpoint, headers=headers),
        metrics=MetricsSettings(users=users),
    )


def event(**columns: Any) -> Event:
    known: dict[str, Any] = {
        "provider": "openai", "operation": "chat", "model_requested": "gpt-4o", "model": "gpt-4o-2024-08-06",
        "status": 200, "end_reason": EndReason.COMPLETE, "input_tokens": 12, "output_tokens": 5, "reasoning_tokens": 0,
        "cost_usd": Decimal("0.00125"), "cost_source": CostSource.COMPUTED, "latency_ms": 250.0, "first_byte_ms": 100.0,
        "user_label": "ann", "account": "default", "token_name": "tests", "path": "/v1/chat/completions",
        "tags": {"team": "red"}, "finish_reason": "stop",
    }  # fmt: skip
    return Event(event_id=uuid7(), request_id="r1", started_at=STARTED, **known | columns)


def test_span_has_the_attributes_of_the_conventions_and_what_is_known_alone() -> None:
    with collecting() as collector:
        exporter = otlp.exporter_of(settings(collector.url, authorization=SECRET))
        assert exporter is not None
        exporter.offer(event(), LABELS)
        exporter.close()
        (span,) = collector.spans()
        assert [headers["authorization"] for _, headers, _ in collector.bodies] == [SECRET] * len(collector.bodies)
    assert span.name == "chat gpt-4o-2024-08-06"
    assert span.end_time_unix_nano - span.start_time_unix_nano == 250_000_000
    found = attributes(span)
    assert len(found.pop("metrion.event_id")) == 36
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "gen_ai.usage.cost.amount": 0.00125,
        "gen_ai.usage.cost.currency": "USD",
        "gen_ai.usage.cost.source": "computed",
        "server.address": "api.openai.com",
        "server.port": 443,
        "http.response.status_code": 200,
        "metrion.request_id": "r1",
        "metrion.account": "default",
        "metrion.token": "tests",
        "metrion.end_reason": "complete",
        "metrion.usage_source": "none",
        "metrion.first_byte_ms": 100.0,
    }


def test_a_stream_has_its_times_and_sound_and_pictures_their_tokens() -> None:
    with collecting() as collector:
        exporter = otlp.exporter_of(settings(collector.url))
        assert exporter is not None
        exporter.offer(event(streamed=True, input_audio_tokens=3, output_image_tokens=0), LABELS)
        exporter.close()
        found = attributes(collector.spans()[0])
        (per_token,) = collector.metrics()["gen_ai.server.time_per_output_token"].histogram.data_points
        (first,) = collector.metrics()["gen_ai.client.inference.time_to_first_chunk"].histogram.data_points
    assert found["gen_ai.request.stream"] is True
    assert found["gen_ai.response.time_to_first_chunk"] == 0.1
    assert (found["gen_ai.usage.audio.input_tokens"], found["gen_ai.usage.image.output_tokens"]) == (3, 0)
    assert "gen_ai.usage.audio.output_tokens" not in found
    assert (per_token.count, per_token.sum) == (1, pytest.approx(0.15 / 4))
    assert (first.count, first.sum) == (1, pytest.approx(0.1))


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("traceparent", "trace", "parent"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE, SPAN),
        (f"00-{TRACE}-{SPAN}-00", TRACE, SPAN),
        (f"cc-{TRACE}-{SPAN}-01-what-a-later-version-adds", TRACE, SPAN),
        (f"00-{'0' * 32}-{SPAN}-01", None, ""),
        (f"00-{TRACE}-{'0' * 16}-01", None, ""),
        (f"ff-{TRACE}-{SPAN}-01", None, ""),
        ("00-short-01", None, ""),
        ("\xe9\xff", None, ""),
        ("", None, ""),
        (None, None, ""),
    ],
)
def test_the_parent_of_a_span_is_the_callers(traceparent: str | None, trace: str | None, parent: str) -> None:
    with collecting() as collector:
        exporter = otlp.exporter_of(settings(collector.url))
        assert exporter is not None
        exporter.offer(event(), LABELS, None if traceparent is None else traceparent.encode("latin-1"))
        exporter.close()
        (span,) = collector.spans()
    assert span.parent_span_id.hex() == parent
    assert (span.trace_id.hex() == TRACE) == (trace is not None)
    assert len(span.trace_id) == 16
    assert span.trace_state == ""


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"status": 429}, "429"),
        ({"end_reason": EndReason.STREAM_ERROR}, "stream_error"),
        ({"end_reason": EndReason.REFUSED, "error_type": "budget", "status": 429}, "budget"),
        ({"status": 200}, None),
    ],
)
def test_errors_are_of_a_fixed_set(columns: dict[str, Any], error: str | None) -> None:
    with collecting() as collector:
        exporter = otlp.exporter_of(settings(collector.url, users=True))
        assert exporter is not None
        exporter.offer(event(cost_usd=None, cost_source=CostSource.UNKNOWN, input_tokens=None, **columns), LABELS)
        exporter.close()
        found = attributes(collector.spans()[0])
    assert found.get("error.type") == error
    assert found["metrion.user"] == "ann"
    assert not {"gen_ai.usage.cost.amount", "gen_ai.usage.input_tokens"} & found.keys()


def test_metrics_move_by_what_is_known() -> None:
    with collecting() as collector:
        exporter = otlp.exporter_of(settings(collector.url))
        assert exporter is not None
        for tokens in (12, None, 8):
            exporter.offer(event(input_tokens=tokens), LABELS)
        exporter.offer(event(end_reason=EndReason.REFUSED), LABELS)
        exporter.close()
        found = collector.metrics()
    (point,) = found["gen_ai.client.inference.usage.input_tokens"].sum.data_points
    assert (point.as_int, attributes(point)["gen_ai.request.model"]) == (20, "gpt-4o")
    (durations,) = found["gen_ai.client.inference.duration"].histogram.data_points
    assert (durations.count, durations.sum) == (3, pytest.approx(0.75))
    assert "gen_ai.client.inference.usage.cache_read.input_tokens" not in found


@pytest.mark.parametrize("how", [{"hangs": True}, {"status": 401}, {"status": 503}, {"status": 307}, None])
def test_collector_that_fails_is_waited_for_by_nobody(how: dict[str, Any] | None) -> None:
    with collecting() as other, collecting(location=f"{other.url}/v1/traces", **(how or {})) as collector:
        endpoint = collector.url if how is not None else f"http://127.0.0.1:{free_port()}"
        exporter = otlp.exporter_of(settings(endpoint, authorization=SECRET))
        assert exporter is not None
        began, offered = time.perf_counter(), event()
        for _ in range(2 * otlp.MOST_WAITING):
            exporter.offer(offered, LABELS)
        exporter.close()
        assert time.perf_counter() - began < HANGS_SECONDS
        assert other.bodies == []  # no redirect is followed


def test_what_is_too_much_is_dropped_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck:
        def __init__(self) -> None:
            self.go = threading.Event()

        def record(self, *_: object) -> None:
            self.go.wait(20)

        def span(self, *_: object) -> None:
            pass

        def close(self) -> None:
            pass

    stuck = Stuck()
    sdk: Any = stuck  # as much of one as is used
    exporter = otlp.Exporter(settings("http://localhost:1"), sdk, otlp.Complaints("http://localhost:1"))
    for _ in range(otlp.MOST_WAITING + 10):
        exporter.offer(event(), LABELS)
    assert 9 <= exporter.dropped <= 10
    (said,) = (record.getMessage() for record in caplog.records)
    assert "did not take the spans (4,096 wait already, and what comes now is dropped)" in said
    stuck.go.set()
    exporter.close()


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metrion.metrics.otlp_sdk", None)
    otlp.check_installed(Settings(home=Path("/nowhere")))
    with pytest.raises(SettingsError, match=r"pip install 'metrion\[otlp\]'"):
        otlp.check_installed(settings("http://localhost:4318"))


def test_serve_sends_spans_without_content_or_keys(simulator: Simulator, tmp_path: Path) -> None:
    answer = simulator.select(simulator.register_answer("otlp", pieces=[json.dumps(CHAT).encode()]))
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=what-is-nobodys"}
    with collecting() as collector:
        config = upstreams(simulator) | {"otlp": {"endpoint": collector.url, "headers": {"x-team": SECRET}}}
        with running_serve(tmp_path / "home", config, arguments=("--workers", "2")) as proxy:
            for _ in range(3):
                assert post(proxy, "/openai/v1/chat/completions", answer | headers) == 200
            eventually(lambda: len(collector.spans()) == 3)
            spans = collector.spans()
            assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans} == {(TRACE, SPAN)}
            *_, sent = simulator.received(3)
            passed = [value.decode() for name, value in sent.headers if name.decode().lower() in headers]
            assert passed == list(headers.values())
            ids = {row["event_id"] for row in proxy.events()}
            assert {attributes(span)["metrion.event_id"] for span in collector.spans()} == ids
            assert SECRET not in proxy.metrion("doctor")
            assert proxy.stop() == 0
            for secret in (proxy.token, STORED_KEYS["openai"], "hello", "/v1/chat", "ann", "nobodys"):
                assert not any(secret.encode() in body for _, _, body in collector.bodies), secret
        assert sum(
            point.as_int for point in collector.metrics()["gen_ai.client.inference.usage.input_tokens"].sum.data_points
        )
        assert SECRET not in proxy.log.read_text()


def test_serve_goes_on_beside_a_collector_that_hangs(simulator: Simulator, tmp_path: Path) -> None:
    answer = simulator.select(simulator.register_answer("otlp2", pieces=[json.dumps(CHAT).encode()]))
    with collecting(hangs=True) as collector:
        config = upstreams(simulator) | {"otlp": {"endpoint": collector.url}}
        with running_serve(tmp_path / "home", config) as proxy:
            assert post(proxy, "/openai/v1/chat/completions", answer) == 200
            eventually(lambda: collector.bodies)
            began = time.perf_counter()
            assert {post(proxy, "/openai/v1/chat/completions", answer) for _ in range(20)} == {200}
            assert time.perf_counter() - began < HANGS_SECONDS
            assert proxy.stop(timeout=HANGS_SECONDS) == 0
