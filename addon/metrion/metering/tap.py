"""Reads beside a body what it says: raw chunks in, a :class:`~metrion.model.Reading` (or a model's name) out.

The chunks are those on the wire, still content-encoded and cut anywhere. They are only looked at. Nothing here raises,
holds a chunk back or changes one: what goes wrong becomes a warning that contains nothing of the body, and reading ends
there. However large a body is, some hundred kilobytes are the most that is held of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from metrion.dialects import DIALECTS
from metrion.dialects.dialect import Draft, label, no_objects, usages
from metrion.dialects.reading import errors, shares
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.estimates.sample import Sample
from metrion.model import Reading, Usage
from metrion.parsing.content_codings import Decoder, DecodingError, decoder
from metrion.parsing.json_document import Document, Reader
from metrion.parsing.json_stream import BOM, Elements, Lines, Path, Scanner, to_json, tree
from metrion.parsing.multipart import FormReader, boundary
from metrion.parsing.sse import EventReader, Part
from metrion.parsing.work_budget import WorkBudget, WorkBudgetError

JSON = "application/json"
EVENTS = "text/event-stream"
LINES = frozenset({"application/x-jsonl", "application/jsonl", "application/x-ndjson"})
VAGUE = frozenset({"", "text/plain", "text/json", "application/octet-stream", "application/x-www-form-urlencoded"})
"""What JSON and events are called by mistake (the last is curl's default). Their first byte tells them apart anyway."""

FIELDS = b":deir"
"""What a line of a stream of events begins with: a comment, ``data``, ``event``, ``id``, ``retry``."""

LARGE = 1 << 17
"""Bytes of an event that are sure to have come in parts."""
LONGEST_MARK = 64
"""No mark of a wire format has as many bytes."""

MOST_WARNINGS = 16
"""As many are told of one body."""

NOTHING = re.compile(rb"(?!)")

MODEL_AND_STREAM = ("model", "stream")
REQUEST = Reader(tree((name,) for name in MODEL_AND_STREAM))


class _Beside:
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
        """Take note that the body is over, complete or not."""
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
        self._warnings += [warning for warning in warnings if warning not in self._warnings]
        del self._warnings[MOST_WARNINGS:]


class Tap(_Beside):
    """Reads the usage out of one response.

    ``dialect`` is its wire format, a key of ``DIALECTS``. Where that is ``None``, or the content type is none that a
    wire format uses, nothing is read; but where ``status`` is an error, its type is read in any case. What has passed
    since the latest usage goes into the ``sample``.
    """

    def __init__(
        self,
        dialect: str | None,
        *,
        content_type: str | None,
        content_encoding: str | None,
        status: int,
        sample: Sample | None = None,
    ) -> None:
        super().__init__(content_encoding, sample)
        self._format = _format(dialect)
        self._dialect = DIALECTS.get(dialect or "")
        self._failed = status >= 400
        self._draft: Draft | None = None
        """What the documents of a body have told, where it is many of them."""
        self._document: Document | None = None
        """The body, where it is one JSON document."""
        self._documents: Elements | Lines | None = None
        """The body, where it is many of them."""
        self._events: EventReader | None = None
        """The body, where it is a stream of events."""
        self._parted: _PartedEvent | None = None
        """The event of which not all parts have come."""
        self._missed = False
        """Something that was wanted could not be read, and no usage has come since."""
        media_type = _media_type(content_type)
        self._promises_json = _is_json(media_type)
        self._wire_format = dialect if self._dialect and _is_legible(media_type) else None
        if not (self._dialect or self._failed) or not _is_legible(media_type):
            self._decoder = None

    @property
    def terminal(self) -> bool:
        """Whether the event that ends the stream, well or with an error, has passed, and the blank line behind it."""
        return self._draft is not None and self._draft.terminal

    @property
    def is_stream(self) -> bool:
        """Whether the body is a stream of events, whatever its content type says."""
        return self._events is not None

    @property
    def reading(self) -> Reading:
        """What is known so far."""
        try:
            return self._reading()
        except Exception as error:  # noqa: BLE001  # metering never harms the traffic
            self._give_up(error)
            warnings = tuple(self._warnings)
            return Reading(terminal=self.terminal, warnings=warnings, wire_format=self._wire_format)

    def finish(self) -> None:
        """Take note that the body is over, complete or not."""
        if self.terminal:  # a client may leave before the trailer of an encoding has come
            self._decoder = None
        super().finish()
        if (whole := self._whole) is not None and not whole.complete and not self._gave_up:
            self._warn("the JSON body ends early, or is broken")
        if self._parted is not None and self._parted.matters:
            self._miss("the last event ends early")

    def _read(self, plain: bytes) -> None:
        if self._events is not None:
            for part in self._events.feed(plain):
                self._read_part(part)
        elif self._documents is not None:
            for document in self._documents.feed(plain):
                self._read_document(document, self._drafted)
                if not document.complete:
                    self._miss("a line is no JSON")
            if isinstance(self._documents, Elements) and self._documents.complete:
                self._drafted.terminal = True
        elif self._document is not None:
            self._document.feed(plain)
        elif start := plain.lstrip(BOM + b" \t\r\n"):  # some servers send line ends to keep a connection alive
            if start.startswith(b"["):
                self._documents = Elements(self._format.reader.wanted, self._budget)
            elif self._dialect is not None and self._dialect.lines and not self._failed:
                self._documents = Lines(self._format.reader.wanted, self._budget)
            elif self._dialect is None or start.startswith(b"{"):
                self._document = Document(self._format.reader, self._budget)
            else:
                self._events = EventReader(self._matters, self._budget)
                if self._promises_json and not self._failed and start[0] not in FIELDS:
                    self._warn("the body is no JSON")
            self._read(start)

    def _matters(self, events: bytes) -> bool:
        """Whether there is anything new in these events. This is asked for each chunk, so it has to be fast."""
        form, draft = self._format, self._draft
        for mark in form.marks:
            if events.find(mark) >= 0:  # three times as fast as `in`
                return True
        if draft is None or draft.model is None or draft.generation_id is None:
            for name in form.model_names if draft is None or draft.model is None else form.id_names:
                if events.find(name) >= 0:
                    return True
        return form.not_null(events) is not None

    def _read_part(self, part: Part) -> None:
        if part.last and self._parted is None:
            event = Document(self._format.reader, self._budget)
            event.feed(part.data)
        else:
            parted = self._parted = self._parted or _PartedEvent(Document(self._format.reader, self._budget))
            parted.feed(part, self._matters)
            if parted.is_junk:
                self._warn("an event is no JSON")
            if not part.last:
                return
            event, self._parted = parted.document, None
            if not parted.matters:  # one that comes at once would have been passed over
                return
        draft = self._drafted
        self._read_document(event, draft, is_error=part.name == b"error")
        if self._dialect and self._dialect.is_end(part.data, event.document):
            draft.terminal = True
        elif not event.complete or event.document is None:
            self._miss("an event is no JSON")

    @property
    def _drafted(self) -> Draft:
        if self._draft is None:
            self._draft = Draft()
        return self._draft

    def _read_document(self, document: Document | Scanner, draft: Draft, *, is_error: bool = False) -> None:
        """Note one document of many."""
        # What became of one request of a batch is on one line, and no error of the others.
        is_error = is_error or (errors.has_error(document.document) and not isinstance(self._documents, Lines))
        self._note(document.document, draft, is_error=is_error)
        self._miss(*document.faults)
        if is_error and not self._failed:
            draft.stream_error = draft.terminal = True  # SDKs raise, and hang up

    def _note(self, document: object, draft: Draft, *, is_error: bool) -> None:
        if self._dialect and isinstance(document, dict):
            usage = draft.usage
            self._dialect.read(document, draft)
            if draft.usage is not usage:
                draft.finished_first = draft.finish_reason is not None
                self._missed = self._missed and self._dialect.lines  # else what was told before is told again
                if self._sample is not None:
                    self._sample.restart()
            self._miss(*draft.faults, *no_objects(document, self._format.usages))
            draft.faults.clear()
        if is_error:
            draft.error_type = errors.error_type(document) or draft.error_type

    def _reading(self) -> Reading:
        draft, is_error = self._draft or Draft(), False
        if self._document is not None:
            document = self._document.document
            is_error = errors.has_error(document)
            self._note(document, draft, is_error=self._failed or is_error)
            self._miss(*self._document.faults)
        usage, doubtful = self._usage(draft)
        return Reading(
            model=draft.model,
            service_tier=draft.service_tier,
            generation_id=draft.generation_id,
            finish_reason=draft.finish_reason,
            error_type=draft.error_type,
            usage=usage,
            terminal=draft.terminal,
            stream_error=draft.stream_error,
            is_error=is_error and not self._failed and not draft.pending,
            pending=draft.pending and usage is None,
            output=draft.output,
            warnings=tuple(self._warnings),
            cut_short=usage is not None and self._is_cut_short(draft),
            goes_on=usage is not None and self._goes_on(draft),
            doubtful=doubtful,
            estimated=usage is not None and draft.estimated,
            wire_format=self._wire_format,
        )

    def _goes_on(self, draft: Draft) -> bool:
        """Whether more usage may follow the latest."""
        is_last = draft.finished_first and self._dialect is not None and not self._dialect.ends_with_body
        is_over = draft.terminal and not draft.stream_error
        return self._document is None and not is_over and not is_last

    def _is_cut_short(self, draft: Draft) -> bool:
        """Whether the usage that has been read may not be all of it, should the body be over."""
        if self._missed or (self._gave_up and self._goes_on(draft)):
            return True
        if (whole := self._whole) is not None:
            return not whole.complete
        return not draft.terminal and draft.finish_reason is None

    @property
    def _whole(self) -> Document | Elements | Lines | None:
        """The body, where it is no stream of events."""
        return self._document if self._documents is None else self._documents

    def _miss(self, *faults: str) -> None:
        """Take note that something that was wanted could not be read, so that what is known may not be all."""
        self._missed = self._missed or bool(faults)
        self._warn(*faults)

    def _usage(self, draft: Draft) -> tuple[Usage | None, bool]:
        """Return the usage, and whether it is doubtful."""
        if self._dialect is None or draft.usage is None:
            return None, False
        raw = to_json(draft.usage) if self._dialect.lines else draft.usage_source
        reader = UsageReader(draft.usage, raw=raw)
        usage = reader.checked(shares.under(draft.model, self._dialect.usage(reader)))
        if usage.raw is not raw or draft.unreported_tools:
            usage = replace(usage, raw=raw, unreported_tools=draft.unreported_tools or usage.unreported_tools)
        self._warn(*reader.warnings)
        return usage, reader.is_doubtful(usage, self._dialect.needs)


class _PartedEvent:
    """An event that comes in parts: its document, and whether it matters."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.matters = False
        self._size = 0
        self._tail = b""

    @property
    def is_junk(self) -> bool:
        """Whether so much has come that it is certain not to be an event of a provider's."""
        return self._size > LARGE and self.document.document is None

    def feed(self, part: Part, matters: Callable[[bytes], bool]) -> None:
        self._size += len(part.data)
        self.document.feed(part.data)
        data = self._tail + part.data + (b"\nevent: " + part.name if part.last else b"")
        self.matters = self.matters or matters(data)
        self._tail = data[-LONGEST_MARK:]  # a mark may be cut in two


class RequestReader(_Beside):
    """Reads what a request asks for, in JSON or in a form with a file. Of any other body it knows nothing.

    All of it goes into the ``sample``.
    """

    def __init__(self, *, content_type: str | None, content_encoding: str | None, sample: Sample | None = None) -> None:
        super().__init__(content_encoding, sample)
        self._document = Document(REQUEST, self._budget)
        media_type = _media_type(content_type)
        self._promises_json = _is_json(media_type)
        self._has_begun = False
        separator = boundary(content_type)
        self._form = FormReader(separator, MODEL_AND_STREAM) if separator else None
        if not (self._form or _is_legible(media_type)):
            self._decoder = None

    @property
    def model(self) -> str | None:
        """The model asked for."""
        return label(self._member("model"))

    @property
    def stream(self) -> bool | None:
        """Whether a stream is asked for."""
        stream = self._member("stream")
        if self._form is not None:
            return {"true": True, "false": False}.get(str(stream))
        return stream if isinstance(stream, bool) else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be read and why; contains nothing of the request."""
        return tuple(self._warnings)

    def finish(self) -> None:
        """Take note that the body is over, complete or not."""
        super().finish()
        if self._promises_json and self._has_begun and not self._document.complete and not self._gave_up:
            self._warn("the JSON body ends early, or is broken")

    def _read(self, plain: bytes) -> None:
        self._has_begun = True
        (self._form or self._document).feed(plain)

    def _member(self, name: str) -> object:
        if self._form is not None:
            return self._form.fields.get(name)
        document = self._document.document
        return document.get(name) if isinstance(document, dict) else None


@dataclass(frozen=True, slots=True)
class _Format:
    """What a dialect looks for, prepared for looking."""

    reader: Reader
    marks: tuple[bytes, ...]
    not_null: Callable[[bytes], re.Match[bytes] | None]
    """Finds a member that may be null, and is not."""
    model_names: tuple[bytes, ...]
    id_names: tuple[bytes, ...]
    usages: tuple[Path, ...]


@cache
def _format(name: str | None) -> _Format:
    dialect = DIALECTS.get(name or "")
    if dialect is None:
        return _Format(Reader(tree(errors.WANTED)), (), NOTHING.search, (), (), ())
    ends = [name.encode() for name in sorted(dialect.end_types)]
    ends += [dialect.end_data] if dialect.end_data is not None else []
    nullable = b"|".join(_quoted(*dialect.nullable, "error"))
    return _Format(
        reader=Reader(tree((*dialect.wanted, *errors.WANTED))),
        marks=(*dialect.marks, *(end for end in ends if not any(mark in end for mark in dialect.marks))),
        not_null=re.compile(rb"(?:%b)(?!: ?null)" % nullable).search,
        model_names=_quoted(*dialect.model_names),
        id_names=_quoted(*dialect.id_names),
        usages=usages(dialect.wanted),
    )


def _quoted(*names: str) -> tuple[bytes, ...]:
    return tuple(f'"{name}"'.encode() for name in names)


def _is_legible(media_type: str) -> bool:
    return _is_json(media_type) or media_type == EVENTS or media_type in VAGUE or media_type in LINES


def _is_json(media_type: str) -> bool:
    return media_type == JSON or media_type.endswith("+json")


def _media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()
