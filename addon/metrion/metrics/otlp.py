"""Sends a span and the metrics of each event to a collector, by the OpenTelemetry GenAI conventions.

In: events, with the bounded labels of their metrics, and the caller's ``traceparent``. Out: OTLP over HTTP, from
threads beside the event loop. To offer an event never waits and never raises: what a collector does not take in time is
dropped and counted. Never: a prompt, a completion, a key, a path or a tag; a user label only where the settings turn it
on.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from metrion.errors import SettingsError
from metrion.faults import log_fault
from metrion.metrics.labels import OPERATION_NAMES, PROVIDER_NAMES, error_of, is_inference
from metrion.metrics.tables import Labels
from metrion.model import EndReason, Event
from metrion.settings import Settings

if TYPE_CHECKING:
    from metrion.metrics.otlp_sdk import Sdk

logger = logging.getLogger(__name__)

MOST_WAITING = 4096
"""Events that wait for their spans; more are dropped."""
_CLOSE_SECONDS = 2.0
"""How long the end may take to send what is left."""
_SECONDS_BETWEEN_LINES = 60.0

type Attributes = dict[str, str | int | float | list[str]]


class Exporter:
    """See the module. Starts its thread at once: make one in each process, after it is forked."""

    def __init__(self, settings: Settings, sdk: Sdk, complaints: Complaints) -> None:
        self._sdk = sdk
        self._complaints = complaints
        self._users = settings.metrics.users
        self._hosts = {name: entry.upstream for name, entry in settings.providers.items()}
        self._waiting: queue.SimpleQueue[tuple[Event, Labels, bytes | None] | None] = queue.SimpleQueue()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def offer(self, event: Event, labels: Labels, traceparent: bytes | None = None) -> None:
        """Take an event, if there is room. ``traceparent``: the caller's header; what is none is left alone."""
        if self._waiting.qsize() >= MOST_WAITING:
            self.dropped += 1
            self._complaints.note("spans", f"{MOST_WAITING:,} wait already, and what comes now is dropped")
            return
        self._waiting.put((event, labels, traceparent))

    def close(self) -> None:
        """Send what is left, for a moment at most; a collector that hangs is left to itself."""
        self._waiting.put(None)
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            event, labels, traceparent = item
            try:
                if is_inference(event.operation or "") and event.end_reason != EndReason.REFUSED:
                    self._sdk.record(event, metric_attributes(labels, error_of(event), self._host(event)))
                self._sdk.span(
                    f"{_operation(event.operation)} {event.model or event.model_requested or ''}".strip(),
                    self._attributes(event),
                    *_times(event),
                    error_of(event),
                    traceparent,
                )
            except Exception as error:  # noqa: BLE001 -- one span that fails must not end the others
                log_fault(logger, "A span could not be made; its event is in the journal", error)
        with contextlib.suppress(Exception):
            self._sdk.close()

    def _host(self, event: Event) -> str:
        upstream = self._hosts.get(event.provider)
        return upstream.host if upstream is not None else ""

    def _attributes(self, event: Event) -> Attributes:
        """Return the attributes of a span; one whose value is not known is left out."""
        upstream = self._hosts.get(event.provider)
        found: Mapping[str, Any] = {
            "gen_ai.operation.name": _operation(event.operation),
            "gen_ai.provider.name": PROVIDER_NAMES.get(event.provider, event.provider),
            "gen_ai.request.model": event.model_requested,
            "gen_ai.request.stream": event.streamed or None,
            "gen_ai.response.model": event.model,
            "gen_ai.response.time_to_first_chunk": _first_chunk_seconds(event),
            "gen_ai.response.id": event.generation_id,
            "gen_ai.response.finish_reasons": [event.finish_reason] if event.finish_reason else None,
            "gen_ai.usage.input_tokens": event.input_tokens,
            "gen_ai.usage.output_tokens": event.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": event.cache_read_tokens,
            "gen_ai.usage.cache_write.input_tokens": event.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": event.reasoning_tokens,
            "gen_ai.usage.audio.input_tokens": event.input_audio_tokens,
            "gen_ai.usage.audio.output_tokens": event.output_audio_tokens,
            "gen_ai.usage.image.input_tokens": event.input_image_tokens,
            "gen_ai.usage.image.output_tokens": event.output_image_tokens,
            "gen_ai.usage.cost.amount": None if event.cost_usd is None else float(event.cost_usd),
            "gen_ai.usage.cost.currency": None if event.cost_usd is None else "USD",
            "gen_ai.usage.cost.source": event.cost_source,
            "server.address": upstream.host if upstream else None,
            "server.port": upstream.port if upstream else None,
            "http.response.status_code": event.status,
            "error.type": error_of(event) or None,
            "metrion.event_id": str(event.event_id),
            "metrion.request_id": event.request_id,
            "metrion.account": event.account,
            "metrion.token": event.token_name,
            "metrion.end_reason": event.end_reason,
            "metrion.usage_source": event.usage_source,
            "metrion.first_byte_ms": event.first_byte_ms,
            "metrion.overhead_ms": event.overhead_ms,
            "metrion.user": event.user_label if self._users else None,
        }
        return {
            name: str(value) if isinstance(value, str) else value for name, value in found.items() if value is not None
        }


