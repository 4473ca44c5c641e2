"""WebSocket sessions byte for byte: what passes, what is read of it, how they end, and what is sent to do harm."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.parsing.test_websocket_messages import MASK, Packer, bomb, frame
from tests.processes import Proxy, cpu_seconds, eventually
from tests.rawclient import RawClient, connected, request
from tests.upstream import Asked, Upstream

UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
ACCEPTED = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
DONE = json.dumps(
    {
        "type": "response.done",
        "response": {
            "id": "resp_1",
            "model": "gpt-realtime",
            "status": "completed",
            "usage": {"total_tokens": 30, "input_tokens": 20, "output_tokens": 10},
        },
    }
).encode()
MOST_GROWN = 100 << 20
"""Bytes by which a worker may grow: what all sessions together may hold of messages, and a little."""
LONGEST_WAIT = 0.5


@dataclass(slots=True)
class Session:
    """Both ends of a session: a client's, and a provider's."""

    client: RawClient
    provider: Asked
    label: str

    def received(self, count: int, *, by_client: bool) -> bytes:
        """Read so many bytes, or up to the end."""
        end, got = self.client.socket if by_client else self.provider.socket, bytearray()
        with contextlib.suppress(ConnectionResetError):
            while len(got) < count and (data := end.recv(1 << 20)):
                got += data
        return bytes(got)

    def send(self, data: bytes, *, from_client: bool) -> None:
        (self.client.socket if from_client else self.provider.socket).sendall(data)


@contextlib.contextmanager
def session(proxy: Proxy, upstream: Upstream, extensions: str = "") -> Iterator[Session]:
    over = threading.Event()

    def accept(asked: Asked) -> None:
        agreed = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
        asked.send(f"{ACCEPTED}{agreed}\r\n".encode())
        over.wait(60)
        asked.gone.set()

    script, label = upstream.script(accept), uuid.uuid4().hex
    own = (*UPGRADE, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"x-metrion-user: {label}")
    try:
        with connected(proxy.port) as client:
            client.socket.settimeout(30)
            client.send(request(proxy, script, *own, method="GET", target="/openai/v1/realtime?model=gpt-realtime"))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.socket.recv(1)
            assert head.startswith(b"HTTP/1.1 101 "), head
            (asked,) = upstream.asked(script, 1)
            yield Session(client, asked, label)
    finally:
        over.set()


def rows(proxy: Proxy, label: str, count: int = 1) -> list[dict[str, Any]]:
    query = f"SELECT * FROM events WHERE user_label = '{label}' ORDER BY event_id"  # noqa: S608 -- our own
    return eventually(lambda: proxy.events(query), until=lambda found: len(found) >= count)


@pytest.mark.parametrize("from_client", [True, False], ids=["client", "provider"])
def test_pieces_pass_as_they_come(from_client: bool, wired: Proxy, upstream: Upstream) -> None:
    """Byte for byte, and before there is a whole message, a whole frame or a whole head."""
    mask = MASK if from_client else b""
    said = frame(1, b"he", fin=False, mask=mask) + frame(9, b"?", mask=mask) + frame(0, b"llo " * 100, mask=mask)
    with session(wired, upstream) as held:
        for at in range(0, len(said), 7):
            held.send(said[at : at + 7], from_client=from_client)
            assert held.received(len(said[at : at + 7]), by_client=not from_client) == said[at : at + 7]


@pytest.mark.parametrize("takeover", [None, True, False], ids=["plain", "takeover", "no takeover"])
def test_messages_are_read_beside(takeover: bool | None, wired: Proxy, upstream: Upstream) -> None:
    """The row of a response is written before its last byte passes."""
    pack, rsv = (Packer(takeover=takeover), 0x40) if takeover is not None else (lambda message: message, 0)
    extensions = "" if takeover is None else "permessage-deflate" + ("" if takeover else "; server_no_context_takeover")
    said = [frame(1, pack(message), rsv=rsv) for message in (b'{"type": "response.created"}', DONE, DONE)]
    with session(wired, upstream, extensions) as held:
        held.send(b"".join(said), from_client=False)
        assert held.received(sum(map(len, said)), by_client=True) == b"".join(said)
        read = rows(wired, held.label, 2)
        assert [(row["input_tokens"], row["cost_source"]) for row in read] == [(20, "computed")] * 2
        for by in (True, False):  # the client says goodbye, the provider answers
            held.send(frame(8, b"\x03\xe8", mask=MASK if by else b""), from_client=by)
            assert held.received(1 << 20 if not by else 8, by_client=not by)
    closing = rows(wired, held.label, 3)[-3:]
    assert sorted(row["cost_source"] for row in closing) == ["computed", "computed", "not_billed"]


def end(name: str, held: Session) -> None:
    match name:
        case "provider says goodbye" | "both":
            held.send(frame(8, b"\x03\xe8bye"), from_client=False)
            assert held.received(7, by_client=True) == frame(8, b"\x03\xe8bye")
            if name == "both":
                held.send(frame(8, b"\x03\xe8", mask=MASK), from_client=True)
                assert held.received(8, by_client=False) == frame(8, b"\x03\xe8", mask=MASK)
                assert held.received(1, by_client=True) == b""  # and the proxy ends both
        case "client half-closes after its goodbye":
            held.send(frame(8, mask=MASK), from_client=True)
            held.client.half_close()
            assert held.received(6, by_client=False) == frame(8, mask=MASK)
            held.send(frame(8), from_client=False)
            assert held.received(2, by_client=True) == frame(8)
        case "client half-closes":
            held.client.half_close()
            assert held.received(1, by_client=False) == b""
        case "client drops":
            held.client.socket.close()
            assert held.received(1, by_client=False) == b""
        case "provider drops":
            held.provider.close()
            assert held.received(1, by_client=True) == b""


@pytest.mark.parametrize(
    ("name", "end_reason"),
    [
        ("provider says goodbye", "complete"),
        ("both", "complete"),
        ("client half-closes after its goodbye", "complete"),
        ("client half-closes", "client_abort"),
        ("client drops", "client_abort"),
        ("provider drops", "upstream_error"),
    ],
)
def test_endings(name: str, end_reason: str, wired: Proxy, upstream: Upstream) -> None:
    with session(wired, upstream) as held:
        held.send(frame(1, b"one", mask=MASK), from_client=True)
        assert held.received(9, by_client=False)
        end(name, held)
        (row,) = rows(wired, held.label)
    assert (row["status"], row["end_reason"], row["cost_source"]) == (101, end_reason, "not_billed")
    assert row["request_bytes"] >= 9


def repeated(piece: bytes, size: int) -> bytes:
    return piece * (size // len(piece))


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "bomb": lambda mask: frame(2, bomb(), rsv=0x40, mask=mask),
    "bomb in fragments": lambda mask: (
        frame(2, bomb()[:50_000], fin=False, rsv=0x40, mask=mask) + frame(0, bomb()[50_000:], mask=mask)
    ),
    "210 MB in fragments": lambda mask: (
        frame(2, fin=False, mask=mask) + frame(0, bytes(100_000), fin=False, mask=mask) * 2100 + frame(0, mask=mask)
    ),
    "tiny fragments": lambda mask: (
        frame(2, fin=False, mask=mask) + repeated(frame(0, b"x", fin=False, mask=mask), 8 << 20)
    ),
    "empty fragments": lambda mask: frame(2, fin=False, mask=mask) + repeated(frame(0, fin=False, mask=mask), 8 << 20),
    "pings": lambda mask: repeated(frame(9, mask=mask), 8 << 20),
    "tiny messages": lambda mask: repeated(frame(1, b"x", mask=mask), 8 << 20),
    "no frames": lambda mask: b"\xff" * (8 << 20) + mask,
}  # fmt: skip


def longest_wait(proxy: Proxy, over: threading.Event) -> float:
    """Ask again and again until it is over; return the most seconds that the proxy worked before an answer."""
    longest, workers = 0.0, proxy.workers()
    while not over.is_set():
        began = cpu_seconds(workers)
        proxy.health()
        longest = max(longest, cpu_seconds(workers) - began)
        time.sleep(0.01)
    return longest


def attack(said: bytes, proxy: Proxy, upstream: Upstream, *, from_client: bool) -> tuple[float, dict[str, Any]]:
    """Send it in a session; return the longest that others waited, and the session's row."""
    before, waits, over = proxy.resident_bytes(), list[float](), threading.Event()
    watch = threading.Thread(target=lambda: waits.append(longest_wait(proxy, over)))
    with session(proxy, upstream, "permessage-deflate") as held:
        watch.start()
        sending = threading.Thread(target=lambda: held.send(said, from_client=from_client))
        sending.start()
        got = held.received(len(said), by_client=not from_client)
        grown = proxy.resident_bytes() - before
        sending.join()
        over.set()
        watch.join()
    assert got == said
    assert grown < MOST_GROWN
    (row,) = rows(proxy, held.label)
    return waits[0], row


@pytest.mark.parametrize("from_client", [True, False], ids=["client", "provider"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, from_client: bool, wired: Proxy, upstream: Upstream) -> None:
    """Everything passes, memory is bounded, others are served, and what a provider may have billed is not 0."""
    said = HOSTILE[name](MASK if from_client else b"")
    wait, row = attack(said, wired, upstream, from_client=from_client)
    expected = ("not_billed", False) if from_client else ("unknown", True)
    assert (row["cost_source"], row["cost_usd"] is None) == expected
    assert wait < LONGEST_WAIT
