"""Masks credentials: a head in; out what may be shown of it in flows, logs and events."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from metrion.admission.credentials import (
    SCHEMES,
    SECRET,
    SUBPROTOCOL,
    TOKEN,
    Places,
    has_prefix,
    hides_token,
    names_token,
    notable,
)
from metrion.model import Head, Inbound

_ANY_TOKEN = re.compile(rb"sk-metrion-[A-Za-z0-9_-]*")
_WORD = re.compile(rb"[^\s/?&=,;\"'<>]+")
_SCHEME = re.compile(rb"(?:basic|bearer|digest)(?=\s)", re.IGNORECASE)
_SECRET_SUBPROTOCOLS = (SUBPROTOCOL, b"xai-client-secret.")
_SECRET_PARAMETERS = frozenset({b"key", b"api_key", b"apikey", b"api-key", b"access_token", b"token"})
_SHORT = "sk-metrion-…".encode()
_NONE = b"***"


def shown(inbound: Inbound, places: Places | None = None) -> Head:
    """Return the head as the client sent it with every credential masked.

    ``places`` are the fields that :func:`~metrion.admission.credentials.notable` found, if it has run already.
    """
    headers = list(inbound.headers)
    for place, lower in notable(inbound.headers) if places is None else places:
        name, value = headers[place]
        headers[place] = _masked(name, lower, value)
    path, mark, query = inbound.target.partition(b"?")
    if query:
        query = b"&".join(_masked_parameter(parameter) for parameter in query.split(b"&"))
    return Head(without_tokens(path) + mark + query, tuple(headers))


def shown_method(method: bytes) -> bytes:
    """Return what may be shown of a method."""
    return b"***" if has_prefix(method.lower()) else method


def unmasked(head: Head) -> tuple[Head, bool]:
    """Return a head of :func:`shown` without what is masked in it, and whether that is anything."""
    headers = tuple(field for field in head.headers if not _is_masked(*field))
    path, mark, query = head.target.partition(b"?")
    parameters = query.split(b"&")
    kept = [each for each in parameters if each.partition(b"=")[2] != _NONE and _SHORT not in each]
    if len(kept) < len(parameters):
        query = b"&".join(kept)
        mark = b"?" if query else b""
    target = path + mark + query
    return Head(target, headers), len(headers) < len(head.headers) or target != head.target or _SHORT in path


def _is_masked(name: bytes, value: bytes) -> bool:
    return _SHORT in name or _SHORT in value or (_NONE in value and name.lower() in SECRET)


def mask(secret: str) -> str:
    """Return what may be shown of a credential: the last four characters of a Metrion token, nothing of any other."""
    return _mask(secret.encode("utf-8", "replace")).decode()


def without_tokens(text: bytes) -> bytes:
    """Mask what begins like a Metrion token, anywhere in a text, percent-encoded or not."""
    if has_prefix(text):
        text = _ANY_TOKEN.sub(lambda token: _mask(token[0]), text)
    return _WORD.sub(lambda word: b"***" if hides_token(word[0]) else word[0], text) if hides_token(text) else text


def _masked(name: bytes, lower: bytes, value: bytes) -> tuple[bytes, bytes]:
    stripped = value.strip()
    if lower not in SECRET or not stripped:
        is_token = names_token(((lower, b""),)) and not has_prefix(name)
        return without_tokens(lower if is_token else name), without_tokens(value)
    if lower == b"sec-websocket-protocol":
        return name, b",".join(_masked_subprotocol(entry) for entry in value.split(b","))
    scheme = _SCHEME.match(stripped) if lower in SCHEMES else None
    return name, scheme[0] + b" " + _mask(stripped[scheme.end() :].strip()) if scheme else _mask(stripped)


def _masked_subprotocol(entry: bytes) -> bytes:
    for prefix in _SECRET_SUBPROTOCOLS:
        before, found, secret = entry.partition(prefix)
        if found:
            return before + found + _mask(secret.strip())
    return without_tokens(entry)


def _masked_parameter(parameter: bytes) -> bytes:
    name, equals, value = parameter.partition(b"=")
    if value and unquote_to_bytes(name).lower() in _SECRET_PARAMETERS:
        return name + equals + _mask(value)
    return without_tokens(parameter)


def _mask(secret: bytes) -> bytes:
    return _SHORT + secret[-4:] if TOKEN.fullmatch(secret) else _NONE
