"""Which requests are the same, how old an answer may be, and what of an answer is kept. No I/O.

A request is the same as another one if both come from one account, go out with one key, and all of both is equal that
may change the answer: the method, the provider, the target, the body byte by byte, and the header fields but for those
that name a program, a connection or a try. Of a request with a caller's own credentials, all of them count. Only whole
answers with status 200 are kept, in the pieces in which they came.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from metrion.admission.credentials import SECRET
from metrion.admission.outgoing_head import key_digest
from metrion.model import Forward, Head, Headers
from metrion.model.policies import Cache

MOST_ASKED, MOST_ANSWERED = 1 << 20, 4 << 20
"""How many bytes of a request and of an answer are kept."""

_NO_DIFFERENCE = frozenset(SECRET) | {
    b"baggage", b"cache-control", b"connection", b"content-length", b"cookie", b"date", b"expect", b"host",
    b"idempotency-key", b"keep-alive", b"pragma", b"request-id", b"session-id", b"session_id", b"traceparent",
    b"tracestate", b"transfer-encoding", b"user-agent", b"x-claude-code-session-id", b"x-client-request-id",
    b"x-opencode-session", b"x-request-id", b"x-session-affinity", b"x-session-id",
}  # fmt: skip
_NO_DIFFERENCE_WITH_OWN = _NO_DIFFERENCE - SECRET
"""Without a stored key, any place of a credential may be the one that the provider goes by."""
_NO_DIFFERENCE_PREFIX = (b"x-stainless-", b"x-metrion-")
_OF_ONE_ANSWER = frozenset({b"age", b"connection", b"date", b"keep-alive", b"retry-after", b"set-cookie"})
_OF_ONE_ANSWER_PREFIX = (b"anthropic-ratelimit-", b"x-ratelimit-", b"x-metrion-")
_MAX_AGE = re.compile(rb"(?:^|[,\s])max-age=\"?(\d{1,9})")
_SIZE = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request says of the cache."""

    finds: bool
    """It may be answered from it."""
    keeps: bool
    """Its answer may be kept."""
    most_seconds: float
    """How old an answer may be."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer, as the provider sent it."""

    reason: bytes
    headers: Headers
    pieces: tuple[bytes, ...]

    def encoded(self) -> bytes:
        """Return it in one piece."""
        fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        head = json.dumps([self.reason.decode("latin-1"), fields, [len(piece) for piece in self.pieces]]).encode()
        return _SIZE.pack(len(head)) + head + b"".join(self.pieces)

    @classmethod
    def decoded(cls, data: bytes) -> KeptAnswer:
        """Return what was encoded.

        :raises ValueError: it was not.
        """
        if len(data) < _SIZE.size:
            raise ValueError("no head")
        at = _SIZE.size + _SIZE.unpack_from(data)[0]
        reason, fields, sizes = json.loads(data[_SIZE.size : at])
        headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in fields)
        pieces = []
        for size in sizes:
            pieces.append(data[at : at + size])
            at += size
        return cls(reason.encode("latin-1"), headers, tuple(pieces))


def wish(fields: Mapping[bytes, bytes], cache: Cache) -> Wish | None:
    """Return what a request wants of a cache; ``None``: nothing."""
    said = fields.get(b"x-metrion-cache", b"").strip().lower()
    if said == b"false" or (said not in (b"true", b"refresh") and not cache.always):
        return None
    control = fields.get(b"cache-control", b"").lower()
    found = _MAX_AGE.search(control)
    most = min(cache.seconds, float(found[1])) if found else cache.seconds
    wanted = Wish(finds=said != b"refresh", keeps=b"no-store" not in control, most_seconds=most)
    return replace(wanted, finds=False) if b"no-cache" in control or b"no-store" in control else wanted


def identity(forward: Forward, method: bytes, head: Head, body: bytes) -> bytes:
    """Return what two requests have in common if, and only if, one answer does for both."""
    upstream = forward.route.upstream
    ignored = _NO_DIFFERENCE if forward.caller.credential == "stored" else _NO_DIFFERENCE_WITH_OWN
    fields = sorted((lower, value) for name, value in head.headers if _matters(lower := name.lower(), ignored))
    parts: Iterable[bytes] = (
        forward.caller.account.encode(), forward.route.provider.encode(), key_digest(forward).encode(), method,
        f"{upstream.scheme}://{upstream.host}:{upstream.port}".encode(), head.target,
        *(part for field in fields for part in field), body,
    )  # fmt: skip
    return b"".join(_SIZE.pack(len(part)) + part for part in parts)


def kept(reason: bytes, headers: Headers, pieces: Iterable[bytes], request_ids: Iterable[bytes]) -> KeptAnswer:
    """Return what is kept of an answer: no field that is of this one answer only."""
    dropped = _OF_ONE_ANSWER.union(request_ids)
    fields = tuple(
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in dropped and not lower.startswith(_OF_ONE_ANSWER_PREFIX)
    )
    return KeptAnswer(reason, fields, tuple(pieces))


def _matters(name: bytes, ignored: Collection[bytes]) -> bool:
    return name not in ignored and not name.startswith(_NO_DIFFERENCE_PREFIX)
