"""A provider that fails a share of the requests, the same way for the same seed, and a run of requests against it.

    with failing_provider(share=0.3, seed=7) as provider:
        ...  # a proxy whose upstream is provider.url
        findings = ask(proxy, provider, 1000)

It fails with 429, with 503, or by closing before the first byte of an answer. A request says in ``x-case`` which one it
is; the provider counts how often each came, and how often it came after an answer had begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import h11

from tests.processes import Proxy

_ANSWER = {"id": "c-1", "model": "gpt-4o", "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}
_EVENTS = (
    b'data: {"id":"c-1","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"red"}}]}\n\n',
    b'data: {"id":"c-1","model":"gpt-4o","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}\n\n',
    b"data: [DONE]\n\n",
)
_REFUSAL = json.dumps({"error": {"type": "requests", "message": "slow down"}}).encode()


@dataclass
class FailingProvider:
    """See the module. Fields are written by its thread, and read when nothing is under way."""

    share: float
    seed: int
    port: int = 0
    tries: Counter[str] = field(default_factory=Counter)
    """How often each case came."""
    failures: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    """How often an answer was begun."""
    at_once: int = 0
    most_at_once: int = 0
    seconds: float = 0.0
    """How long an answer takes."""
    holds: bool = False
    """It answers nothing until this ends."""
    order: list[str] = field(default_factory=list)
    """Cases in the order in which they came."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        parser = h11.Connection(h11.SERVER)
        with contextlib.suppress(ConnectionError, h11.RemoteProtocolError):
            while (asked := await _read(parser, reader)) is not None:
                head, body = asked
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    stays = await self._answer(parser, writer, head, body)
                finally:
                    self.at_once -= 1
                if not stays:
                    break
                parser.start_next_cycle()
        writer.close()

    async def _answer(
        self, parser: h11.Connection, writer: asyncio.StreamWriter, head: h11.Request, body: bytes
    ) -> bool:
        case = dict(head.headers).get(b"x-case", b"").decode()
        self.tries[case] += 1
        self.order.append(case)
        chance = random.Random(f"{self.seed} {case} {self.tries[case]}")
        while self.holds:  # noqa: ASYNC110 -- another thread ends it
            await asyncio.sleep(0.01)
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if chance.random() < self.share:
            kind = chance.choice(["429", "503", "cut"])
            self.failures[kind] += 1
            if kind == "cut":
                writer.transport.abort()
                return False
            headers = [("content-type", "application/json"), ("content-length", str(len(_REFUSAL)))]
            writer.write(parser.send(h11.Response(status_code=int(kind), headers=headers)) or b"")
            writer.write((parser.send(h11.Data(_REFUSAL)) or b"") + (parser.send(h11.EndOfMessage()) or b""))
            return True
        self.answered[case] += 1
        if json.loads(body).get("stream"):
            headers = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]
            pieces: tuple[bytes, ...] = _EVENTS
        else:
            pieces = (json.dumps({**_ANSWER, "case": case}).encode(),)
            headers = [("content-type", "application/json"), ("content-length", str(len(pieces[0])))]
        writer.write(parser.send(h11.Response(status_code=200, headers=headers)) or b"")
        for piece in pieces:
            writer.write(parser.send(h11.Data(piece)) or b"")
            await writer.drain()
        writer.write(parser.send(h11.EndOfMessage()) or b"")
        return True


async def _read(parser: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request, bytes] | None:
    head: h11.Request | None = None
    body = b""
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            parser.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return head, body
        else:
            return None


@contextlib.contextmanager
def failing_provider(*, share: float, seed: int, seconds: float = 0.0) -> Iterator[FailingProvider]:
    """Run one in a thread."""
    provider = FailingProvider(share, seed, seconds=seconds)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(provider.serve, "127.0.0.1", 0))
    provider.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@dataclass
class Findings:
    """What a run has shown."""

    statuses: Counter[int] = field(default_factory=Counter)
    """What clients got; 0: no whole answer."""
    faults: list[str] = field(default_factory=list)


def ask(
    proxy: Proxy, count: int, *, at_once: int = 16, streamed: bool = True, tokens: tuple[str, ...] = ()
) -> Findings:
    """Send requests ``case-0`` to ``case-COUNT``, every other one streamed; return what came of them."""
    findings = Findings()

    async def run() -> None:
        turn = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with turn:
                token = tokens[number % len(tokens)] if tokens else proxy.token
                body = json.dumps({"model": "gpt-4o", "stream": number % 2 == 1, "messages": []}).encode()
                status, answer = await _exchange(proxy.port, token, f"case-{number}", body)
                findings.statuses[status] += 1
                whole = answer.endswith(b"[DONE]\n\n") if b'"stream": true' in body else answer.endswith(b"}")
                if status == 200 and not (whole and (f'case-{number}"'.encode() in answer or b"DONE" in answer)):
                    findings.faults.append(f"case-{number}: another answer, or a part of one: {answer!r}")

        await asyncio.gather(*(one(number) for number in range(count)))

    asyncio.run(run())
    return findings


async def _exchange(port: int, token: str, case: str, body: bytes) -> tuple[int, bytes]:
    parser = h11.Connection(h11.CLIENT)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    headers = [
        ("host", "proxy"), ("authorization", f"Bearer {token}"), ("content-type", "application/json"),
        ("content-length", str(len(body))), ("x-case", case), ("x-metrion-user", case),
    ]  # fmt: skip
    head = h11.Request(method="POST", target="/openai/v1/chat/completions", headers=headers)
    writer.write((parser.send(head) or b"") + (parser.send(h11.Data(body)) or b""))
    writer.write(parser.send(h11.EndOfMessage()) or b"")
    status, answer = 0, b""
    try:
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                answer += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, answer
            else:
                return 0, answer
    except (h11.RemoteProtocolError, ConnectionError):
        return 0, answer
    finally:
        writer.close()
