"""Requests that wait to go out as one: who is in a batch, when it is due, who leads it, what comes of it. No I/O.

A batch is due when nobody has joined it for a few milliseconds, when it has been open for a while, or when it is full.
Who finds it due leads it: that one's request goes out for all. Whoever is in a batch has a way to be woken, and looks
at its seat then. One that leaves harms nobody: the first of those who stay sees to the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metrion.model import EndReason, Headers, Refusal
from metrion.model.policies import Batching
from metrion.relay.batch_bodies import Inputs

_PATIENCE = 0.1
"""How much longer a batch waits for the next request with each that has come, or that the one before it had: who has
had an answer with many others asks again with them."""
_LONGEST = 50
"""How long a batch is open at most, in times of how long the first request waits for the second."""
_MOST_REMEMBERED = 512
MOST_BYTES = 1 << 20
MOST_TOKENS = 250_000
"""Of the inputs of a batch together. OpenAI takes at most 300,000 tokens in one request."""


@dataclass(frozen=True, slots=True)
class Share:
    """A request's part of the answer to its batch."""

    reason: bytes
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Alone:
    """Nothing came of the batch: each of its requests goes out by itself."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing came of the batch, and there is no time left, or no turn."""

    refusal: Refusal
    end_reason: EndReason


type Outcome = Share | Alone | Refused


class Seat:
    """A request in a batch.

    ``on_turn`` has it look here: there is an outcome, or it is first and the batch is due. ``on_sent`` says that the
    provider may work for it.
    """

    __slots__ = ("batch", "inputs", "is_gone", "on_sent", "on_turn", "outcome")

    def __init__(self, batch: Batch, inputs: Inputs, on_turn: Callable[[], None], on_sent: Callable[[], None]) -> None:
        self.batch = batch
        self.inputs = inputs
        self.on_turn = on_turn
        self.on_sent = on_sent
        self.outcome: Outcome | None = None
        self.is_gone = False

    @property
    def is_first(self) -> bool:
        """Whether it has to see that the batch goes out."""
        return self.batch.seats[0] is self

    @property
    def words(self) -> str:
        """Which of the requests of its batch it is."""
        batch = self.batch
        return f"{batch.name}: {batch.seats.index(self) + 1} of {len(batch.seats)}"

    def leave(self) -> None:
        """Have no part in the batch from now on. May come twice."""
        if not self.is_gone:
            self.is_gone = True
            self.batch.left(self)


class Batch:
    """See the module."""

    def __init__(self, gathering: Gathering, key: bytes, now: float, before: int) -> None:
        self.seats: list[Seat] = []
        """In the order in which their inputs go out. Once it is led, those who leave keep theirs."""
        self.name = ""
        """The request that goes out for all."""
        self.is_led = False
        self.is_sent = False
        self.is_over = False
        self.due = now
        self.last_activity = now
        """When something of it last passed."""
        self._gathering = gathering
        self._key = key
        self._opened = now
        self._before = before
        """How many requests had their answers together just before."""

    def join(self, seat: Seat, asked: Batching, now: float) -> None:
        """Take somebody in."""
        self.seats.append(seat)
        is_full = sum(each.inputs.count for each in self.seats) >= asked.inputs
        seconds = asked.milliseconds / 1000
        patience = 1 + (max(len(self.seats), self._before) - 1) * _PATIENCE
        self.due = now if is_full else min(now + seconds * patience, self._opened + seconds * _LONGEST)

    def has_room(self, inputs: Inputs, asked: Batching) -> bool:
        """Whether a request may join."""
        all_of = [each.inputs for each in self.seats] + [inputs]
        return (
            sum(each.count for each in all_of) <= asked.inputs
            and sum(len(each.texts) for each in all_of) <= MOST_BYTES
            and (not inputs.are_tokens or sum(each.length for each in all_of) <= MOST_TOKENS)
        )

    def lead(self, leader: Seat, name: str, now: float) -> None:
        """Let nobody in any more: it goes out, with the leader first."""
        self.seats.sort(key=lambda seat: seat is not leader)
        self.name, self.is_led, self.last_activity = name, True, now
        self._gathering.close(self._key, self)

    def sent(self, now: float) -> None:
        """Take note that it has gone out."""
        self.is_sent, self.last_activity = True, now
        for seat in self.seats:
            seat.on_sent()

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Tell those whom the first has led what came of it, in their order."""
        self.is_over = True
        self._gathering.remember(self._key, max(len(self.seats), self._before), self.last_activity)
        for seat, outcome in zip(self.seats[1:], outcomes, strict=True):
            seat.outcome = outcome
            if not seat.is_gone:
                seat.on_turn()

    def left(self, seat: Seat) -> None:
        """Go on without somebody. If that was the one who led, another one does."""
        was_first = seat.is_first
        if self.is_over or (self.is_led and not was_first):
            return
        self.seats = [each for each in self.seats if not each.is_gone]
        self.is_led = self.is_sent = False
        if not self.seats:
            self._gathering.close(self._key, self)
        elif was_first:
            self.seats[0].on_turn()


class Gathering:
    """The batches of a process that requests may still join."""

    def __init__(self) -> None:
        self._open: dict[bytes, Batch] = {}
        self._recent: dict[bytes, tuple[int, float]] = {}
        """How large the last batch of a key was, and when it was over."""

    def join(
        self,
        key: bytes,
        inputs: Inputs,
        asked: Batching,
        now: float,
        on_turn: Callable[[], None],
        on_sent: Callable[[], None] = lambda: None,
    ) -> Seat:
        """Take a seat in the batch of those who have the same ``key``."""
        batch = self._open.get(key)
        if batch is not None and not batch.has_room(inputs, asked):
            self.close(key, batch)
            batch.due = now
            batch.seats[0].on_turn()
            batch = None
        if batch is None:
            batch = self._open[key] = Batch(self, key, now, self._before(key, now, asked))
        seat = Seat(batch, inputs, on_turn, on_sent)
        batch.join(seat, asked, now)
        return seat

    def close(self, key: bytes, batch: Batch) -> None:
        """Let nobody join a batch any more."""
        if self._open.get(key) is batch:
            del self._open[key]

    def _before(self, key: bytes, now: float, asked: Batching) -> int:
        """Return how many requests had their answers together just before."""
        size, at = self._recent.get(key, (0, now))
        return size if now - at < asked.milliseconds / 1000 * _LONGEST else 0

    def remember(self, key: bytes, size: int, at: float) -> None:
        """Keep in mind how many requests a batch had that is over."""
        if len(self._recent) >= _MOST_REMEMBERED:
            self._recent.clear()
        self._recent[key] = size, at
