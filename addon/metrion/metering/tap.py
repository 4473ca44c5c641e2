"""Reads beside a response what it says: raw chunks in, a :class:`~metrion.model.Reading` out.

Nothing here raises, holds a chunk back or changes one (:mod:`metrion.metering.body_reader` says how). The tap knows how
bodies arrive: whole, as a stream of events, as an array, or one document to a line. What a document means is the
business of its wire format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from metrion.dialects import DIALECTS
from metrion.dialects.dialect import Draft, no_objects, usages
from metrion.dialects.reading import errors, results_body, running_totals
from metrion.dialects.reading.usage_check import finish
from metrion.estimates.sample import Sample
from metrion.metering.body_reader import BodyReader, is_json, is_legible, media_type
from metrion.model import Reading
from metrion.parsing.json_document import Document, Reader
from metrion.parsing.json_sequence import Elements, Lines
from metrion.parsing.json_stream import BOM, Scanner
from metrion.parsing.json_values import Path, to_json, tree
from metrion.parsing.sse import EventReader, Part

_FIELDS = b":deir"
"""What a line of a stream of events begins with: a comment, ``data``, ``event``, ``id``, ``retry``."""

_LARGE = 1 << 17
"""Bytes of an event that are sure to have come in parts."""
_LONGEST_MARK = 64
"""No mark of a wire format has as many bytes."""

_NOTHING = re.compile(rb"(?!)")


class Tap(BodyReader):
    """Reads the usage out of one response.

    ``dialect`` is its wire format, a key of ``DIALECTS``. Where that is ``None``, or no wire format uses the content
    type, the tap reads nothing; but where ``status`` is an error, it reads the type of the error in any case. With
    ``seeks_results`` it reads only whether the body, of whatever type, is the results of a batch. What has passed since
    the latest usage goes into the ``sample``.
    """

    def __init__(
        self,
        dialect: str | None,
        *,
        content_type: str | None,
        content_encoding: str | None,
        status: int,
        sample: Sample | None = None,
        seeks_results: bool = False,
    ) -> None:
        super().__init__(content_encoding, sample)
        self._first = Scanner(results_body.WANTED, self._budget) if seeks_results else None
        """The first document of a body that may be results."""
        self._format = _format(dialect)
        self._dialect = DIALECTS.get(dialect or "")
        self._failed = status >= 400
        self._draft: Draft | None = None
        """What the documents of the body have said so far."""
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
        self._has_output = False
        self._read_before = b""
        """The end of what was read before any output, which may be the beginning of what shows it."""
        self._finished_first = False
        """The finish reason came before the latest usage, or with it."""
        kind = media_type(content_type)
        legible = is_legible(kind)
        self._promises_json = is_json(kind)
        self._wire_format = dialect if self._dialect and legible else None
        if not ((self._dialect or self._failed) and legible) and not seeks_results:
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
        """Record that the body is over, complete or not."""
        if self.terminal:  # a client may leave before the trailer of an encoding has come
            self._decoder = None
        super().finish()
        if self._events is not None and not self._gave_up:
            try:
                self._read_last_event(self._events)
            except Exception as error:  # noqa: BLE001  # metering never harms the traffic
                self._give_up(error)
        if (whole := self._whole) is not None and not whole.complete and not self._gave_up:
            self._warn("the JSON body ends early, or is broken")
        if self._parted is not None and self._parted.matters:
            self._miss("the last event ends early")

    def _read(self, plain: bytes) -> None:
        if self._first is not None:
            self._seek_results(self._first, plain)
            return
        if not self._has_output and self._is_stream_of_documents:
            shown = self._read_before + plain
            self._has_output = self._format.output(shown) is not None
            self._read_before = shown[-_LONGEST_MARK:]
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
                if self._promises_json and not self._failed and start[0] not in _FIELDS:
                    self._warn("the body is no JSON")
            self._read(start)

    def _seek_results(self, first: Scanner, plain: bytes) -> None:
        """Read on until it is known what the body is, and no further."""
        first.feed(plain)
        if results_body.is_results(first.document):
            self._drafted.is_results = True
            self._decoder = None
        elif first.over or (first.document is None and not plain[:1].isspace()):
            self._decoder = None

    @property
    def _is_stream_of_documents(self) -> bool:
        return self._dialect is not None and (self._events is not None or isinstance(self._documents, Elements))

    def _read_last_event(self, events: EventReader) -> None:
        """Read the event that the body ends with, where only its blank line is missing."""
        for part in events.finish():
            if self._parted is not None:
                is_whole = not part.last or self._parted.document.complete
            else:
                event = Document(self._format.reader, self._budget)
                event.feed(part.data)
                is_end = self._dialect is not None and self._dialect.is_end(part.data, None)
                is_whole = is_end or (event.complete and event.document is not None)
            if is_whole:
                self._read_part(part)

    def _matters(self, events: bytes) -> bool:
        """Whether there is anything new in these events. This runs for each chunk, so it has to be fast."""
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
            if not parted.matters:  # one that comes at once would have been skipped
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
            self._draft = self._new_draft()
        return self._draft

    def _new_draft(self) -> Draft:
        return self._dialect.draft() if self._dialect else Draft()

    def _read_document(self, document: Document | Scanner, draft: Draft, *, is_error: bool = False) -> None:
        """Record one document of many."""
        # A line is what became of one request of a batch: its error is not an error of the others.
        is_error = is_error or (errors.has_error(document.document) and not isinstance(self._documents, Lines))
        self._record(document.document, draft, is_error=is_error)
        self._miss(*document.faults)
        if is_error and not self._failed:
            draft.stream_error = draft.terminal = True  # SDKs raise, and hang up

    def _record(self, document: object, draft: Draft, *, is_error: bool) -> None:
        if self._dialect and isinstance(document, dict):
            usage, generation_id = draft.usage, draft.generation_id
            self._dialect.read(document, draft)
            if draft.usage is not usage:
                # Some servers send several responses in one stream.
                is_same = usage is not None and generation_id in (None, draft.generation_id)
                if is_same and self._is_stream_of_documents:
                    _keep_from_falling(draft, usage)
                self._finished_first = draft.finish_reason is not None
                self._missed = self._missed and self._dialect.lines  # else the latest usage repeats what came before it
                if self._sample is not None:
                    self._sample.restart()
            self._miss(*draft.faults, *no_objects(document, self._format.usages))
            draft.faults.clear()
        if is_error:
            draft.error_type = errors.error_type(document) or draft.error_type

    def _reading(self) -> Reading:
        draft, is_error = self._draft or self._new_draft(), False
        if self._document is not None:
            document = self._document.document
            is_error = errors.has_error(document)
            self._record(document, draft, is_error=self._failed or is_error)
            self._miss(*self._document.faults)
        return finish(
            draft,
            self._dialect,
            warnings=self._warnings,
            is_error=is_error and not self._failed and not draft.pending,
            cut_short=self._is_cut_short(draft),
            goes_on=self._goes_on(draft),
            has_output=self._has_output,
            wire_format=self._wire_format,
        )

    def _goes_on(self, draft: Draft) -> bool:
        """Whether more usage may follow the latest."""
        is_last = self._finished_first and self._dialect is not None and not self._dialect.ends_with_body
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
        """The body, where it is not a stream of events."""
        return self._document if self._documents is None else self._documents

    def _miss(self, *faults: str) -> None:
        """Record that something that was wanted could not be read, so that what is known may not be all."""
        self._missed = self._missed or bool(faults)
        self._warn(*faults)


def _keep_from_falling(draft: Draft, known: Mapping[str, Any] | None) -> None:
    """Have no count in the draft's usage lower than it was known to be."""
    kept = running_totals.latest(known or {}, draft.usage or {})
    if kept is not draft.usage:
        draft.usage, draft.usage_source = kept, to_json(kept)


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
        return self._size > _LARGE and self.document.document is None

    def feed(self, part: Part, matters: Callable[[bytes], bool]) -> None:
        self._size += len(part.data)
        self.document.feed(part.data)
        data = self._tail + part.data + (b"\nevent: " + part.name if part.last else b"")
        self.matters = self.matters or matters(data)
        self._tail = data[-_LONGEST_MARK:]  # a mark may be cut in two


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
    output: Callable[[bytes], re.Match[bytes] | None]
    """Finds what shows that something was generated."""


@cache
def _format(name: str | None) -> _Format:
    dialect = DIALECTS.get(name or "")
    if dialect is None:
        return _Format(Reader(tree(errors.WANTED)), (), _NOTHING.search, (), (), (), _NOTHING.search)
    ends = [name.encode() for name in sorted(dialect.end_types)]
    ends += [dialect.end_data] if dialect.end_data is not None else []
    nullable = b"|".join(_quoted(*dialect.nullable, "error"))
    return _Format(
        reader=Reader(tree((*dialect.wanted, *errors.WANTED)), dialect.sourced),
        marks=(*dialect.marks, *(end for end in ends if not any(mark in end for mark in dialect.marks))),
        not_null=re.compile(rb"(?:%b)(?!: ?null)" % nullable).search,
        model_names=_quoted(*dialect.model_names),
        id_names=_quoted(*dialect.id_names),
        usages=usages(dialect.wanted),
        output=dialect.output.search,
    )


def _quoted(*names: str) -> tuple[bytes, ...]:
    return tuple(f'"{name}"'.encode() for name in names)
