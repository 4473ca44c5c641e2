"""Recorded bodies → their JSON documents: bytes in, plain values out.

A body is one document, the events of a stream, the elements of an array, or one document a line. Never: an exception,
or time and memory that grow without bound. Long base64 (pictures, sounds) is cut out before anything is parsed; what
is still longer than :data:`_MOST_PARSED` is read as far as that.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from metrion.parsing.sse import EventReader

_MOST_LOOKED_AT = 64 << 20
_MOST_PARSED = 4 << 20
_MOST_DOCUMENTS = 20_000
_LONG_BASE64 = re.compile(rb"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{1024,}+={0,2}")
"""It begins where a run of these characters begins: else each place in a shorter run would be tried."""
_SHRUNK_FROM = 64 << 10
_CUT = "\N{HORIZONTAL ELLIPSIS}base64:"
"""In place of what is cut out; the number of its bytes follows."""
_SHRUNK = re.compile(rf"^(.*){_CUT}(\d+)$", re.DOTALL)
_EVENT_START = re.compile(rb"\s*(?:data|event|id|retry)?:")


@dataclass(frozen=True, slots=True)
class Documents:
    """What a body holds. ``is_stream``: they are the events of one answer. ``cut``: bytes that are not read."""

    values: tuple[Any, ...]
    is_stream: bool = False
    cut: int = 0


def documents(body: bytes) -> Documents | None:
    """Return the documents of a body; ``None``: there are none in it."""
    size = len(body)
    if size > _SHRUNK_FROM:
        body = _LONG_BASE64.sub(_in_place, body[:_MOST_LOOKED_AT])
    cut = max(size - _MOST_LOOKED_AT, 0) + max(len(body) - _MOST_PARSED, 0)
    body = body[:_MOST_PARSED]
    if _EVENT_START.match(body):
        values = _events(body)
        return Documents(values, is_stream=True, cut=cut) if values else None
    if body.lstrip()[:1] not in (b"{", b"["):
        return None
    if not cut and (whole := _decoded(body)) is not None:
        if not isinstance(whole[0], list):
            return Documents(whole)
        return Documents(tuple(whole[0][:_MOST_DOCUMENTS]), is_stream=True)
    values = tuple(value[0] for line in body.splitlines()[:_MOST_DOCUMENTS] if (value := _decoded(line)) is not None)
    return Documents(values, cut=cut) if values else None


def base64_size(text: str) -> int:
    """Return how many bytes a base64 text stands for, whether :func:`documents` has cut it or not."""
    if match := _SHRUNK.match(text):
        return len(match[1]) * 3 // 4 + int(match[2])
    return len(text.rstrip("=")) * 3 // 4


def _in_place(found: re.Match[bytes]) -> bytes:
    return f"{_CUT}{len(found[0].rstrip(b'=')) * 3 // 4}".encode()


def _events(body: bytes) -> tuple[Any, ...]:
    reader, data, values = EventReader(), bytearray(), list[Any]()
    for part in (*reader.feed(body), *reader.finish()):
        data += part.data
        if part.last:
            if (value := _decoded(bytes(data))) is not None:
                values.append(value[0])
            data.clear()
        if len(values) >= _MOST_DOCUMENTS:
            break
    return tuple(values)


def _decoded(text: bytes) -> tuple[Any] | None:
    try:
        return (json.loads(text.decode("utf-8", "replace")),)
    except (ValueError, RecursionError):
        return None
