"""Wanted fields out of one ``multipart/form-data`` body that arrives in pieces, without holding the rest of it.

Bytes go in, cut anywhere; the wanted text fields come out as soon as they are whole, where they are short. The reader
skips files as they come, and holds some kilobytes at most. Nothing here raises: a body that is not such a form has no
fields.
Source: RFC 7578, RFC 2046 section 5.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_MOST_HEADERS = 1 << 13
"""Bytes that the headers of a field may have."""
_MOST_TEXT = 1 << 10
"""Bytes that a wanted field may have; a longer one is left out."""

_BOUNDARY = re.compile(
    r'multipart/form-data\b.*;\s*boundary=(?:"([^"]{1,70})"|([^\s";]{1,70}+)(?![^\s;]))', re.IGNORECASE
)
_NAME = re.compile(rb'(?:^|\r\n)content-disposition:[^\r\n]*?[;\s]name=(?:"([^"\r\n]*)"|([^\s";]+))', re.IGNORECASE)


def boundary(content_type: str | None) -> bytes | None:
    """Return what separates the fields of a form; ``None`` where the content type is another."""
    if content_type is None or "boundary" not in content_type.lower():
        return None
    found = _BOUNDARY.match(content_type.strip())
    return (found[1] or found[2]).encode("latin-1", "replace") if found else None


class FormReader:
    """One form in, some of its fields out."""

    def __init__(self, boundary: bytes, wanted: Collection[str]) -> None:
        self.fields: dict[str, str] = {}
        """The wanted fields that are whole, by name. Of fields with the same name the first counts."""
        self._delimiter = b"\r\n--" + boundary
        self._wanted = wanted
        self._held = b"\r\n"  # the first delimiter has no line before it
        self._in_headers = False
        self._name: str | None = None
        """The field that is being read; ``None``: it is skipped."""
        self._text = b""
        self._over = False

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        data = self._held + data
        while not self._over:
            rest = self._after_headers(data) if self._in_headers else self._after_content(data)
            if rest is None:
                return
            data = rest
        self._held = b""

    def _after_headers(self, data: bytes) -> bytes | None:
        """Read a field's headers; return what follows them, or ``None`` when they are not whole yet."""
        headers, end, rest = data.partition(b"\r\n\r\n")
        self._over = data.startswith(b"--") or len(headers) > _MOST_HEADERS
        if not end:
            self._held = data
            return None
        found = _NAME.search(headers)
        name = (found[1] or found[2] or b"").decode("utf-8", "replace") if found else ""
        self._name = name if name in self._wanted and name not in self.fields else None
        self._text = b""
        self._in_headers = False
        return rest

    def _after_content(self, data: bytes) -> bytes | None:
        """Read a field up to the next delimiter; return what follows that, or ``None`` when it has not come yet."""
        content, end, rest = data.partition(self._delimiter)
        if not end:
            kept = len(self._delimiter) - 1
            content, self._held = data[:-kept], data[-kept:]
        if self._name is not None:
            self._text += content
            if len(self._text) > _MOST_TEXT:
                self._name, self._text = None, b""
        if not end:
            return None
        if self._name is not None:
            self.fields[self._name] = self._text.decode("utf-8", "replace")
        self._in_headers = True
        return rest
