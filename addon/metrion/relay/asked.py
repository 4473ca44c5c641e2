"""What a request asks for, read before any of it goes out: its head and its whole body in, an ``Asked`` out.

Rules and budgets go by it, so it is strict where the readers beside the traffic are lenient: what two servers might
read differently is unread. That is whatever is no JSON object, a name on the way to a model that stands twice in an
object, and one that only a reader without regard to case takes for ``model``. Where a model is read, it is the one that
:mod:`metrion.metering.request_reader` reads. A body is decoded once, by a C decoder that skips what nobody asks for;
one that repeats those names, or escapes letters, is searched once more. Nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypedDict

from msgspec import MsgspecError
from msgspec.json import Decoder

from metrion.dialects.dialect import label
from metrion.metering.body_reader import is_json, media_type
from metrion.model import Asked, Headers
from metrion.parsing.json_values import parsed
from metrion.relay.held_body import MOST_HELD

_READABLE = frozenset({"", "text/plain", "text/json", "application/octet-stream"})
"""What JSON is called by mistake. A form is not among them: a server that reads it as one reads another model."""
TOO_LARGE = Asked(unread="its body is larger than what is held in memory", too_large=True)

_Scalar = str | int | float | bool | None


class _Output(TypedDict, total=False):
    maxOutputTokens: _Scalar
    max_output_tokens: _Scalar
    candidateCount: _Scalar
    candidate_count: _Scalar


class _Named(TypedDict, total=False):
    model: str | None


class _InBatch(TypedDict, total=False):
    params: _Named | None
    body: _Named | None


class _Members(_Named, total=False):
    models: list[str] | None
    """OpenRouter's: what else may answer."""
    requests: list[_InBatch] | None
    """Of a batch: Anthropic's have ``params``, Mistral's a ``body``."""
    stream: _Scalar
    n: _Scalar
    max_tokens: _Scalar
    max_completion_tokens: _Scalar
    max_output_tokens: _Scalar
    max_tokens_to_sample: _Scalar
    generationConfig: _Output | None
    generation_config: _Output | None


_decode = Decoder(_Members).decode
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
"""Half a character, which JSON may hold and the decoder does not take: a text that was cut has one."""
_MARK = b'"model'
_ESCAPED_LETTER = re.compile(rb"\\u00[46]")
"""A letter that is not written as itself."""
_TOKEN = re.compile(rb'("(?:[^"\\]++|\\.)*+")(?:[ \t\n\r]*+(:))?+|[{}\[\]]', re.DOTALL)
_MOST_TOKENS = 500_000
"""Half a second's work. No body that repeats these names is as intricate."""
_NAMES = {
    1: frozenset({"model", "models", "requests"}),
    3: frozenset({"params", "body"}),
    4: frozenset({"model"}),
}
"""Names that lead to a model, by how many objects and arrays they are in."""
_LONGEST_NAME = 2 + 6 * 8
"""Bytes of such a name, each of its letters escaped."""


def before_body(headers: Headers) -> Asked | None:
    """Return what a request asks for whose head says that nobody can read its body; ``None``: it has to be read."""
    kinds = []
    for name, value in headers:
        match name.lower():
            case b"content-encoding" if value.strip().lower() not in (b"", b"identity"):
                return Asked(unread="its body is compressed")
            case b"content-type":
                kinds.append(media_type(value.decode("latin-1")))
            case b"content-length" if value.isdigit() and int(value[:20]) > MOST_HELD:
                return TOO_LARGE
    if len(kinds) > 1 or not (not kinds or is_json(kinds[0]) or kinds[0] in _READABLE):
        return Asked(unread="its body is not application/json")
    return None


def read(body: bytes) -> Asked:
    """Return what a whole body asks for."""
    try:
        return _read(body)
    except (MsgspecError, ValueError, RecursionError):
        return Asked(body, unread="its body is no JSON that every server reads alike")


def _read(body: bytes) -> Asked:
    if not body:
        return Asked()
    try:
        members = _decode(body)
    except MsgspecError:
        if not _SURROGATE.search(body):
            raise
        members = _decode(_SURROGATE.sub(rb"\\ufffd", body))
    if _repeats(body, in_batch="requests" in members):
        return Asked(body, unread="its body names a model twice")
    models = tuple(dict.fromkeys(name for name in _models(members) if name))
    if any(label(name) is None for name in models):
        return Asked(body, unread="the name of its model is too long")
    if not members.get("model") and any(not within.get("model") for within in _within(members)):
        return Asked(body, unread="one of its requests names no model")
    output = members.get("generationConfig") or members.get("generation_config") or _Output()
    streamed = members.get("stream")
    return Asked(
        body,
        models,
        most_output_tokens=_count(
            members.get("max_completion_tokens"),
            members.get("max_output_tokens"),
            members.get("max_tokens"),
            members.get("max_tokens_to_sample"),
            output.get("maxOutputTokens"),
            output.get("max_output_tokens"),
        ),
        answers=_count(members.get("n"), output.get("candidateCount"), output.get("candidate_count")),
        streamed=streamed if isinstance(streamed, bool) else None,
    )


def _models(members: _Members) -> Iterator[str | None]:
    yield members.get("model")
    yield from members.get("models") or ()
    for within in _within(members):
        yield within.get("model")


def _within(members: _Members) -> Iterator[_Named]:
    """Yield the bodies of a batch's requests."""
    for each in members.get("requests") or ():
        for within in (each.get("params"), each.get("body")):
            if within is not None:
                yield within


def _count(*values: _Scalar) -> int | None:
    """Return the largest of these that are counts."""
    return max((value for value in values if type(value) is int and value >= 0), default=None)


def _repeats(body: bytes, *, in_batch: bool) -> bool:
    """Whether an object of this JSON has a name twice that may lead to a model, in whatever case."""
    if not in_batch and not _ESCAPED_LETTER.search(body) and body.count(_MARK) == body.lower().count(_MARK) <= 1:
        return False
    around: list[set[str] | None] = []
    for number, token in enumerate(_TOKEN.finditer(body)):
        if number > _MOST_TOKENS:
            return True
        text, name, colon = token[0], token[1], token[2]
        if name is None:
            if text == b"{":
                around.append(set())
            elif text == b"[":
                around.append(None)
            else:
                around.pop()
        elif colon and len(name) <= _LONGEST_NAME and (seen := around[-1]) is not None:
            spelt = str(parsed(name))
            if (lower_name := spelt.lower()) in _NAMES.get(len(around), ()):
                if lower_name in seen or lower_name != spelt:
                    return True
                seen.add(lower_name)
    return False
