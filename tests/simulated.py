"""Drive the provider simulator from a test: start it as its own process, choose its answers, read what it received.

    with running_simulator() as simulator:
        headers = simulator.select(exchange, Delivery(seed=7))   # to send with the request, through the proxy or not
        ...
        (received,) = simulator.received(1)                      # waits; forgets what it returns

Upstreams are ``simulator.upstream("openai")`` (by path prefix) or ``simulator.upstream_by_port("openai")`` (at the root
of a port, with ``port_per_provider=True``).
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from metrion.simulator.control import CONTROL_PREFIX
from metrion.simulator.delivery import SELECTION_HEADER, Delivery, Selection, format_selection
from tests.corpus import Exchange, encode, encode_pieces

_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as the simulator got it, and what became of its answer."""

    number: int
    """Counts all requests, in the order in which they came."""
    connection: int
    port: int
    provider: str | None
    request_line: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    """In wire order and case."""
    body: bytes | None
    """``None`` when it was longer than 1 MiB; size and hash are always there."""
    body_bytes: int
    body_sha256: str
    body_complete: bool
    malformed: str | None
    """Why it was not HTTP."""
    sent_body_bytes: int
    """How much of the answer's body was handed to the network."""
    sent_events: int
    """How many events of a streamed answer were handed on whole (of other answers: 0 or 1)."""
    answered: bool
    """The answer was sent whole."""
    held: bool
    client_closed_after: float | None
    """Seconds from the head to the client's leaving, if it left before the answer was sent."""
    finished: bool

    @property
    def method(self) -> bytes:
        return self.request_line.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.request_line.split(b" ")[1]

    def header(self, name: str) -> list[bytes]:
        """All values of a header, in order; the name in any case."""
        return [value for known, value in self.headers if known.lower() == name.lower().encode()]


class Simulator:
    """A running simulator. Not for use by several threads at once."""

    def __init__(self, port: int, ports: Mapping[str, int]) -> None:
        self.port = port
        self.ports = ports

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def upstream(self, provider: str) -> str:
        """What to set as the provider's ``upstream``."""
        return f"{self.url}/{provider}"

    def upstream_by_port(self, provider: str) -> str:
        """The same at the root of the provider's own port; needs ``port_per_provider=True``."""
        return f"http://127.0.0.1:{self.ports[provider]}"

    def register(
        self,
        exchange: Exchange,
        *,
        content_encoding: str | None = None,
        members: int = 1,
        flush_events: bool = False,
    ) -> str:
        """Make a recorded answer available; returns its id.

        ``content_encoding`` replaces the recorded one (``"identity"``: none). ``members`` cuts the body into so many
        gzip members or zstd frames. ``flush_events`` ends a compressed block with each event, as providers do.
        """
        headers = dict(exchange.response_headers)
        if content_encoding is not None:
            headers |= {"content-encoding": content_encoding}
        if headers.get("content-encoding") == "identity":
            del headers["content-encoding"]
        encoding = headers.get("content-encoding")
        chunked = headers.pop("transfer-encoding", None) == "chunked" or exchange.streamed
        events = [event for event in _EVENT.findall(exchange.response_body) if event] if exchange.streamed else None
        if events is not None and (encoding is None or flush_events):
            pieces: Sequence[bytes] = encode_pieces(events, encoding)
        else:
            pieces = [encode(exchange.response_body, encoding, members=members)]
        return self.register_answer(
            f"{exchange.id}~{encoding or 'identity'}~{members}~{int(flush_events)}",
            status=exchange.status,
            headers=list(headers.items()),
            pieces=pieces,
            chunked=chunked,
        )

    def register_answer(
        self,
        name: str,
        *,
        status: int = 200,
        headers: Sequence[tuple[str, str]] = (("content-type", "application/json"),),
        pieces: Sequence[bytes],
        chunked: bool = False,
    ) -> str:
        """Make any answer available; returns its id, which is ``name``. ``pieces`` are sent as one chunk each."""
        self._control(
            "PUT",
            f"answers/{quote(name, safe='')}",
            {
                "status": status,
                "headers": list(headers),
                "pieces": [base64.b64encode(piece).decode() for piece in pieces],
                "chunked": chunked,
            },
        )
        return name

    def select(
        self,
        answer: Exchange | str | None = None,
        delivery: Delivery | None = None,
        *,
        error: int | None = None,
        error_event: int | None = None,
    ) -> dict[str, str]:
        """The headers that make the simulator answer so. Without ``answer`` and ``error``: as the provider would.

        ``answer`` is an exchange, registered on the way, or the id of a registered answer. ``error`` is a status of the
        provider's errors; ``error_event`` the number of events after which its error event comes inside a stream.
        """
        name = self.register(answer) if isinstance(answer, Exchange) else answer
        selection = Selection(name, error, error_event, delivery or Delivery())
        return {SELECTION_HEADER: format_selection(selection)}

    def received(self, count: int = 0, *, finished: bool = True, timeout: float = 20) -> list[Received]:
        """What arrived, in order, once there are ``count`` of them; forgets the finished ones.

        ``finished=False`` also returns requests still under way, which will be returned again.
        """
        rows = self._control("GET", f"requests?count={count}&finished={int(finished)}&timeout={timeout}")
        assert len(rows) >= count, f"{len(rows)} of {count} requests arrived within {timeout} s"
        return [_received(row) for row in rows]

    def forget(self) -> None:
        """Return nothing any more of what has arrived so far, whether it is under way or not."""
        self._control("DELETE", "requests")

    def release(self, count: int = 1, *, timeout: float = 20) -> int:
        """Wait until ``count`` answers are held and let them go on; returns how many it were."""
        released: int = self._control("POST", f"release?count={count}&timeout={timeout}")["released"]
        assert released >= count, f"{released} of {count} answers were held within {timeout} s"
        return released

    def _control(self, method: str, path: str, body: object = None) -> Any:  # JSON
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, CONTROL_PREFIX + path, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status == 200, answer
        return json.loads(answer)


def _received(row: dict[str, Any]) -> Received:
    return Received(
        **row
        | {
            "request_line": row["request_line"].encode("latin-1"),
            "headers": tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in row["headers"]),
            "body": None if row["body"] is None else base64.b64decode(row["body"]),
        }
    )


@contextmanager
def running_simulator(
    *, port: int = 0, port_per_provider: bool = False, keys: Mapping[str, str] | None = None
) -> Iterator[Simulator]:
    """Run a simulator on a free port for the length of the block. ``keys``: the only key that each provider accepts."""
    command = [sys.executable, "-m", "metrion.simulator.server", "--port", str(port), "--until-stdin-closes"]
    command += ["--port-per-provider"] if port_per_provider else []
    command += [f"--key={provider}={key}" for provider, key in (keys or {}).items()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        listening = json.loads(process.stdout.readline())
        try:
            yield Simulator(listening["port"], listening["ports"])
        finally:
            process.terminate()
