"""A refusal in; the answer that the client gets, in its provider's own error shape.

Each official SDK turns it into its own typed exception. The body is valid JSON whatever the message holds. Shapes are
those of recorded answers and of the SDKs' types. The code of :mod:`metrion.admission.codes` is always in
``x-metrion-error``, and in the body where the provider's shape has a field for one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from metrion.admission.codes import BAD_REQUEST, HEAD_TOO_LARGE
from metrion.model import Answer, ErrorShape, Refusal
from metrion.providers import PROVIDERS, canonical_name

_UNREADABLE = {kind.status: kind for kind in (BAD_REQUEST, HEAD_TOO_LARGE)}
_PATH = re.compile(rb"(?:\r?\n)*+[A-Z]+ (/[!-~]*)")
"""A request line up to the end of its path."""


def render(refusal: Refusal) -> Answer:
    """Build the answer to a refused request. ``connection`` and what HEAD leaves out are the sender's business."""
    body = json.dumps(_SHAPES[refusal.error_shape](refusal), ensure_ascii=False).encode("utf-8", "replace")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-metrion-error", refusal.code.encode()),
    ]
    if refusal.kind.lasting or refusal.was_sent:
        headers.append((b"x-should-retry", b"false"))
    own = {name for name, _ in headers}
    headers += (header for header in refusal.headers if header[0].lower() not in own)
    return Answer(refusal.status, tuple(headers), body)


def unreadable(start: bytes, status: int, message: str) -> Answer:
    """Build the answer to a request head that cannot be read; ``start`` is how it begins. The connection ends with it.

    It has the error shape of the provider that the path seems to name, else OpenAI's.
    """
    found = _PATH.match(start)
    words = found[1].removeprefix(b"/api/proxy").split(b"/", 2) if found else []
    named = canonical_name(words[1].decode("ascii", "replace")) if len(words) > 1 else ""
    known = PROVIDERS.get(named) or PROVIDERS["anthropic" if named in ("v1", "messages") else "openai"]
    shape = known.native.error_shape
    kind = _UNREADABLE.get(status, BAD_REQUEST)
    return render(Refusal(kind, message, error_shape=shape, headers=((b"connection", b"close"),)))


def error_event(refusal: Refusal) -> bytes:
    """Build the server-sent event by which a stream of the provider says that it failed."""
    data = json.dumps(_SHAPES[refusal.error_shape](refusal), ensure_ascii=False).encode("utf-8", "replace")
    # Only Anthropic's events have names, and its SDKs go by them.
    name = b"event: error\n" if refusal.error_shape is ErrorShape.ANTHROPIC else b""
    return name + b"data: " + data + b"\n\n"


def _by_status(status: int, types: Mapping[int, str]) -> str:
    """Look a status up; one that is not in the table reads as the 400 or the 500 that it is a kind of."""
    return types.get(status) or types[400 if status < 500 else 500]


_OPENAI_TYPES = {400: "invalid_request_error", 429: "requests", 500: "server_error"}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MISTRAL_TYPES = {400: "invalid_request_error", 401: "unauthorized", 429: "rate_limited", 500: "internal_server_error"}
_MISTRAL_PROXY_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
}


def _openai(refusal: Refusal) -> dict[str, object]:
    """Every recorded 4xx but 429 has the type ``invalid_request_error``, 401 and 404 too."""
    kind = _by_status(refusal.status, _OPENAI_TYPES)
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}}


def _anthropic(refusal: Refusal) -> object:
    """``details.error_code`` is what the SDK's exceptions give as ``error_code``."""
    kind = _by_status(refusal.status, _ANTHROPIC_TYPES)
    error = {"type": kind, "message": refusal.message, "details": {"error_code": refusal.code}}
    return {"type": "error", "error": error}


def _google(refusal: Refusal) -> object:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refusal.code.upper(), "domain": "metrion"}
    status = _by_status(refusal.status, _GOOGLE_STATUSES)
    return {"error": {"code": refusal.status, "message": refusal.message, "status": status, "details": [info]}}


def _mistral(refusal: Refusal) -> object:
    kind = _by_status(refusal.status, _MISTRAL_TYPES)
    return {"object": "error", "message": refusal.message, "type": kind, "param": None, "code": refusal.code}


def _mistral_proxy(refusal: Refusal) -> object:
    kind = _by_status(refusal.status, _MISTRAL_PROXY_TYPES)
    return {"object": "error", "message": refusal.message, "type": kind, "param": None, "code": None}


def _xai(refusal: Refusal) -> dict[str, object]:
    """Word it as OpenAI does, with xAI's ``code`` beside.

    In users' reports xAI's own ``error`` is the message itself. Of that, OpenAI's SDK for Python shows only the status:
    nobody would see the way out.
    """
    return {"code": refusal.code} | _openai(refusal)


_SHAPES: Mapping[ErrorShape, Callable[[Refusal], object]] = {
    ErrorShape.ANTHROPIC: _anthropic,
    ErrorShape.OPENAI: _openai,
    ErrorShape.GOOGLE: _google,
    ErrorShape.MISTRAL: _mistral,
    ErrorShape.XAI: _xai,
    ErrorShape.MISTRAL_PROXY: _mistral_proxy,
}
