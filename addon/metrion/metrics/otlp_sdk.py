"""The OpenTelemetry SDK behind ``otlp``: the one module that needs the extra ``otlp``. Not for the event loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from metrion import __version__
from metrion.metrics import definitions as defined
from metrion.model import Event
from metrion.settings import OtlpSettings

_POST_SECONDS = 10.0
_METRICS_EVERY_SECONDS = 15.0
_SPANS_EVERY_SECONDS = 2.0
_MOST_SPANS = 4096

type Note = Callable[[str, str], None]

_COUNTED = {
    "gen_ai.client.inference.usage.input_tokens": "input_tokens",
    "gen_ai.client.inference.usage.output_tokens": "output_tokens",
    "gen_ai.client.inference.usage.cache_read.input_tokens": "cache_read_tokens",
    "gen_ai.client.inference.usage.cache_write.input_tokens": "cache_write_tokens",
    "gen_ai.client.inference.usage.reasoning.output_tokens": "reasoning_tokens",
    "metrion.cost": "cost_usd",
}
"""Counters, and the column that each adds up where it is known."""
_SPREAD = {
    "gen_ai.client.inference.duration": ("s", defined.DURATION),
    "gen_ai.client.inference.time_to_first_chunk": ("s", defined.FIRST_CHUNK),
    "gen_ai.server.time_per_output_token": ("s", defined.PER_OUTPUT_TOKEN),
    "gen_ai.client.inference.operation.input_tokens": ("{token}", defined.INPUT_TOKENS),
    "gen_ai.client.inference.operation.output_tokens": ("{token}", defined.OUTPUT_TOKENS),
}
"""Histograms, with their unit and the distribution that each has at ``/metrics``."""
_PARENT = TraceContextTextMapPropagator()
"""Reads a ``traceparent`` as W3C's Trace Context says; what is none has no parent. A ``tracestate`` is left alone."""


class Sdk:
    """See the module. ``note`` is called with what the collector did not take, and why."""

    def __init__(self, settings: OtlpSettings, complaints: Any, *, instance: str) -> None:
        logging.getLogger("opentelemetry").setLevel(
            logging.CRITICAL
        )  # it says the same at each try; `note` says it once
        note: Note = complaints.note
        resource = Resource(
            {"service.name": "metrion", "service.version": __version__, "service.instance.id": instance}
        )
        base, headers = settings.endpoint, dict(settings.headers) or None
        spans = _Spans(note, endpoint=f"{base}/v1/traces", headers=headers, timeout=_POST_SECONDS, session=_session())
        self._traces = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(
            BatchSpanProcessor(spans, max_queue_size=_MOST_SPANS, schedule_delay_millis=_SPANS_EVERY_SECONDS * 1000)
        )
        self._tracer = self._traces.get_tracer("metrion", __version__)
        figures = _Figures(
            note, endpoint=f"{base}/v1/metrics", headers=headers, timeout=_POST_SECONDS, session=_session()
        )
        reader = PeriodicExportingMetricReader(figures, export_interval_millis=_METRICS_EVERY_SECONDS * 1000)
        self._metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._metrics.get_meter("metrion", __version__)
        self._counters = [
            (meter.create_counter(name, unit="USD" if column == "cost_usd" else "{token}"), column)
            for name, column in _COUNTED.items()
        ]
        self._histograms = [
            (
                meter.create_histogram(
                    name, unit=unit, explicit_bucket_boundaries_advisory=defined.DISTRIBUTIONS[at].bounds
                ),
                defined.DISTRIBUTIONS[at],
            )
            for name, (unit, at) in _SPREAD.items()
        ]

    def record(self, event: Event, attributes: Mapping[str, str]) -> None:
        """Move the metrics of an event; what is not known moves none."""
        without_error = {name: value for name, value in attributes.items() if name != "error.type"}
        for counter, column in self._counters:
            if (value := getattr(event, column)) is not None:
                counter.add(float(value) if column == "cost_usd" else value, without_error)
        for histogram, form in self._histograms:
            if (value := form.value(event)) is not None:
                histogram.record(value * form.scale, attributes)

    def span(
        self,
        name: str,
        attributes: Mapping[str, Any],
        began: int,
        ended: int,
        error: str,
        traceparent: bytes | None = None,
    ) -> None:
        """Make the span of an event, as a child of the one that ``traceparent`` names."""
        caller = {} if traceparent is None else {"traceparent": traceparent.decode("latin-1")}
        span = self._tracer.start_span(
            name, _PARENT.extract(caller, Context()), SpanKind.CLIENT, attributes, start_time=began
        )
        if error:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def close(self) -> None:
        """Send what is left."""
        self._traces.shutdown()
        self._metrics.shutdown()


class _Spans(OTLPSpanExporter):
    def __init__(self, note: Note, **options: Any) -> None:
        super().__init__(**options)
        self._note = note

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; whatever goes wrong is noted, and raises nothing."""
        try:
            result = super().export(spans)
        except Exception as error:  # noqa: BLE001 -- a collector must not end the thread that sends
            self._note("spans", type(error).__name__)
            return SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self._note("spans", "it refused them, or nobody answered")
        return result


class _Figures(OTLPMetricExporter):
    def __init__(self, note: Note, **options: Any) -> None:
        super().__init__(**options)
        self._note = note

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Send metrics; as with spans."""
        try:
            result = super().export(metrics_data, timeout_millis, **kwargs)
        except Exception as error:  # noqa: BLE001 -- as above
            self._note("metrics", type(error).__name__)
            return MetricExportResult.FAILURE
        if result is not MetricExportResult.SUCCESS:
            self._note("metrics", "it refused them, or nobody answered")
        return result


def _session() -> requests.Session:
    """Return a session that follows no redirect, since the headers are for the collector alone."""
    session = requests.Session()
    session.max_redirects = 0
    return session
