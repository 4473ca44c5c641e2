"""Measure what the proxy costs, against a direct call to the provider simulator and against mitmdump without Metrion.

Everything is a difference or a ratio within one run: the targets take turns, so that whatever else the machine does
meets all of them. Prints a table, or one JSON document with --json. With --check the promises of docs/bench.md are
asserted, and the exit status is 1 where one is not kept. Needs no network, and ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast, override

from tabulate import tabulate

from metrion.callers import Directory, Token, admit, token_digest
from metrion.control.counters import Counters
from metrion.demo.answers import Request, provider_answer
from metrion.demo.delivery import Delivery
from metrion.event_id import uuid7
from metrion.journal import Journal
from metrion.model import Event, Forward, Inbound, Route
from metrion.routing import Router
from metrion.settings import load_settings
from metrion.tap import Tap
from tests.corpus import encode, exchanges
from tests.processes import MITMDUMP, eventually, free_port, prepare_home, running_serve, store_keys, upstreams
from tests.recordings import route
from tests.simulator import Simulator, running_simulator

ROOT = Path(__file__).resolve().parents[1]

ADDED_TTFB_MS = 3.0
"""Promised: what the proxy adds to the time to first byte, as a median with one request in flight."""
TAP_US = 5.0
"""Promised: what reading beside it adds to a chunk of a stream that has no usage in it, as a median."""
TAP_MEGABYTES = 1.0
"""Promised: what reading a large response holds, beyond the chunk in hand."""
ADDON_SHARE = 0.9
"""Aimed at: requests/s of mitmdump with the addon, as a share of those of mitmdump without it."""

CONCURRENCY = 16
MEMORY_REQUESTS = 5000
STREAMS = 40
"""As many streams of each wire format are read."""
EVENT = re.compile(rb".+?(?:\r\n\r\n|\n\n|\r\r|\Z)", re.DOTALL)
SIMULATED = (
    ("openai_chat", "openai", "/v1/chat/completions"),
    ("anthropic_messages", "anthropic", "/v1/messages"),
    ("gemini", "google", "/v1beta/models/gemini-2.5-flash:streamGenerateContent"),
)
DEFAULT_SECONDS = 90.0
ANSWER_SECONDS = 30.0
"""How long an answer may take before the whole run is given up."""
LOAD_SECONDS = 300.0
"""How long a number of requests may take at most."""
CHUNKS = 400
CHUNK_SECONDS = 0.001
"""Between two chunks of the paced stream, so that each is read and sent by itself."""
UNLIMITED = {"plans": {"pro": {"requests_per_minute": 1_000_000, "timeout": 60}}}
"""Counted like any, and refused never."""

PLAIN = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Name a colour."}]}
STREAMED = PLAIN | {"stream": True, "stream_options": {"include_usage": True}}


# --- who is measured --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """Somewhere to send a request to."""

    name: str
    port: int
    path: str
    token: str
    group: int | None
    """Process group of the proxy; ``None``: there is none."""

    def request(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> bytes:
        """Return the whole request, as it goes onto the wire."""
        content = json.dumps(body).encode()
        fields = {
            "host": f"127.0.0.1:{self.port}",
            "authorization": f"Bearer {self.token}",
            "content-type": "application/json",
            "content-length": str(len(content)),
            "user-agent": "bench",
            **(headers or {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + content


@contextlib.contextmanager
def running_targets(folder: Path, simulator: Simulator) -> Iterator[list[Target]]:
    """Start everything that is compared; the direct way first."""
    upstream = simulator.upstream_by_port("openai")
    with contextlib.ExitStack() as stack:
        serve = stack.enter_context(running_serve(folder / "serve", upstreams(simulator) | UNLIMITED))
        home = folder / "addon"
        environment = prepare_home(home, {"providers": {"openai": {"upstream": upstream}}} | UNLIMITED)
        token = store_keys(home, environment)
        script = ("-s", str(ROOT / "addon" / "metrion_addon.py"))
        addon_port, addon = stack.enter_context(running_mitmdump(home, upstream, environment, script))
        bare_home = folder / "bare"
        bare_port, bare = stack.enter_context(running_mitmdump(bare_home, upstream, prepare_home(bare_home)))
        path = "/v1/chat/completions"
        yield [
            Target("direct", simulator.ports["openai"], path, "none", None),
            Target("serve", serve.port, f"/openai{path}", serve.token, serve.process.pid),
            Target("mitmdump -s", addon_port, path, token, addon),
            Target("bare mitmdump", bare_port, path, "none", bare),
        ]


@contextlib.contextmanager
def running_mitmdump(
    home: Path, upstream: str, environment: Mapping[str, str], arguments: Sequence[str] = ()
) -> Iterator[tuple[int, int]]:
    """Run mitmdump in reverse mode; gives its port and its process group. It streams bodies, as Metrion does."""
    port = free_port()
    mode = f"reverse:{upstream}@127.0.0.1:{port}"
    command = [*MITMDUMP, "--mode", mode, "--set", f"confdir={home / 'ca'}", "--set", "stream_large_bodies=1"]
    with (
        (home.parent / f"{home.name}.log").open("wb") as log,
        subprocess.Popen(
            [*command, *arguments],
            env=dict(environment),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            eventually(lambda: _accepts(port) or process.poll() is not None)
            if process.poll() is not None:
                raise RuntimeError(Path(log.name).read_text())
            yield port, process.pid
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


# --- what the operating system knows of a process group (Linux; elsewhere nothing) ------------------------------------


def processes(group: int) -> list[Path]:
    """Find a group's processes under /proc. The ingester is left out: it does nothing while a request waits."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
            if int(fields[2]) == group and b"metrion.store.ingester" not in (folder / "cmdline").read_bytes():
                found.append(folder)
    return found