def metric_attributes(labels: Labels, error: str, host: str) -> dict[str, str]:
    """Return the attributes of an event's metrics: of each a bounded number."""
    provider, operation, asked, served = labels[:4]
    found = {
        "gen_ai.operation.name": _operation(operation),
        "gen_ai.provider.name": PROVIDER_NAMES.get(provider, provider),
        "gen_ai.request.model": asked,
        "gen_ai.response.model": served,
        "server.address": host,
        "error.type": error,
    }
    return {name: value for name, value in found.items() if value}


def _operation(name: str | None) -> str:
    return OPERATION_NAMES.get(name or "", name or "other")


def _first_chunk_seconds(event: Event) -> float | None:
    return event.first_byte_ms / 1000 if event.streamed and event.first_byte_ms is not None else None


def _times(event: Event) -> tuple[int, int]:
    """Return when a request began and ended, in nanoseconds since the epoch."""
    began = int(event.started_at.replace(tzinfo=UTC).timestamp() * 1e9)
    return began, began + int((event.latency_ms or 0.0) * 1e6)


class Complaints:
    """Says that a collector takes nothing, once a minute at most. Never quotes what it sent."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._said_at = -math.inf

    def note(self, what: str, why: str) -> None:
        """Say that ``what`` was not taken."""
        now = time.monotonic()
        if now - self._said_at >= _SECONDS_BETWEEN_LINES:
            self._said_at = now
            logger.warning(
                "The collector at %s did not take the %s (%s); no request waits for it.", self._endpoint, what, why
            )


def check_installed(settings: Settings) -> None:
    """Check that what sends is installed, where something is to be sent.

    :raises SettingsError: it is not.
    """
    if settings.otlp.endpoint is None:
        return
    try:
        import metrion.metrics.otlp_sdk  # noqa: F401 -- it imports the extra
    except ImportError:
        raise SettingsError(
            f"{settings.config_path}: otlp.endpoint: needs an extra: run `pip install 'metrion[otlp]'`, or leave the "
            "key out"
        ) from None


def exporter_of(settings: Settings) -> Exporter | None:
    """Return what sends events to the collector of the settings, if they name one.

    :raises SettingsError: the extra is not installed.
    """
    if settings.otlp.endpoint is None:
        return None
    check_installed(settings)
    from metrion.metrics.otlp_sdk import Sdk

    started = datetime.now(UTC).isoformat(timespec="seconds")
    complaints = Complaints(settings.otlp.endpoint)
    return Exporter(settings, Sdk(settings.otlp, complaints, instance=f"{os.getpid()}-{started}"), complaints)
