"""A relay that sends a request in its turn, and more than once, where policies say so.

One whose provider key is busy waits for a place, in the line of its token. It is sent again if nothing has reached its
client.
An attempt ends without the client's knowledge in one of two ways: with an answer that says "later", which is read to
its end and dropped, or with a failure. It has an event of its own, ``retried``. Then the relay waits, and opens again.
Never: a second sending after a byte was delivered, after anything of an answer came that is no such status, or, unless
the policy takes the risk, after the whole request went out.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from metrion.admission.codes import BAD_REQUEST, UPSTREAM_UNREACHABLE
from metrion.admission.limits import queue_refusal
from metrion.model import EndReason, Forward, Headers, Refusal, first_values
from metrion.model.policies import Concurrency, Retries
from metrion.relay.effects import AbortRequest, Effects, Open, SendRequestData, Wake
from metrion.relay.gate import Gate, Place
from metrion.relay.own_answers import refuse
from metrion.relay.remembering import RememberingRelay
from metrion.relay.retries import (
    DROPPING_SECONDS,
    FALLING_BACK,
    MOST_DROPPED,
    MOST_KEPT,
    STATUSES,
    wait_after_answer,
    wait_after_failure,
)
from metrion.relay.states import BEGUN, UNDER_WAY, Input, State
from metrion.relay.stepping import Steps, Turn

_POLL_SECONDS = 0.02
"""How often one that waits asks for its turn, which another process may have given back."""
_TOO_LONG = "the body is too long"


class PersistentRelay(RememberingRelay):
    """See the module."""

    _retries: Retries | None = None
    """``None``: there are none, or no more."""
    _policy = ""
    """The name of the policy."""
    _kept: list[bytes] | None = None
    """What has gone out of the body; ``None``: it is too long to be kept."""
    _kept_bytes = 0
    _dropped = 0
    _verdict: float | str | None = None
    """How long to wait after the present attempt, or why there is no other; ``None``: it has not failed."""
    _due = 0.0
    """When the wait is over."""

    _concurrency: Concurrency | None = None
    _steps: Steps | None = None
    """Where it may fall back to; ``None``: nowhere."""
    _turn: Turn | None = None
    """Where it goes next."""
    _earlier = 0
    """How many attempts were made elsewhere."""
    _place: Place | None = None
    """Where it waits for its turn, or has it."""
    _queued_at = 0.0

    def __init__(
        self,
        gate: Gate,
        key: object,
        *,
        clock: Callable[[], float] = time.perf_counter,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(gate, key, clock=clock)
        self._on_turn = on_turn

    # --- the client ---

    def request_data(self, data: bytes) -> Effects:
        """Override: keep what goes out."""
        effects = super().request_data(data)
        if self._retries is not None and self.state is State.ASKING:
            self._keep([data])
        return effects

    def request_broken(self, why: str) -> Effects:
        """Refuse a request whose body cannot be read, where nothing of an answer has gone out yet."""
        if self.state not in UNDER_WAY - BEGUN:
            return self.client_gone()
        return [AbortRequest(), *self._refuse(refuse(self._forward, BAD_REQUEST, why), EndReason.REFUSED)]

    def client_gone(self) -> Effects:
        """Override: whose answer is dropped has an event of its own."""
        if self.state is State.DROPPING:
            self._wait()
        return super().client_gone()

    # --- the provider ---

    def interim(self, status: int, reason: bytes, headers: Headers) -> Effects:
        """Override: once the client has a part of an answer, no other can follow."""
        if effects := super().interim(status, reason, headers):
            self._retries = None
        return effects

    @property
    def may_send_again(self) -> bool:
        """Whether an answer, or a failure, may stay unknown to the client."""
        return self._retries is not None

    def drops(self, status: int, headers: Headers) -> bool:
        """Whether an answer that begins so is dropped."""
        if self._retries is None or status not in STATUSES or self.state not in (State.ASKING, State.ASKED):
            return False
        if self._verdict is None:
            left, chance, now = self._left(), random.random(), datetime.now(UTC)  # noqa: S311 -- nobody gains by a guess
            number, fields = self.attempt.number - self._earlier, first_values(headers)
            self._verdict = wait_after_answer(self._retries, number, fields, left=left, chance=chance, now=now)
            if self._kept is None:
                self._verdict = _TOO_LONG
            self._fall_back()
            self._note_verdict(str(status))
        return not isinstance(self._verdict, str)

    def survives(self, why: str | None) -> bool:
        """Whether the request is sent again after this failure: the provider has not got it, or may have not."""
        retries = self._retries
        if retries is None or self.state in BEGUN:
            return False
        if self._verdict is None:
            if why is None:
                self._verdict = "an answer had begun"
            elif self._was_sent and not retries.ambiguous:
                self._verdict = "the provider may have done it"
            elif self._kept is None:
                self._verdict = _TOO_LONG
            else:
                left, chance = self._left(), random.random()  # noqa: S311 -- as above
                self._verdict = wait_after_failure(
                    retries, self.attempt.number - self._earlier, left=left, chance=chance
                )
            self._fall_back()
            self._note_verdict("cut" if self._was_sent else "not sent whole")
        return not isinstance(self._verdict, str)

    def response_head(self, status: int, reason: bytes, headers: Headers, *, ends: bool) -> Effects:
        """Override: drop an answer that says "later"."""
        if not self.drops(status, headers):
            self._retries = self._kept = None
            return super().response_head(status, reason, headers, ends=ends)
        with self._as_if_silent():
            self.attempt.response_head(self._forward.route, status, headers)
        if not self._advance(Input.DROP):  # it answers early
            return [AbortRequest(), *self._wait()]
        self._dropped = 0
        return [Wake(DROPPING_SECONDS)]

    def response_data(self, data: bytes) -> Effects:
        """Override: drop what belongs to such an answer."""
        if self.state is not State.DROPPING:
            return super().response_data(data)
        with self._as_if_silent():
            self.attempt.response_data(data)
        self._dropped += len(data)
        return [AbortRequest(), *self._wait()] if self._dropped > MOST_DROPPED else []

    def response_end(self, trailers: Headers = ()) -> Effects:
        """Override: an answer that was dropped is over."""
        return self._wait() if self.state is State.DROPPING else super().response_end(trailers)

    def upstream_failed(self, why: str | None) -> Effects:
        """Override: a failure that the client does not hear of."""
        if self.state is State.DROPPING:
            return self._wait()
        if self.state in (State.WAITING, State.QUEUED):
            return []
        if not self.survives(why):
            return super().upstream_failed(why)
        self.attempt.failed(UPSTREAM_UNREACHABLE.code)
        return self._wait()

    # --- time ---

    def time_passed(self, *, client_is_slow: bool) -> Effects:
        """Override: a wait may be over, or a dropped answer have taken too long."""
        if self.state is State.DROPPING:
            return [AbortRequest(), *self._wait()]
        if self.state is State.QUEUED and self._place is not None:
            return self._queue(self._place)
        if self.state is not State.WAITING:
            return super().time_passed(client_is_slow=client_is_slow)
        if (left := self._due - self._clock()) > 0:
            return [Wake(left)]
        self._advance(Input.DUE)
        return self._in_turn([Wake(self._left()), Open(self._forward.route.upstream)])

    # --- within ---

    def _admitted(self, effects: Effects) -> Effects:
        """Override: see whether it may be sent again, and whether it has to wait."""
        effects = super()._admitted(effects)
        if self._forward.policies is not None:
            self._take_policies(self._forward)
        return self._in_turn(effects)

    def _in_turn(self, effects: Effects) -> Effects:
        """Take a place before a connection is asked for; without one, wait for it."""
        concurrency = self._concurrency
        if concurrency is None or self._place is not None or self.state is not State.OPENING:
            return effects
        self._place = self._gate.enter(self._forward, concurrency)
        self._queued_at = self._clock()
        if self._place.is_granted:
            self.attempt.queued_ms = 0.0
            return effects
        self._advance(Input.QUEUE)
        self._place.wait(self._on_turn)
        kept = [effect for effect in effects if not isinstance(effect, Open | Wake)]
        return [*kept, Wake(min(_POLL_SECONDS, concurrency.seconds))]

    def _queue(self, place: Place) -> Effects:
        """Go on if it is the request's turn; give up if it has waited for too long."""
        concurrency, now = self._concurrency, self._clock()
        assert concurrency is not None  # noqa: S101 -- it has a place
        self.attempt.queued_ms = (now - self._queued_at) * 1000
        if place.is_granted:
            self._advance(Input.DUE)
            self.attempt.last_activity = now
            self.attempt.note(concurrency.policy, "concurrency", "waited")
            return [Wake(self._left()), Open(self._forward.route.upstream)]
        if (left := self._queued_at + concurrency.seconds - now) > 0:
            return [Wake(min(_POLL_SECONDS, left))]
        self.attempt.note(concurrency.policy, "concurrency", "given up")
        refusal = queue_refusal(self._forward, concurrency, f"did not come to this one in {concurrency.seconds:g} s")
        return self._refuse(refusal, EndReason.REFUSED)

    def _refuse(self, refusal: Refusal, end_reason: EndReason, *, keep_open: bool = False) -> Effects:
        self._leave()
        return super()._refuse(refusal, end_reason, keep_open=keep_open)

    def _end(self, end_reason: EndReason) -> Effects:
        self._leave()
        return super()._end(end_reason)

    def session_end(self, end_reason: EndReason) -> Effects:
        """Override: give the place back."""
        self._leave()
        return super().session_end(end_reason)

    def _leave(self) -> None:
        if self._place is not None:
            self._place.leave()

    def _take_policies(self, forward: Forward) -> None:
        policies = forward.policies
        self._concurrency = policies.concurrency if policies is not None else None
        retries = policies.retries if policies is not None else None
        fallback = policies.fallback if policies is not None else None
        if fallback is not None and self._steps is None:
            self._steps = Steps(fallback, forward, self._head)
        if retries is None and self._steps is not None:
            retries = Retries(self._steps.policy, attempts=1)
        self._retries = None if self.attempt.request.asks_for_websocket else retries
        if retries is not None:
            self._kept, self._policy = [], retries.policy

    def _let_go(self, *, is_whole: bool) -> Effects:
        before = self._forward
        effects = super()._let_go(is_whole=is_whole)
        if self.state is State.OPENING and (self._forward is not before or self._steps is not None):
            self._steps = None
            self._take_policies(self._forward)  # its body may have led it elsewhere, or have changed its head
        return self._in_turn(effects)

    def _send(self) -> Effects:
        effects = super()._send()
        if self._retries is not None:
            self._keep([effect.data for effect in effects if isinstance(effect, SendRequestData)])
        return effects

    def _keep(self, pieces: list[bytes]) -> None:
        """Keep pieces that go out, within the bound."""
        if self._kept is not None:
            self._kept += pieces
            self._kept_bytes += sum(map(len, pieces))
            if self._kept_bytes > MOST_KEPT:
                self._kept = None

    def _left(self) -> float | None:
        """Return the seconds to the deadline; ``None``: there is none."""
        timeout = self._forward.caller.timeout
        return self.attempt.last_activity + timeout - self._clock() if timeout else None

    @contextmanager
    def _as_if_silent(self) -> Iterator[None]:
        """Let the deadline stand, whatever the provider sends: the client has nothing of it."""
        attempt, last_activity = self.attempt, self.attempt.last_activity
        yield
        attempt.last_activity = last_activity

    def _note_verdict(self, what: str) -> None:
        self.attempt.note(
            self._policy, "retries", f"{what}, {self._verdict}" if isinstance(self._verdict, str) else what
        )

    def _fall_back(self) -> None:
        """Look for where it may go instead of where it is sent no more."""
        left, is_whole = self._left(), self._trailers is not None
        if self._verdict in FALLING_BACK and self._steps is not None and is_whole and (left is None or left > 0):
            body = b"".join((*(self._kept or ()), self._held.whole))
            self._turn = self._steps.next(self._gate, body, self.attempt.request, self._forward)
            if self._turn is not None:
                self._verdict = 0.0

    def _go_elsewhere(self, turn: Turn, policy: str) -> None:
        """Send the next attempts there."""
        self.decision = self._forward = turn.forward
        self._identity = None  # what is answered there is no answer to what was asked
        self.attempt.request.lead(turn.forward, turn.model)
        self._head = turn.head
        self._held.take()
        if turn.body:
            self._held.add(turn.body)
        self._leave()
        self._place, self._earlier = None, self.attempt.number - 1
        self._take_policies(turn.forward)
        self.attempt.note(policy, "fallback", turn.words)

    def _wait(self) -> Effects:
        """Begin the next attempt, which goes out when the wait is over."""
        verdict, self._verdict = self._verdict, None
        seconds = verdict if isinstance(verdict, float) else 0.0
        rest = self._held.take()
        for piece in filter(None, (*(self._kept or ()), rest)):
            self._held.add(piece)
        effects = self._begin_again(seconds)
        turn, self._turn = self._turn, None
        if turn is not None and self._steps is not None:
            self._go_elsewhere(turn, self._steps.policy)
        else:
            self.attempt.note(self._policy, "retries", f"attempt {self.attempt.number}")
        return effects

    def _begin_again(self, seconds: float) -> Effects:
        """Begin the next attempt, with the head and the body that are held."""
        self._kept, self._kept_bytes, self._connected = [], 0, False
        self._advance(Input.AGAIN)
        before = self.attempt
        self.attempt = self._gate.again(self._key, before, last_activity=before.last_activity)
        self._due = self._clock() + seconds
        return [Wake(seconds)]
