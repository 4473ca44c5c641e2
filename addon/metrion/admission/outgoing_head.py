"""Builds what a provider gets of an admitted request: its head with the key in its place, and its trailers."""

from __future__ import annotations

import hashlib
from urllib.parse import unquote_to_bytes

from metrion.admission.credentials import (
    KEYS,
    NOT_FORWARDED,
    OWN,
    SECRET,
    SUBPROTOCOL,
    Places,
    has_prefix,
    holds_token,
    is_key,
)
from metrion.model import CredentialPlace, Forward, Head, Headers, Inbound, Route

_FRAMING = {b"content-length", b"keep-alive", b"trailer", b"transfer-encoding", b"upgrade", b"connection"}
_ROUTING = {b"forwarded", b"host", b"max-forwards", b"via"}
_CONTENT = {b"content-encoding", b"content-range", b"content-type"}
_MODIFIERS = {
    b"cache-control", b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since",
    b"pragma", b"range", b"te",
}  # fmt: skip
_NEVER_A_TRAILER = frozenset(_FRAMING | _ROUTING | _CONTENT | _MODIFIERS | NOT_FORWARDED | SECRET | {b"set-cookie"})
"""What RFC 9110 (6.5.1) keeps out of trailers: a server that merges them into the head would take them for another
length, host or caller. No credential may be a trailer, not even the client's own: its place is in the head."""


def wire_head(inbound: Inbound, places: Places, route: Route, key: str | None) -> Head:
    """Build what the provider gets.

    ``key`` is the stored one, or empty where none goes out; ``None`` leaves the client's own where they are. ``places``
    are the fields that admission looks at: all between them goes out as it came.
    """
    place = route.credential_place.encode()
    credential = _credential(route.credential_place, key) if key else None
    any_key = key is not None
    host = route.upstream.authority
    headers: list[tuple[bytes, bytes]] = []
    passed = 0
    host_sent = credential_sent = False
    for at, lower in places:
        headers += inbound.headers[passed:at]
        passed = at + 1
        name, value = header = inbound.headers[at]
        if lower == b"host":
            if not host_sent:
                headers.append((name, host))
            host_sent = True
        elif lower in KEYS:
            if not any_key and not has_prefix(value):
                headers.append(header)
            elif credential and lower == place and not credential_sent:
                headers.append((name, credential))
                credential_sent = True
        elif lower == b"sec-websocket-protocol":
            if kept := _without_subprotocol(value, any_key=any_key):
                headers.append((name, kept))
        elif not (lower in NOT_FORWARDED or lower.startswith(OWN) or holds_token(name, value)):
            headers.append(header)
    headers += inbound.headers[passed:]
    if credential and not credential_sent:
        headers.append((place, credential))
    if not host_sent:
        headers.insert(0, (b"host", host))
    return Head(_without_key(route.target, any_key=any_key), tuple(headers))


def trailers_out(trailers: Headers) -> Headers:
    """Return those trailer fields of a request that may go out, as they came and in order."""
    return tuple(
        (name, value)
        for name, value in trailers
        if (lower := name.lower()) not in _NEVER_A_TRAILER
        and not lower.startswith(OWN)
        and not holds_token(name, value)
    )


def key_digest(forward: Forward) -> str:
    """Return a name for the key with which a request goes out; it does not give the key away."""
    key = forward.credentials[-1] if forward.credentials and forward.caller.credential else b""
    return hashlib.sha256(b"\0".join((b"metrion places", forward.route.provider.encode(), key))).hexdigest()[:32]


def _credential(place: CredentialPlace, key: str) -> bytes:
    # Never raises: an encoding error would hold the key in its message.
    encoded = key.encode("utf-8", "replace")
    return b"Bearer " + encoded if place is CredentialPlace.BEARER else encoded


def _without_subprotocol(value: bytes, *, any_key: bool) -> bytes:
    entries = value.split(b",")
    kept = [entry for entry in entries if not (has_prefix(entry) or (any_key and SUBPROTOCOL in entry))]
    return value if len(kept) == len(entries) else b",".join(kept).lstrip()


def _without_key(target: bytes, *, any_key: bool) -> bytes:
    """Take every ``key=`` out of the query, or only those with a Metrion token; and a token anywhere else in it."""
    path, _, query = target.partition(b"?")
    if not query:
        return target
    parameters = query.split(b"&")
    kept = [parameter for parameter in parameters if not _leaves_no_trace(parameter, any_key=any_key)]
    if len(kept) == len(parameters):
        return target
    return path + b"?" + b"&".join(kept) if kept else path


def _leaves_no_trace(parameter: bytes, *, any_key: bool) -> bool:
    name, _, value = parameter.partition(b"=")
    if is_key(name):
        return any_key or has_prefix(unquote_to_bytes(value))
    return holds_token(parameter)
