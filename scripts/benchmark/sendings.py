"""What policies cost a request in its relay, from its head to its event, with no network around it.

The plain relay knows none of them; all take turns, a few requests at a time, and each shows its best.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from metrion.control.answer_cache import AnswerCache
from metrion.control.places import Places
from metrion.model import EndReason
from metrion.model.policies import Alias, Cache, Concurrency, Policies, Retries
from metrion.relay.effects import Open
from metrion.relay.relay import Relay
from scripts.benchmark.results import Extent, Result
from tests.relay.ways import Gate, forward, inbound

COST = "relay of one request, CPU"
PLAIN, OFF, RETRIES, TURN, HIT = "plain relay", "no policies", "retries", "concurrency", "cache, a hit"
ALIAS, BOTH = "alias", "alias and retries"
ADDED = "policies, CPU added to a request"
"""Beside the plain relay."""

_BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"' + b"x" * 1000 + b'"}]}'
_ANSWER = b'{"id":"c-1","model":"gpt-4o","usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}'
_HEADERS = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER)))
_ALIASES = {"gpt-4o": Alias("a", "gpt-4o-mini")}
_BATCH = 25


def measure(extent: Extent) -> Iterator[Result]:
    """See the module."""
    with tempfile.TemporaryDirectory(prefix="metrion-bench-") as folder:
        cache = AnswerCache(Path(folder) / "cache.db", bytes(32))
        gates = {
            PLAIN: Gate(),
            OFF: Gate(),
            RETRIES: Gate(forward(policies=Policies(retries=Retries("r")))),
            TURN: Gate(
                forward(policies=Policies(concurrency=Concurrency("c"))), places=Places(Path(folder) / "places")
            ),
            ALIAS: Gate(forward(policies=Policies(aliases=_ALIASES))),
            BOTH: Gate(forward(policies=Policies(aliases=_ALIASES, retries=Retries("r")))),
            HIT: Gate(forward(policies=Policies(cache=Cache("c", always=True))), cache=cache),
        }
        _request(gates[HIT].relay())  # is kept
        cache.close()
        relays: dict[str, Callable[[], Relay]] = {name: gate.relay for name, gate in gates.items()}
        relays[PLAIN] = lambda: Relay(gates[PLAIN], "key", clock=time.perf_counter)
        best = dict.fromkeys(gates, float("inf"))
        end = time.perf_counter() + extent.part(0.02)
        rounds = 0
        while rounds < 2 or time.perf_counter() < end:
            for name, gate in gates.items():
                began = time.thread_time()
                for _ in range(_BATCH):
                    _request(relays[name]())
                best[name] = min(best[name], (time.thread_time() - began) / _BATCH * 1e6)
                gate.events.clear()
            rounds += 1
        cache.close()
    for name, value in best.items():
        yield Result(COST, name, value, "µs")
        if name != PLAIN:
            yield Result(COST, name, value / best[PLAIN], "ratio", PLAIN)
            yield Result(ADDED, name, value - best[PLAIN], "µs")


def _request(relay: Relay) -> None:
    effects = relay.request_head(inbound(), ends=False, began=0.0)
    relay.request_data(_BODY)
    effects += relay.request_end()
    if any(isinstance(effect, Open) for effect in effects):
        relay.connected()
        relay.response_head(200, b"OK", _HEADERS, ends=False)
        relay.response_data(_ANSWER)
        relay.response_end()
    relay.attempt.finish(EndReason.COMPLETE)
