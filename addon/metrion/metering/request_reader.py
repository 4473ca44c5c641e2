"""Reads beside a request what it asks for: raw chunks in, the name of a model and whether a stream is wanted out.

Nothing here raises, holds a chunk back or changes one. What the reader cannot read it does not know.
"""

from __future__ import annotations

from metrion.dialects.dialect import label
from metrion.estimates.sample import Sample
from metrion.metering.body_reader import BodyReader, is_json, is_legible, media_type
from metrion.parsing.json_document import Document, Reader
from metrion.parsing.json_values import tree
from metrion.parsing.multipart import FormReader, boundary

_MODEL_AND_STREAM = ("model", "stream")
_WANTED = Reader(tree((name,) for name in _MODEL_AND_STREAM))


class RequestReader(BodyReader):
    """Reads JSON, and forms with a file; of any other body it knows nothing. The ``sample`` gets all of it."""

    def __init__(self, *, content_type: str | None, content_encoding: str | None, sample: Sample | None = None) -> None:
        super().__init__(content_encoding, sample)
        self._document = Document(_WANTED, self._budget)
        kind = media_type(content_type)
        self._promises_json = is_json(kind)
        self._has_begun = False
        separator = boundary(content_type)
        self._form = FormReader(separator, _MODEL_AND_STREAM) if separator else None
        if not (self._form or is_legible(kind)):
            self._decoder = None

    @property
    def model(self) -> str | None:
        """The requested model."""
        return label(self._member("model"))

    @property
    def stream(self) -> bool | None:
        """Whether the request wants a stream."""
        stream = self._member("stream")
        if self._form is not None:
            return {"true": True, "false": False}.get(str(stream))
        return stream if isinstance(stream, bool) else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be read and why; contains nothing of the request."""
        return tuple(self._warnings)

    def finish(self) -> None:
        """Record that the body is over, complete or not."""
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
