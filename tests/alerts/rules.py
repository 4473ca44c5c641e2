"""Rules, clocks and receivers for the tests of alerts."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from metrion.control.alert_records import AlertChannel, AlertRule, RuleTerms

NOW = datetime(2026, 11, 15, 12, 0, tzinfo=UTC)


def terms(measure: str = "spend", limit: str = "100", span: str = "month", **filters: str) -> RuleTerms:
    return RuleTerms(measure=measure, limit=Decimal(limit), span=span, filters=filters)


def rule(measure: str = "spend", limit: str = "100", span: str = "month", **columns: Any) -> AlertRule:
    usual: dict[str, Any] = {
        "id": 1,
        "name": "team",
        "terms": terms(measure, limit, span),
        "channels": (AlertChannel("c", "webhook", "https://example.com/…"),),
        "created_at": NOW - timedelta(days=40),
        "changed_at": NOW - timedelta(days=40),
    }
    return AlertRule(**(usual | columns))


@dataclass
class Clock:
    """A clock that goes only when it is set."""

    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at

    def on(self, **passed: float) -> None:
        self.at += timedelta(**passed)


@dataclass
class Receiver:
    """Takes HTTP requests, and answers each as ``answer`` says; ``None``: it hangs."""

    port: int
    answer: bytes | None
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/secret-path"

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]


def answering(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "content-length: 2", *headers, "", "ok"]).encode()


OK = answering("200 OK")


@contextlib.contextmanager
def receiving(answer: bytes | None = OK) -> Iterator[Receiver]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        receiver = Receiver(server.getsockname()[1], answer)
        held: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    held.append(connection)
                    threading.Thread(target=take, args=(connection,), daemon=True).start()

        def take(connection: socket.socket) -> None:
            with contextlib.suppress(OSError):
                file = connection.makefile("rb")
                head = ""
                while (line := file.readline()) not in (b"", b"\r\n"):  # hung up, lines are empty for ever
                    head += line.decode()
                if not head:
                    return
                length = next(
                    int(line.partition(":")[2]) for line in head.splitlines() if line.lower().startswith("content-l")
                )
                body = file.read(length)
                receiver.heads.append(head)
                receiver.bodies.append(body)
                if receiver.answer is not None:
                    connection.sendall(receiver.answer)
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield receiver
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()


def within(seconds: float, work: Callable[[], object]) -> object:
    began = time.monotonic()
    done = work()
    assert time.monotonic() - began < seconds
    return done
