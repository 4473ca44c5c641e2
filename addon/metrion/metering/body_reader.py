"""What the readers of requests and of responses share: they read beside a body, and never raise.

The chunks are those on the wire, still content-encoded and cut anywhere. A reader only looks at them: it neither holds
a chunk back nor changes one. What goes wrong becomes a warning that contains nothing of the body, and reading ends
there. However large a body is, a reader holds some hundred kilobytes of it at most.
"""

from __future__ import annotations

from metrion.dialects.reading.usage_check import merged
from metrion.estimates.sample import Sample
from metrion.parsing.content_codings import Decoder, DecodingError, decoder
from metrion.parsing.work_budget import WorkBudget, WorkBudgetError

_JSON = "application/json"
_EVENTS = "text/event-stream"
_LINES = frozenset({"application/x-jsonl", "application/jsonl", "application/x-ndjson"})
_VAGUE = frozenset({"", "text/plain", "text/json", "application/octet-stream", "application/x-www-form-urlencoded"})
"""What JSON and events are called by mistake (the last is curl's default). Their first byte tells them apart anyway."""


class BodyReader:
    """A reader of one body that never raises."""

    def __init__(self, content_encoding: str | None, sample: Sample | None) -> None:
        self._warnings: list[str] = []
        self._sample = sample
        self._decoder: Decoder | None = None
        self._budget = WorkBudget()
        self._gave_up = False
        try:
            self._decoder = decoder(content_encoding, self._read if sample is None else self._read_and_keep)
        except DecodingError as error:
            self._warn(str(error))

    def feed(self, chunk: bytes) -> None:
        """Look at a chunk of the body."""
        if self._decoder is None:
            return
        self._budget.earn(len(chunk))
        try:
            self._decoder.feed(chunk)
        except Exception as error:  # noqa: BLE001  # metering never harms the traffic
            self._give_up(error)
            if self._sample is not None:
                self._sample.spoil()

    def finish(self) -> None:
        """Record that the body is over, complete or not."""
        if self._decoder is None:
            return
        try:
            self._decoder.finish()
        except Exception as error:  # noqa: BLE001  # metering never harms the traffic
            self._give_up(error)
        self._decoder = None

    def _read(self, plain: bytes) -> None:
        raise NotImplementedError

    def _read_and_keep(self, plain: bytes) -> None:
        self._read(plain)
        if self._sample is not None:
            self._sample.add(plain)

    def _give_up(self, error: Exception) -> None:
        self._decoder = None
        self._gave_up = True
        # Only our own messages are known to quote nothing.
        is_ours = isinstance(error, DecodingError | WorkBudgetError)
        self._warn(str(error) if is_ours else f"{type(error).__name__} while reading")

    def _warn(self, *warnings: str) -> None:
        if not warnings:
            return
        self._warnings = merged(self._warnings, warnings)


def media_type(content_type: str | None) -> str:
    """Return the media type of a ``Content-Type``, without its parameters; empty where there is none."""
    return (content_type or "").partition(";")[0].strip().lower()


def is_legible(media_type: str) -> bool:
    """Whether a body of this type may be one that a wire format uses."""
    return is_json(media_type) or media_type == _EVENTS or media_type in _VAGUE or media_type in _LINES


def is_json(media_type: str) -> bool:
    """Whether a body of this type promises to be JSON."""
    return media_type == _JSON or media_type.endswith("+json")
