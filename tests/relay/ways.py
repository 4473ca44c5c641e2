"""A relay to play with: a gate that decides as told, a clock that stands, and short words for what happens."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from metrion.control.places import Place, Places
from metrion.endpoints import CHAT
from metrion.model import (
    Answer,
    Asked,
    Caller,
    CredentialPlace,
    EndReason,
    ErrorShape,
    Event,
    Forward,
    Head,
    Headers,
    Inbound,
    Origin,
    Refusal,
    Route,
)
from metrion.model.policies import Concurrency, Policies, Step
from metrion.pricing import PriceBook
from metrion.relay.attempt import Attempt
from metrion.relay.batch import Gathering
from metrion.relay.caching import KeptAnswer
from metrion.relay.effects import Effects, Record
from metrion.relay.gate import Cache
from metrion.relay.gathering import GatheringRelay
from metrion.relay.held_body import Room
from metrion.relay.recorder import Recorder
from metrion.relay.relay import Relay
from metrion.relay.request import Request

UPSTREAM = Origin("https", "api.openai.com", 443)
WIRE = Head(b"/v1/chat/completions", ((b"host", b"api.openai.com"), (b"authorization", b"Bearer stored")))
SHOWN = Head(b"/v1/chat/completions", ((b"host", b"proxy"), (b"authorization", b"Bearer ***")))
JSON: Headers = ((b"content-type", b"application/json"),)
SSE: Headers = ((b"content-type", b"text/event-stream"),)


def forward(
    *, timeout: float | None = None, inject: bool = False, wire: Head = WIRE, policies: Policies | None = None
) -> Forward:
    route = Route(
        "openai", UPSTREAM, b"/v1/chat/completions", CHAT, "openai_chat", CredentialPlace.BEARER, ErrorShape.OPENAI,
        inject_usage=inject,
    )  # fmt: skip
    return Forward(route, Caller("default", "tests", "stored", timeout), wire, SHOWN, policies=policies)


@dataclass
class Nothing:
    """Generations of which none is pending."""

    noted: list[object] = field(default_factory=list)
    first: bool = True
    done: datetime | None = None

    def expect(self, *what: str) -> None:
        self.noted.append(("expect", *what))

    def replace(self, *what: str) -> bool:
        self.noted.append(("replace", *what))
        return self.first

    def settle(self, *what: str) -> bool:
        self.noted.append(("settle", *what))
        return self.first

    def advance(self, provider: str, generation_id: str, usage: str, progress: int) -> str | None:
        self.noted.append(("advance", provider, generation_id, usage, progress))
        return "" if self.first else None

    def expects(self, *what: str) -> bool:
        return bool(what)

    def finish(self, *what: object) -> None:
        self.noted.append(("finish", *what))

    def done_at(self, *_what: str) -> datetime | None:
        return self.done

    def knows(self, *what: str) -> bool:
        return bool(what)


@dataclass
class Gate:
    """Decides as told, and keeps the events."""

    decision: Forward | Refusal | Answer = field(default_factory=forward)
    limited: Refusal | None = None
    cors_origins: Collection[str] = ()
    now: float = 0.0
    events: list[Event] = field(default_factory=list)
    counted: int = 0
    judged: Callable[[Forward], Forward | Refusal] | None = None
    """What the body decides; ``None``: nothing."""
    asked: list[Asked] = field(default_factory=list)
    elsewhere: Callable[[Forward, Step, str | None], Forward | None] | None = None
    """Where it may fall back to."""
    cache: Cache | None = None
    room: Room = field(default_factory=Room)
    gathering: Gathering = field(default_factory=Gathering)
    places: Places = field(default_factory=lambda: Places(Path("/dev/null/places")))
    """In memory: their folder cannot be made."""

    def decide(self, inbound: Inbound, *, intercepted: bool = False) -> Forward | Refusal | Answer:  # noqa: ARG002 -- decides as told
        return self.decision

    def needs_body(self, forward: Forward) -> bool:
        return self.judged is not None or forward.rules is not None

    def within_rules(self, forward: Forward, asked: Asked) -> Forward | Refusal:
        self.asked.append(asked)
        return self.judged(forward) if self.judged is not None else forward

    def within_limits(self, decision: Forward) -> Forward | Refusal:
        self.counted += 1
        return self.limited or decision

    def answered(self, inbound: Inbound, answer: Answer, *, began: float) -> None:
        pass

    def begin(self, _key: object, inbound: Inbound, decision: Forward | Refusal, *, began: float) -> Attempt:
        request = Request(inbound, decision, began=began)
        request.sample = request.response_sample = None  # what is estimated has tests of its own
        recorder = Recorder(PriceBook({}, "none"), lambda event, _: self.events.append(event), Nothing())
        return Attempt(request, recorder, clock=lambda: self.now)

    def enter(self, forward: Forward, concurrency: Concurrency) -> Place:
        return self.places.enter("key", forward.caller.token_name, concurrency)

    def fallen_back(self, forward: Forward, step: Step, asked: Asked, *, instead: Forward) -> Forward | None:  # noqa: ARG002 -- goes as told
        return self.elsewhere(forward, step, asked.model) if self.elsewhere is not None else None

    def again(self, _key: object, attempt: Attempt, *, last_activity: float) -> Attempt:
        attempt.finish(EndReason.RETRIED)
        return attempt.following(last_activity=last_activity)

    def relay(self) -> GatheringRelay:
        return GatheringRelay(self, "key", clock=lambda: self.now)


class Kept:
    """A cache that finds nothing."""

    def __init__(self) -> None:
        self.answers: dict[bytes, KeptAnswer] = {}

    def find(self, identity: bytes, most_seconds: float) -> tuple[KeptAnswer, float] | None:
        del identity, most_seconds
        return None

    def keep(self, identity: bytes, answer: KeptAnswer, most_bytes: int) -> None:
        del most_bytes
        self.answers[identity] = answer


def inbound(method: bytes = b"POST", *headers: tuple[bytes, bytes]) -> Inbound:
    return Inbound(method, b"/openai/v1/chat/completions", ((b"host", b"proxy"), *headers))


def begun(gate: Gate, *, method: bytes = b"POST", ends: bool = False) -> Relay:
    """A relay that has the head."""
    relay = gate.relay()
    relay.request_head(inbound(method), ends=ends, began=0.0)
    return relay


def asking(gate: Gate) -> Relay:
    """One whose request goes out."""
    relay = begun(gate)
    relay.connected()
    return relay


def asked(gate: Gate) -> Relay:
    """One whose request is out."""
    relay = asking(gate)
    relay.request_end()
    return relay


def answering(gate: Gate, headers: Headers = JSON) -> Relay:
    """One whose response has begun."""
    relay = asked(gate)
    relay.response_head(200, b"OK", headers, ends=False)
    return relay


def recorded(effects: Effects, relay: Relay) -> EndReason | None:
    """Carry the record out as a shell does; return why it is over."""
    for effect in effects:
        if isinstance(effect, Record):
            relay.attempt.finish(effect.end_reason)
            return effect.end_reason
    return None
