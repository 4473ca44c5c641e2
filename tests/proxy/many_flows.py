"""Sends many requests through mitmweb and prints what memory it holds meanwhile.

    python -m tests.proxy.many_flows 100000

Each request and each answer has about 2 kB, and mitmweb keeps bodies.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import tempfile
import threading
from pathlib import Path

from tests.processes import free_port
from tests.proxy.mitmweb import Mitmweb, running_mitmweb

_CONNECTIONS = 8
_QUESTION = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why? " * 400}]}).encode()
_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Because. " * 200}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 810, "completion_tokens": 400, "total_tokens": 1210},
    }
).encode()


def resident_megabytes(web: Mitmweb) -> int:
    """What the process of mitmweb holds of the machine's memory."""
    status = Path(f"/proc/{web.proxy.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_ANSWER)
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(_QUESTION))
            writer.write(head + _ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def serve_answers(port: int) -> None:
    """Answer every request alike, for ever, in a thread."""

    async def serve() -> None:
        server = await asyncio.start_server(_answer, "127.0.0.1", port)
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()


async def send(web: Mitmweb, count: int) -> None:
    """Send so many requests, on a few connections."""
    head = (
        f"POST /openai/v1/chat/completions HTTP/1.1\r\nhost: proxy\r\nauthorization: Bearer {web.proxy.token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(_QUESTION)}\r\n\r\n"
    ).encode()
    left = iter(range(count))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.proxy.port)
        for _ in left:
            writer.write(head + _QUESTION)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            await reader.readexactly(len(_ANSWER))
        writer.close()

    await asyncio.gather(*(ask() for _ in range(_CONNECTIONS)))


def main(count: int) -> None:
    """Send the requests in ten lots."""
    port = free_port()
    serve_answers(port)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with running_mitmweb(home, f"http://127.0.0.1:{port}", "--set", "store_streamed_bodies=true") as web:
            report = functools.partial(print, flush=True)
            report(f"at start: {resident_megabytes(web)} MB")
            for lot in range(1, 11):
                asyncio.run(send(web, count // 10))
                report(f"after {lot * count // 10} flows: {resident_megabytes(web)} MB")
            report(f"kept: {len(web.flows())} flows")


if __name__ == "__main__":
    main(int(sys.argv[1]))
