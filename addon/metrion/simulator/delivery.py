"""The way in which the simulator sends an answer: an :class:`Answer` and a :class:`Delivery` in, steps out.

Pure values. A request names its delivery in the header ``x-simulate`` (:func:`parse_selection`): the id of a registered
answer, or a JSON object with any field of :class:`Selection` and :class:`Delivery`. Offsets count bytes of the body as
sent, content encoding included and chunk framing not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

SELECTION_HEADER = "x-simulate"

type Framing = Literal["length", "chunked", "close"]
type Offset = int | Literal["head", "end"]
"""``"head"``: before the status line. A number: after so many bytes of the body; a negative one counts from its end.
``"end"``: after the whole body, before what terminates it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as the provider has it. ``pieces`` is the encoded body, cut where the provider flushes: per event."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Without those of the framing, which the delivery decides."""
    pieces: tuple[bytes, ...]
    chunked: bool = False
    """How the provider frames it: chunked, else with its length."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an answer is sent. The default is as the provider would, at once."""

    framing: Framing | None = None
    """``None``: as the provider does. ``close``: neither length nor chunks, the end of the connection ends the body."""
    seed: int | None = None
    """Cut the body at random, the same way for the same number."""
    size: int | None = None
    """Cut the body into pieces of so many bytes."""
    head_delay: float = 0.0
    """Seconds before the head."""
    chunk_delay: float = 0.0
    """Seconds before each piece but the first."""
    hold: Offset | None = None
    """Stop there until the control endpoint releases it; without a release: for ever."""
    cut: Offset | None = None
    """End the connection there."""
    reset: bool = False
    """A cut is a reset instead of an orderly end."""
    early: bool = False
    """Answer as soon as the request head is there, without ``100 Continue`` and without waiting for the body."""
    close: bool = False
    """Say ``connection: close`` and close after the answer."""
    interim: tuple[int, ...] = ()
    """Statuses of interim responses before the head, such as 103."""
    trailers: Mapping[str, str] = field(default_factory=dict)
    """Sent after a chunked body."""
    garbage: str | None = None
    """Sent in place of HTTP (Latin-1), then the connection ends."""

    def __post_init__(self) -> None:
        for name, offset in (("hold", self.hold), ("cut", self.cut)):
            if isinstance(offset, str) and offset not in {"head", "end"}:
                raise ValueError(f"{name} is {offset!r}; it is a number of bytes, 'head' or 'end'")
        if self.framing not in {None, "length", "chunked", "close"}:
            raise ValueError(f"framing is {self.framing!r}; it is 'length', 'chunked' or 'close'")
        if self.size is not None and self.size < 1:
            raise ValueError(f"size is {self.size}; a piece has at least one byte")


@dataclass(frozen=True, slots=True)
class Selection:
    """The answer that a request chooses. With neither ``answer`` nor ``error`` it is the provider's."""

    answer: str | None = None
    """The id of a registered answer."""
    error: int | None = None
    """Answer with the provider's error of this status."""
    error_event: int | None = None
    """After so many events of the stream, send the provider's error event and end it."""
    delivery: Delivery = Delivery()


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes; ``body_bytes`` of the body are sent then."""

    wire: bytes
    body_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait until released."""


@dataclass(frozen=True, slots=True)
class End:
    """End the connection, orderly or with a reset."""

    reset: bool = False


type Step = Send | Wait | Hold | End

_REASONS = {
    100: "Continue",
    103: "Early Hints",
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    413: "Payload Too Large",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    529: "Overloaded",
}
_BEFORE_HEAD = -1
"""The position of an offset that is ``"head"``."""
_FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "trailer"})
_DELIVERY_FIELDS = frozenset(column.name for column in fields(Delivery))
_SELECTION_FIELDS = frozenset(column.name for column in fields(Selection)) - {"delivery"}


def parse_selection(value: str | None) -> Selection:
    """Read the value of ``x-simulate``.

    :raises ValueError: the value cannot be read; the message says why.
    """
    if value is None:
        return Selection()
    if not value.startswith("{"):
        return Selection(answer=value)
    try:
        given: dict[str, Any] = json.loads(value)
    except ValueError as error:
        raise ValueError(f"{SELECTION_HEADER} is neither an id nor JSON: {error}") from error
    if unknown := given.keys() - _DELIVERY_FIELDS - _SELECTION_FIELDS:
        raise ValueError(
            f"{SELECTION_HEADER} has unknown fields {sorted(unknown)}; known are "
            f"{sorted(_SELECTION_FIELDS | _DELIVERY_FIELDS)}"
        )
    given["interim"] = tuple(given.get("interim", ()))
    return Selection(
        **{name: given[name] for name in given.keys() & _SELECTION_FIELDS},
        delivery=Delivery(**{name: given[name] for name in given.keys() & _DELIVERY_FIELDS}),
    )