def cpu_seconds(group: int | None) -> float | None:
    """Return what a group's processes have computed so far, to the nanosecond."""
    if group is None or not (found := processes(group)):
        return None
    total = 0
    for folder in found:
        for thread in (folder / "task").iterdir():
            with contextlib.suppress(OSError):
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_megabytes(group: int | None) -> float | None:
    """Return the memory that a group's processes hold."""
    if group is None or not (found := processes(group)):
        return None
    lines = [line for folder in found for line in (folder / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


# --- clients ----------------------------------------------------------------------------------------------------------


def is_whole(answer: bytes | bytearray) -> bool:
    """Whether a response has arrived to its last byte."""
    head_end = answer.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    head = bytes(answer[:head_end]).lower()
    if b"transfer-encoding: chunked" in head:
        return answer.endswith(b"\r\n0\r\n\r\n")
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(answer) - head_end - 4 >= int(length)


class Caller:
    """One keep-alive connection with one request in flight."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, request: bytes) -> tuple[float, float]:
        """Return the seconds to the first byte and to the last."""
        started = time.perf_counter()
        self._socket.sendall(request)
        answer = bytearray(self._socket.recv(65536))
        first = time.perf_counter()
        while not is_whole(answer):
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError(f"the connection ended after {bytes(answer[:200])!r}")
            answer += more
        ended = time.perf_counter()
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"not answered: {bytes(answer[:400])!r}")
        return first - started, ended - started

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Pipe(asyncio.Protocol):
    """One of many connections: the next request as soon as the last is answered, while ``load`` wants more."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answer = bytearray()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        self._answer.clear()
        if self._load.wants_more():
            self._transport.write(self._load.request)
        else:
            self._transport.close()

    @override
    def data_received(self, data: bytes) -> None:
        self._answer += data
        if is_whole(self._answer):
            if not self._answer.startswith(b"HTTP/1.1 200 "):
                self._load.fail(f"not answered: {bytes(self._answer[:400])!r}")
            self._load.done += 1
            self._next()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(exc)


class Load:
    """So many requests, or requests for so many seconds, over ``CONCURRENCY`` connections."""

    def __init__(self, request: bytes, *, seconds: float | None = None, count: int | None = None) -> None:
        self.request = request
        self.done = 0
        self._left = count
        self._seconds = seconds
        self._failure: str | None = None

    def wants_more(self) -> bool:
        """Say whether one more request is to be sent, and count it."""
        if self._failure is not None or time.perf_counter() >= self._deadline:
            return False
        if self._left is not None:
            self._left -= 1
            return self._left >= 0
        return True

    def fail(self, why: str) -> None:
        """Send no more; ``run`` will say why."""
        self._failure = why

    def lost(self, exc: Exception | None) -> None:
        """Take note that a connection is over."""
        if exc is not None:
            self._failure = repr(exc)
        self._open -= 1
        if not self._open:
            self._over.set()

    async def _run(self, port: int) -> float:
        started = time.perf_counter()
        self._deadline = started + (self._seconds or LOAD_SECONDS)
        self._open = CONCURRENCY
        self._over = asyncio.Event()
        loop = asyncio.get_running_loop()
        for _ in range(CONCURRENCY):
            await loop.create_connection(lambda: Pipe(self), "127.0.0.1", port)
        async with asyncio.timeout(self._deadline - started + ANSWER_SECONDS):
            await self._over.wait()
        return time.perf_counter() - started

    def run(self, port: int) -> float:
        """Return requests/s. Raises when a request fails."""
        took = asyncio.run(self._run(port))
        if self._failure is not None:
            raise ConnectionError(self._failure)
        return self.done / took


# --- measurements -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """One figure. ``None``: it cannot be measured here."""

    measurement: str
    target: str
    value: float | None
    unit: str
    against: str = ""
    """What it is a difference or a ratio to; empty: it stands by itself."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which so much of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def latency(targets: Sequence[Target], seconds: float) -> Iterator[Result]:
    """Time to first byte with one request in flight, on kept connections; the targets take turns at every request."""
    for name, body in (("plain", PLAIN), ("streamed", STREAMED)):
        callers = {target.name: (Caller(target.port), target.request(body)) for target in targets}
        samples: dict[str, list[float]] = {target.name: [] for target in targets}
        for caller, request in callers.values():
            for _ in range(20):
                caller.call(request)
        end = time.perf_counter() + seconds / 2
        while time.perf_counter() < end or len(samples["direct"]) < 20:
            for target, (caller, request) in callers.items():
                samples[target].append(caller.call(request)[0] * 1000)
        for caller, _ in callers.values():
            caller.close()
        direct = samples.pop("direct")
        yield Result(f"time to first byte, {name}, median", "direct", statistics.median(direct), "ms")
        for target, own in samples.items():
            pairs = [through - straight for through, straight in zip(own, direct, strict=True)]
            added = f"added time to first byte, {name}"
            yield Result(f"{added}, median", target, statistics.median(pairs), "ms", "direct")
            difference = percentile(own, 0.99) - percentile(direct, 0.99)
            yield Result(f"{added}, p99", target, difference, "ms", "direct")


def throughput(targets: Sequence[Target], seconds: float, rounds: int) -> Iterator[Result]:
    """Requests/s with 16 in flight, and what the proxy's processes compute for one of them."""
    rates: dict[str, list[float]] = {target.name: [] for target in targets}
    costs: dict[str, list[float]] = {target.name: [] for target in targets}
    slice_seconds = seconds / rounds / len(targets)
    for target in targets:
        Load(target.request(PLAIN), count=100).run(target.port)
    for _ in range(rounds):
        for target in targets:
            load = Load(target.request(PLAIN), seconds=slice_seconds)
            before = cpu_seconds(target.group)
            rates[target.name].append(load.run(target.port))
            after = cpu_seconds(target.group)
            if before is not None and after is not None:
                costs[target.name].append((after - before) / load.done * 1000)
    name = f"requests/s, {CONCURRENCY} in flight"
    for target in targets:
        yield Result(name, target.name, statistics.median(rates[target.name]), "1/s")
    for against in ("direct", "bare mitmdump"):
        for target in targets:
            if target.name not in {"direct", against}:
                yield Result(name, target.name, _ratio(rates[target.name], rates[against]), "ratio", against)
    for target in targets[1:]:
        own = costs[target.name]
        yield Result("CPU per request", target.name, statistics.median(own) if own else None, "ms")
        if target.name != "bare mitmdump":
            yield Result("CPU per request", target.name, _ratio(own, costs["bare mitmdump"]), "ratio", "bare mitmdump")


def _ratio(own: Sequence[float], others: Sequence[float]) -> float | None:
    """Return the median of the ratios within each round."""
    ratios = [one / other for one, other in zip(own, others, strict=True)]
    return statistics.median(ratios) if ratios else None


def chunks(targets: Sequence[Target], simulator: Simulator, seconds: float) -> Iterator[Result]:
    """Measure what a chunk of a stream costs: one at a time as a model writes them, and as fast as they come."""
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        "choices": [{"index": 0, "delta": {"content": " and so"}, "logprobs": None, "finish_reason": None}],
        "usage": None,
    }
    usage = {"prompt_tokens": 12, "completion_tokens": CHUNKS, "total_tokens": 12 + CHUNKS}
    events = [*[chunk] * CHUNKS, chunk | {"choices": [], "usage": usage}]
    answer = simulator.register_answer(
        "bench-stream",
        headers=[("content-type", "text/event-stream; charset=utf-8")],
        pieces=[*(f"data: {json.dumps(event)}\n\n".encode() for event in events), b"data: [DONE]\n\n"],
        chunked=True,
    )
    for name, delivery in (("paced", Delivery(chunk_delay=CHUNK_SECONDS)), ("at once", Delivery())):
        headers = simulator.select(answer, delivery)
        callers = {target.name: (target, Caller(target.port), target.request(STREAMED, headers)) for target in targets}
        took: dict[str, list[float]] = {target.name: [] for target in targets}
        costs: dict[str, list[float]] = {target.name: [] for target in targets}
        for _, caller, request in callers.values():
            caller.call(request)
        end = time.perf_counter() + seconds / 2
        while time.perf_counter() < end or not took["direct"]:
            for target, caller, request in callers.values():
                before = cpu_seconds(target.group)
                took[target.name].append(caller.call(request)[1] / CHUNKS * 1e6)
                after = cpu_seconds(target.group)
                if before is not None and after is not None:
                    costs[target.name].append((after - before) / CHUNKS * 1e6)
        for target, caller, _ in callers.values():
            caller.close()
            if target.name == "direct":
                continue
            own = costs[target.name]
            yield Result(f"CPU per chunk, {name}", target.name, statistics.median(own) if own else None, "µs")
            if name == "at once":
                pairs = [
                    through - straight for through, straight in zip(took[target.name], took["direct"], strict=True)
                ]
                yield Result("added time per chunk, at once", target.name, statistics.median(pairs), "µs", "direct")


def memory(targets: Sequence[Target], count: int) -> Iterator[Result]:
    """Measure how much more memory a proxy holds after so many requests, half of them streamed, once it is warm."""
    for target in targets:
        for body in (PLAIN, STREAMED):
            Load(target.request(body), count=count // 10).run(target.port)
        before = resident_megabytes(target.group)
        for body in (PLAIN, STREAMED):
            Load(target.request(body), count=count // 2).run(target.port)
        after = resident_megabytes(target.group)
        grown = None if before is None or after is None else after - before
        yield Result(f"memory grown in {count:,} requests", target.name, grown, "MB", "itself warm")


def in_process(folder: Path, seconds: float) -> Iterator[Result]:
    """Measure what single steps cost, without any proxy around them."""
    environment = prepare_home(folder / "steps") | {"OPENAI_API_KEY": "stored-openai-key"}
    settings = load_settings(None, environment)
    secret = "sk-metrion-" + "a" * 43
    directory = Directory(
        {token_digest(secret): Token("bench", "default", "pro")}, {("default", "openai"): "stored-openai-key"}
    )
    headers = (
        (b"host", b"127.0.0.1:8080"),
        (b"authorization", b"Bearer " + secret.encode()),
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
        (b"user-agent", b"OpenAI/Python"),
        (b"x-stainless-lang", b"python"),
        (b"x-stainless-retry-count", b"0"),
        (b"x-metrion-user", b"ann"),
        (b"content-length", b"321"),
    )
    inbound = Inbound(b"POST", b"/openai/v1/chat/completions", headers)
    router = Router(settings)
    route = cast("Route", router.route(inbound))
    admitted = admit(inbound, route, directory, settings.plans)
    if not isinstance(admitted, Forward) or admitted.quota is None:
        raise TypeError("the request that is measured is not admitted")
    counters, quota = Counters(settings.counters_dir), replace(admitted.quota, requests_per_minute=1_000_000_000)
    journal = Journal(settings.journal_dir)
    event = _event()
    steps: dict[str, Callable[[], object]] = {
        "route": lambda: router.route(inbound),
        "admit": lambda: admit(inbound, route, directory, settings.plans),
        "limits": lambda: counters.take(quota),
        "journal append": lambda: journal.append(event),
    }
    for name, step in steps.items():
        yield Result(f"{name}, in process", "metrion", _microseconds(step, seconds / len(steps)), "µs")
    journal.close()


def taps(seconds: float) -> Iterator[Result]:
    """Measure what reading adds to a chunk of a stream, in every wire format, and what a large response holds of it.

    The streams are recorded ones, an event to a chunk, where there are recordings; else the simulator's.
    """
    streams = _streams()
    for dialect, streamed in streams.items():
        best: dict[tuple[int, int], float] = {}
        quiet: set[tuple[int, int]] = set()
        end = time.perf_counter() + seconds * 0.8 / len(streams)
        rounds = 0
        while rounds < 3 or time.perf_counter() < end:
            for number, events in enumerate(streamed):
                tap = Tap(dialect, content_type="text/event-stream", content_encoding=None, status=200)
                for at, event in enumerate(events):
                    started = time.perf_counter()
                    tap.feed(event)
                    took = (time.perf_counter() - started) * 1e6
                    place = number, at
                    if not rounds:
                        quiet |= {place} if _is_quiet(event) and place[1] else set()
                    best[place] = min(best.get(place, took), took)
            rounds += 1
        for name, places in (("a chunk without usage", quiet), ("any other chunk", best.keys() - quiet)):
            if places:
                yield Result(f"tap, {name}, median", dialect, statistics.median(best[place] for place in places), "µs")
    for coding in ("identity", "gzip"):
        yield Result("tap, memory held of 10 MB", f"embeddings, {coding}", _held(coding), "MB")


def _is_quiet(event: bytes) -> bool:
    """Say whether an event tells nothing of what is metered."""
    for null in (b'"usage":null', b'"usage": null', b'"finish_reason":null', b'"finish_reason": null'):
        event = event.replace(null, b"")
    return not any(mark in event for mark in (b"sage", b"finish", b"[DONE]", b"message_", b'"error"'))


def _streams() -> dict[str, list[list[bytes]]]:
    """Return streams by wire format, each as its events."""
    found: dict[str, list[list[bytes]]] = {}
    for exchange in exchanges():
        dialect = route(exchange).dialect
        if exchange.streamed and dialect is not None and len(found.setdefault(dialect, [])) < STREAMS:
            found[dialect].append(EVENT.findall(exchange.response_body))
    if found:
        return found
    body = json.dumps(STREAMED).encode()
    for dialect, provider, path in SIMULATED:
        headers = {"authorization": "Bearer key", "x-api-key": "key", "x-goog-api-key": "key"}
        answer = provider_answer(provider, Request("POST", path, "alt=sse", headers, body, 1))
        found[dialect] = [list(answer.pieces)]
    return found


def _held(coding: str) -> float:
    """Return the most megabytes that reading a response of 10 MB holds, beyond the chunk in hand."""
    rng = random.Random(1)
    vectors = [{"object": "embedding", "embedding": [rng.uniform(-1, 1) for _ in range(1536)]} for _ in range(320)]
    response = {"object": "list", "data": vectors, "model": "m", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    body = encode(json.dumps(response).encode(), coding)
    tap = Tap("openai_embeddings", content_type="application/json", content_encoding=coding, status=200)
    tracemalloc.start()
    for start in range(0, len(body), 65536):
        tap.feed(body[start : start + 65536])
    tap.finish()
    most = tracemalloc.get_traced_memory()[1] - 65536
    tracemalloc.stop()
    if tap.reading.usage is None or tap.reading.usage.input_tokens != 8:
        raise ValueError("the response that is measured is not read")
    return most / 1e6


def _microseconds(step: Callable[[], object], seconds: float) -> float:
    """Return the median of many short runs."""
    runs: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not runs:
        started = time.perf_counter()
        for _ in range(500):
            step()
        runs.append((time.perf_counter() - started) / 500 * 1e6)
    return statistics.median(runs)


def _event() -> Event:
    identity = uuid7()
    parts = {"input": Decimal("0.000467500000"), "output": Decimal("0.000640000000")}
    return Event(
        event_id=identity,
        request_id=identity.hex,
        started_at=datetime.now(UTC).replace(tzinfo=None),
        account="default",
        token_name="bench",  # noqa: S106 -- a name
        user_label="ann",
        tags={"team": "search"},
        credential="stored",
        provider="openai",
        operation="chat",
        method="POST",
        path="/openai/v1/chat/completions",
        model_requested="gpt-4o",
        model="gpt-4o-2024-08-06",
        service_tier="default",
        streamed=True,
        generation_id="chatcmpl-sim00000001",
        status=200,
        end_reason="complete",
        finish_reason="stop",
        provider_request_id="req_sim00000001",
        client_retry=0,
        input_tokens=187,
        cache_read_tokens=0,
        output_tokens=64,
        reasoning_tokens=0,
        usage='{"prompt_tokens":187,"completion_tokens":64,"total_tokens":251}',
        usage_source="reported",
        cost_usd=sum(parts.values(), Decimal(0)),
        cost_source="computed",
        computed_cost_usd=sum(parts.values(), Decimal(0)),
        cost_parts=parts,
        price_version="bench",
        latency_ms=812.4,
        first_byte_ms=301.2,
        overhead_ms=0.41,
        request_bytes=321,
        response_bytes=2841,
    )


# --- promises ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """A promise, and whether this run kept it. ``binding``: it fails the run."""

    promise: str
    value: float
    kept: bool
    binding: bool


def check(results: Sequence[Result]) -> list[Check]:
    """Hold the figures to what is promised; of what could not be measured nothing is said."""
    found = {(one.measurement, one.target, one.against): one.value for one in results}
    load = f"requests/s, {CONCURRENCY} in flight"
    promises: list[tuple[str, float | None, Callable[[float], bool], bool]] = [
        *(
            (
                f"serve adds less than {ADDED_TTFB_MS:g} ms to the first byte, {name}",
                found[f"added time to first byte, {name}, median", "serve", "direct"],
                lambda added: added < ADDED_TTFB_MS,
                True,
            )
            for name in ("plain", "streamed")
        ),
        (
            f"reading adds at most {TAP_US:g} µs to a chunk without usage, in the slowest format",
            _worst(results, "tap, a chunk without usage, median"),
            lambda slowest: slowest <= TAP_US,
            True,
        ),
        (
            f"of a response of 10 MB less than {TAP_MEGABYTES:g} MB is held",
            _worst(results, "tap, memory held of 10 MB"),
            lambda most: most < TAP_MEGABYTES,
            True,
        ),
        (
            f"the addon keeps {ADDON_SHARE:.0%} of bare mitmdump's requests/s",
            found[load, "mitmdump -s", "bare mitmdump"],
            lambda share: share >= ADDON_SHARE,
            False,
        ),
        (
            "serve computes less than bare mitmdump for a request",
            found["CPU per request", "serve", "bare mitmdump"],
            lambda ratio: ratio < 1,
            False,
        ),
    ]
    return [
        Check(promise, value, is_kept(value), binding)
        for promise, value, is_kept, binding in promises
        if value is not None
    ]


def _worst(results: Sequence[Result], measurement: str) -> float | None:
    """Return the largest figure of several targets."""
    return max((one.value for one in results if one.measurement == measurement and one.value is not None), default=None)


# --- the whole --------------------------------------------------------------------------------------------------------


def run(seconds: float) -> list[Result]:
    """Measure everything. ``seconds``: about how long, starting and ending the programs aside."""
    results: list[Result] = []
    rounds = max(1, min(7, round(seconds / 10)))
    requests = max(200, int(MEMORY_REQUESTS * min(1, seconds / DEFAULT_SECONDS)))
    with (
        tempfile.TemporaryDirectory(prefix="metrion-bench-", ignore_cleanup_errors=True) as folder,
        running_simulator(port_per_provider=True) as simulator,
        running_targets(Path(folder), simulator) as targets,
    ):
        proxies = [target for target in targets if target.name in {"serve", "mitmdump -s"}]
        steps = {
            "time to first byte": latency(targets, seconds * 0.2),
            "requests/s": throughput(targets, seconds * 0.25, rounds),
            "chunks of a stream": chunks(targets, simulator, seconds * 0.1),
            "memory": memory(proxies, requests),
            "single steps": in_process(Path(folder), seconds * 0.05),
            "reading beside": taps(seconds * 0.1),
        }
        for what, measured in steps.items():
            print(f"{what} …", file=sys.stderr, flush=True)
            results += measured
    return results


def machine() -> dict[str, Any]:
    """Describe where this runs."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }


def shown(value: float | None) -> str:
    """Write a figure for people."""
    return "n/a" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a promise is not kept")
    parser.add_argument(
        "--seconds", type=float, default=DEFAULT_SECONDS, metavar="N", help="measure for about N seconds (default: 90)"
    )
    given = parser.parse_args()
    if given.seconds <= 0:
        parser.error("--seconds must be more than 0")
    results = run(given.seconds)
    checks = check(results)
    if given.json:
        document = {
            "machine": machine(),
            "seconds": given.seconds,
            "results": [asdict(result) for result in results],
            "checks": [asdict(one) for one in checks],
        }
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        rows = [(one.measurement, one.target, shown(one.value), one.unit, one.against) for one in results]
        print(tabulate(rows, ("", "", "", "", "against"), disable_numparse=True, colalign=("left", "left", "right")))
        print()
        for one in checks:
            verdict = "kept" if one.kept else "NOT KEPT" if one.binding else "not kept (reported only)"
            print(f"{one.promise}: {shown(one.value)}, {verdict}")
    return int(given.check and any(one.binding and not one.kept for one in checks))


if __name__ == "__main__":
    sys.exit(main())
