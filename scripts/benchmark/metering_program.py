"""What metering computes for one request, with no network around it: a program, run against one commit's code.

    PYTHONPATH=CHECKOUT/addon:. python -m scripts.benchmark.metering_program SECONDS [KIND]

Prints one JSON document: microseconds of this process's CPU for a whole request (``plain``, and ``stream`` of 202
chunks), and by the clock for each step of a plain one. All of it counts: decision, limits, the request's body, the
response's head and body, the event, its line in the journal. With a further argument, ``plain`` or ``stream``, it
prints a profile of such requests instead.
"""

from __future__ import annotations

import cProfile
import importlib
import io
import itertools
import json
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrion.control import ControlStore
from metrion.model import EndReason, Forward, Inbound
from metrion.settings import load_settings
from scripts.benchmark.messages import PlainAnswers, StreamedAnswers, requests

CONFIG = "plans: {pro: {requests_per_minute: 1000000000}}\n"
CASES, BATCH = 100, 20
"""So many requests of each kind, and so many are timed at once."""
PLACES: Mapping[str, Sequence[str]] = {
    "Gateway": ("metrion.gateway.gateway", "metrion.proxy.gateway"),
    "Scoreboard": ("metrion.gateway.scoreboard", "metrion.proxy.board"),
}
"""The modules in which a name may be, the newest layout first."""

type Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """A request and its answer, as a proxy meets them."""

    inbound: Inbound
    body: bytes
    status: int
    headers: tuple[Pair, ...]
    pieces: Sequence[bytes]


def gateway(home: Path) -> tuple[Any, str]:
    """Make a gateway as a worker has it, and a token for it."""
    (home / "metrion.yaml").write_text(CONFIG)
    settings = load_settings(None, {"METRION_HOME": str(home)})
    control = ControlStore.open(settings)
    control.set_key("openai", "stored-openai-key-0123456789abcdef")
    token = control.create_token("bench").secret
    control.close()
    return _named("Gateway")(settings, _named("Scoreboard")().take(0, os.getpid())), token


def _named(name: str) -> Any:
    for module in PLACES[name]:
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if not module.startswith(error.name or "?"):
                raise
    raise ModuleNotFoundError(f"no {name} in any of {PLACES[name]}")


def steps(behind: Any, case: Case) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the steps of a request in their order, under the names that the table has."""
    began = time.perf_counter()
    decision: Any = None
    exchange: Any = None

    def decide() -> None:
        nonlocal decision
        decision = behind.decide(case.inbound)

    def limits() -> None:
        nonlocal decision
        decision = behind.within_limits(decision)

    def begin() -> None:
        nonlocal exchange
        exchange = behind.begin(id(case), case.inbound, decision, began=began)
        exchange.request_head_sent()

    def finish() -> None:
        behind.finish(exchange, EndReason.COMPLETE)
        behind.forget(id(case))

    def response_body() -> None:
        for piece in case.pieces:
            exchange.response_data(piece)
            if exchange.is_complete:
                finish()

    yield "decide", decide
    yield "limits", limits
    yield "begin", begin
    yield "request body", lambda: exchange.request_data(case.body)
    yield "response head", lambda: exchange.response_head(decision.route, case.status, case.headers)
    yield "response body, event, journal", response_body
    if not isinstance(decision, Forward) or not exchange.finished:
        raise RuntimeError(f"the request that is measured is not metered: {decision!r}")


def run(behind: Any, case: Case) -> None:
    """Run every step once."""
    for _, step in steps(behind, case):
        step()


def cases(token: str) -> Mapping[str, list[Case]]:
    """Return a batch of requests of each kind, no two alike."""
    plain, streamed = PlainAnswers(), StreamedAnswers()
    answers: Mapping[str, Callable[[int], Sequence[bytes]]] = {
        "plain": lambda number: [plain.answer(number)],
        "stream": lambda number: [streamed.head(number), *streamed.events(number)],
    }
    return {
        kind: [
            _case(request, answer(number))
            for number, request in zip(range(CASES), _requests(token, stream=kind == "stream"), strict=False)
        ]
        for kind, answer in answers.items()
    }


def _requests(token: str, *, stream: bool) -> Iterator[bytes]:
    path = "/openai/v1/chat/completions"
    return requests(8080, path, {"authorization": f"Bearer {token}"}, "serve", stream=stream)


def _case(request: bytes, answer: Sequence[bytes]) -> Case:
    first_line, headers, body = _split(request)
    status_line, response_headers, response_body = _split(answer[0])
    method, target, _ = first_line.split(b" ")
    pieces = [response_body, *answer[1:]] if response_body else answer[1:]
    return Case(Inbound(method, target, headers), body, int(status_line.split(b" ")[1]), response_headers, pieces)


def _split(message: bytes) -> tuple[bytes, tuple[Pair, ...], bytes]:
    head, _, body = message.partition(b"\r\n\r\n")
    first_line, *lines = head.split(b"\r\n")
    headers = []
    for line in lines:
        name, _, value = line.partition(b": ")
        headers.append((name, value))
    return first_line, tuple(headers), body


def measure(behind: Any, kinds: Mapping[str, list[Case]], seconds: float) -> dict[str, Any]:
    """Return microseconds: of a whole request the least of many batches, of a step what the fastest tenth took."""
    best: dict[str, float] = {}
    for kind, all_cases in kinds.items():
        end = time.perf_counter() + seconds / 3
        while time.perf_counter() < end or kind not in best:
            for batch in itertools.batched(all_cases, BATCH):
                started = time.process_time()
                for case in batch:
                    run(behind, case)
                took = (time.process_time() - started) / len(batch) * 1e6
                best[kind] = min(best.get(kind, took), took)
    single: defaultdict[str, list[float]] = defaultdict(list)
    end = time.perf_counter() + seconds / 3
    while time.perf_counter() < end or not single:
        for case in kinds["plain"]:
            for name, step in steps(behind, case):
                started = time.perf_counter()
                step()
                single[name].append((time.perf_counter() - started) * 1e6)
    return {**best, "steps": {name: statistics.quantiles(took, n=10)[0] for name, took in single.items()}}


def profile(behind: Any, batch: Sequence[Case], seconds: float) -> str:
    """Return where the time goes, function by function."""
    profiler, out = cProfile.Profile(), io.StringIO()
    end = time.perf_counter() + seconds
    with profiler:
        while time.perf_counter() < end:
            for case in batch:
                run(behind, case)
    pstats.Stats(profiler, stream=out).sort_stats("tottime").print_stats(40)
    return out.getvalue()


def main() -> None:
    """Measure and print."""
    seconds, *kind = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="metrion-bench-") as home:
        behind, token = gateway(Path(home))
        kinds = cases(token)
        if kind:
            print(profile(behind, kinds[kind[0]], float(seconds)))
        else:
            print(json.dumps(measure(behind, kinds, float(seconds))))
        behind.close()


if __name__ == "__main__":
    main()