def format_selection(selection: Selection) -> str:
    """Write the value of ``x-simulate`` from which :func:`parse_selection` reads the same."""
    plain, delivery = Selection(), Delivery()
    chosen = {
        name: getattr(selection, name) for name in _SELECTION_FIELDS if getattr(selection, name) != getattr(plain, name)
    }
    chosen |= {
        name: getattr(selection.delivery, name)
        for name in _DELIVERY_FIELDS
        if getattr(selection.delivery, name) != getattr(delivery, name)
    }
    return json.dumps(chosen, sort_keys=True)


def steps(answer: Answer, delivery: Delivery, method: str = "POST") -> Iterator[Step]:
    """Yield the steps that send ``answer`` to a request with this method, in order."""
    if delivery.garbage is not None:
        yield Send(delivery.garbage.encode("latin-1"))
        yield End(delivery.reset)
        return
    bodyless = method == "HEAD" or answer.status in {204, 304}
    body = b"".join(answer.pieces)
    total = 0 if bodyless else len(body)
    framing = delivery.framing or ("chunked" if answer.chunked else "length")
    hold, cut = _position(delivery.hold, total), _position(delivery.cut, total)
    head = _head(answer, delivery, framing, len(body))
    if delivery.head_delay:
        yield Wait(delivery.head_delay)
    if hold == _BEFORE_HEAD:
        yield Hold()
    if cut == _BEFORE_HEAD:
        yield End(delivery.reset)
        return
    for status in delivery.interim:
        yield Send(f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n\r\n".encode())
    chunks = () if bodyless else _cut(answer.pieces, body, delivery, {hold, cut})
    if framing == "length" and len(chunks) <= 1 and hold is None and cut is None:  # one write, as a server does it
        yield Send(head + b"".join(chunks), total)
        chunks = ()
    else:
        yield Send(head)
    sent = 0
    for chunk in chunks:
        if sent == hold:
            yield Hold()
        if sent == cut:
            yield End(delivery.reset)
            return
        if delivery.chunk_delay and sent:
            yield Wait(delivery.chunk_delay)
        sent += len(chunk)
        yield Send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if framing == "chunked" else chunk, sent)
    if total == hold:
        yield Hold()
    if total == cut:
        yield End(delivery.reset)
        return
    if framing == "chunked" and not bodyless:
        trailers = "".join(f"{name}: {value}\r\n" for name, value in delivery.trailers.items())
        yield Send(f"0\r\n{trailers}\r\n".encode("latin-1"), total)
    if framing == "close" or delivery.close:
        yield End()


def _position(offset: Offset | None, total: int) -> int | None:
    match offset:
        case None:
            return None
        case "head":
            return _BEFORE_HEAD
        case "end":
            return total
        case int():
            return min(offset, total) if offset >= 0 else max(0, total + offset)


def _head(answer: Answer, delivery: Delivery, framing: Framing, length: int) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers if name.lower() not in _FRAMING_HEADERS]
    if framing == "length" and answer.status not in {204, 304}:
        lines.append(f"content-length: {length}")
    elif framing == "chunked" and answer.status not in {204, 304}:
        lines.append("transfer-encoding: chunked")
        if delivery.trailers:
            lines.append(f"trailer: {', '.join(delivery.trailers)}")
    if framing == "close" or delivery.close:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _cut(
    pieces: tuple[bytes, ...], body: bytes, delivery: Delivery, positions: set[int | None]
) -> tuple[bytes, ...] | list[bytes]:
    """Cut the body as the delivery asks, and wherever it stops."""
    if delivery.seed is None and delivery.size is None and positions == {None}:
        return tuple(filter(None, pieces))
    if delivery.size is not None:
        ends = set(range(delivery.size, len(body), delivery.size))
    elif delivery.seed is not None:
        randomness = random.Random(delivery.seed)  # noqa: S311 -- cuts need to be repeatable, not secret
        ends = (
            {randomness.randrange(len(body)) for _ in range(randomness.randint(1, 2 + len(body) // 64))}
            if body
            else set()
        )
    else:
        ends, end = set(), 0
        for piece in pieces:
            end += len(piece)
            ends.add(end)
    ends |= {position for position in positions if position is not None and position > 0}
    cuts = sorted(ends - {0} | {len(body)})
    return [body[start:end] for start, end in zip([0, *cuts], cuts, strict=False) if end > start]
