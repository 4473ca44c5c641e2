"""A relay that sends embeddings together with those of other requests, where a policy says so.

Its body is held until it is whole, then it waits for others in a :class:`~metrion.relay.batch.Batch`. One of them
leads: its request goes out with the inputs of all, its answer is split, and each relay has a part to hand on. Whatever
goes wrong with that, each request goes out by itself, as if nothing had been; the one that led has sent twice then,
and has an event for both. A request has passed admission, rules and limits by itself before it waits.
"""

from __future__ import annotations

import hashlib

from metrion.admission.codes import UPSTREAM_UNREACHABLE
from metrion.endpoints import EMBEDDINGS
from metrion.model import EndReason, Head, Headers, Refusal
from metrion.model.policies import Batching
from metrion.parsing.content_codings import DecodingError, decoder
from metrion.relay.batch import Alone, Refused, Seat, Share
from metrion.relay.batch_bodies import FORMAT, UnsplittableError, combined, read_inputs, split
from metrion.relay.caching import identity
from metrion.relay.effects import AbortRequest, Effects, Open, Wake
from metrion.relay.own_answers import timed_out
from metrion.relay.persistent import PersistentRelay
from metrion.relay.request import header
from metrion.relay.retries import DROPPING_SECONDS
from metrion.relay.rewrites import replaced, why_unread
from metrion.relay.states import Input, State

_MOST_ANSWERED = 32 << 20
"""How many bytes of an answer to a batch are read."""
_OF_THE_WHOLE = frozenset({b"connection", b"content-encoding", b"content-length", b"keep-alive", b"transfer-encoding"})
"""Header fields that are of the answer to a batch, and not of a part of it."""


class GatheringRelay(PersistentRelay):
    """See the module."""

    _may_join = False
    """Its body is whole, and it has not waited for others yet."""
    _seat: Seat | None = None
    """Where it waits for others, or leads them; ``None``: it has to do with no batch, or no more."""
    _own: tuple[Head, bytes] | None = None
    """While it leads, what it came with; ``None``: it leads no batch."""
    _came: tuple[int, bytes, Headers] | None = None
    """The head of the answer to the batch."""
    _pieces: list[bytes]
    """Its body, as far as it has come."""
    _bytes = 0
    _policy_of_batch = ""

    # --- the provider ---

    @property
    def may_send_again(self) -> bool:
        """Override: what leads others, too."""
        return self._own is not None or super().may_send_again

    def drops(self, status: int, headers: Headers) -> bool:
        """Override: no answer to a batch is handed on as it is."""
        return self._own is not None or super().drops(status, headers)

    def survives(self, why: str | None) -> bool:
        """Override: after whatever happens to a batch, its requests go out by themselves."""
        return self._own is not None or super().survives(why)

    def interim(self, status: int, reason: bytes, headers: Headers) -> Effects:
        """Override: this is for nobody in particular."""
        return [] if self._own is not None else super().interim(status, reason, headers)

    def response_head(self, status: int, reason: bytes, headers: Headers, *, ends: bool) -> Effects:
        """Override: begin to read the answer to a batch."""
        if self._own is None or self._seat is None:
            return super().response_head(status, reason, headers, ends=ends)
        self._came = status, reason, headers
        self._seat.batch.last_activity = self._clock()
        if status == 101 or not self._advance(Input.GATHER):
            return [AbortRequest(), *self._scatter("the answer is none")]
        return [] if status == 200 else [Wake(DROPPING_SECONDS)]

    def response_data(self, data: bytes) -> Effects:
        """Override: read a piece of it."""
        if self.state is not State.SPLITTING or self._seat is None:
            return super().response_data(data)
        self._seat.batch.last_activity = self._clock()
        self._pieces.append(data)
        self._bytes += len(data)
        return [AbortRequest(), *self._scatter("the answer is too long")] if self._bytes > _MOST_ANSWERED else []

    def response_end(self, trailers: Headers = ()) -> Effects:
        """Override: it is whole."""
        if self.state is not State.SPLITTING or self._came is None:
            return super().response_end(trailers)
        status, reason, headers = self._came
        if status != 200:
            return self._scatter(str(status))
        try:
            return self._hand_out(reason, headers)
        except (UnsplittableError, DecodingError) as error:
            return self._scatter(str(error))

    def upstream_failed(self, why: str | None) -> Effects:
        """Override: the batch has no answer."""
        if self.state is State.GATHERED:
            return []
        if self._own is not None and self.state is not State.QUEUED:
            return self._scatter("not sent whole" if self.state in (State.OPENING, State.ASKING) else "cut")
        return super().upstream_failed(why)

    # --- time ---

    def time_passed(self, *, client_is_slow: bool) -> Effects:
        """Override: the batch may be due, or have an outcome."""
        seat = self._seat
        if seat is not None and self.state is State.GATHERED:
            return self._look(seat)
        if seat is None or self.state is not State.SPLITTING:
            return super().time_passed(client_is_slow=client_is_slow)
        if self._came is not None and self._came[0] != 200:
            return [AbortRequest(), *self._scatter(str(self._came[0]))]
        left = self._left_of(seat)
        if left is None or left > 0:
            return [Wake(left)]
        return [AbortRequest(), *self._refuse(timed_out(self._forward, was_sent=True), EndReason.TIMEOUT)]

    # --- within ---

    def _admitted(self, effects: Effects) -> Effects:
        """Override: hold a body that may go out with others."""
        batching = self._batching
        if batching is not None and not self._ends:
            if (why := why_unread(self._inbound.headers)) is not None:
                self.attempt.note(batching.policy, "batching", f"alone: {why}")
            elif self._advance(Input.HOLD):
                self._holds_alone = True
                effects = [effect for effect in effects if not isinstance(effect, Open)]
        return super()._admitted(effects)

    @property
    def _batching(self) -> Batching | None:
        """What a policy asks for, where the request is one of embeddings."""
        policies, route = self._forward.policies, self._forward.route
        is_embedding = route.operation is EMBEDDINGS and route.dialect == FORMAT and self._inbound.method == b"POST"
        return policies.batching if policies is not None and is_embedding else None

    def _let_go(self, *, is_whole: bool) -> Effects:
        self._may_join = is_whole and not self._trailers
        return super()._let_go(is_whole=is_whole)

    def _in_turn(self, effects: Effects) -> Effects:
        """Override: wait for others, and only then for a place."""
        may_join, self._may_join = self._may_join, False
        return self._joined(effects) if may_join and self.state is State.OPENING else super()._in_turn(effects)

    def _joined(self, effects: Effects) -> Effects:
        """Take a seat in a batch."""
        batching = self._batching
        if batching is None:
            return super()._in_turn(effects)
        inputs = read_inputs(self._held.whole, batching.inputs)
        if isinstance(inputs, str):
            self.attempt.note(batching.policy, "batching", f"alone: {inputs}")
            return super()._in_turn(effects)
        self._policy_of_batch = batching.policy
        caller, now = self._forward.caller, self._clock()
        whose = b"%s %d " % (repr((caller.token_name, batching.policy)).encode(), inputs.are_tokens)
        same = identity(self._forward, self._inbound.method, self._head, whose + inputs.others)
        self._advance(Input.GATHER)
        key, on_sent = hashlib.sha256(same).digest(), self.attempt.request_head_sent
        seat = self._seat = self._gate.gathering.join(key, inputs, batching, now, self._on_turn, on_sent)
        kept: Effects = [effect for effect in effects if not isinstance(effect, Open | Wake)]
        return [*kept, *self._look(seat)] if seat.is_first or seat.batch.due <= now else kept

    def _look(self, seat: Seat) -> Effects:
        """See what becomes of the batch."""
        batch, now = seat.batch, self._clock()
        match seat.outcome:
            case Share() as share:
                return self._answer_with(share)
            case Alone(why):
                return self._go_alone(why)
            case Refused(refusal, end_reason):
                return self._refuse(refusal, end_reason)
        if not batch.is_led:
            return self._lead(seat) if batch.due <= now else [Wake(batch.due - now)]
        left = self._left_of(seat)
        if left is None or left > 0:
            return [Wake(left)]
        return self._refuse(timed_out(self._forward, was_sent=True), EndReason.TIMEOUT)

    def _lead(self, seat: Seat) -> Effects:
        """Send the request, with the inputs of the others behind its own."""
        batch = seat.batch
        batch.lead(seat, self.attempt.request.id.hex, self._clock())
        if len(batch.seats) == 1:
            return self._go_alone("")
        body, head = self._held.whole, self._head
        self._own, self._pieces = (head, body), []
        whole = combined(body, seat.inputs, [other.inputs for other in batch.seats[1:]])
        self._held.replace(whole)
        self._head = Head(head.target, replaced(head.headers, b"content-length", b"%d" % len(whole)))
        self._advance(Input.DUE)
        return super()._in_turn([Wake(self._left()), Open(self._forward.route.upstream)])

    def _send(self) -> Effects:
        if self._own is not None and self._seat is not None:
            self._seat.batch.sent(self._clock())
        return super()._send()

    def _left_of(self, seat: Seat) -> float | None:
        """Return the seconds to the deadline of a batch; ``None``: there is none."""
        timeout, batch = self._forward.caller.timeout, seat.batch
        if not timeout:
            return None
        return batch.last_activity + timeout - self._clock() if batch.is_sent else timeout

    def _hand_out(self, reason: bytes, headers: Headers) -> Effects:
        """Give each request of the batch its part of the answer; hand on this one's.

        :raises UnsplittableError: it is no answer to all of them.
        :raises DecodingError: it cannot be read.
        """
        seat = self._seat
        assert seat is not None  # noqa: S101 -- it leads
        plain: list[bytes] = []
        decoding = decoder(header(headers, b"content-encoding"), plain.append)
        for piece in self._pieces:
            decoding.feed(piece)
        decoding.finish()
        bodies = split(b"".join(plain), [each.inputs for each in seat.batch.seats])
        kept = tuple(field for field in headers if field[0].lower() not in _OF_THE_WHOLE)
        own, *others = (Share(reason, (*kept, (b"content-length", b"%d" % len(body))), body) for body in bodies)
        seat.batch.finish(others)
        self._advance(Input.GATHER)
        return self._answer_with(own)

    def _answer_with(self, share: Share) -> Effects:
        """Hand on a part of the answer to the batch."""
        self._leave_batch()
        self._held.take()
        self.attempt.take_share()
        effects = self.response_head(200, share.reason, share.headers, ends=False)
        return effects + self.response_data(share.body) + self.response_end()

    def _scatter(self, why: str) -> Effects:
        """Have each request of the batch go out by itself; this one has been sent, and begins again."""
        seat, own = self._seat, self._own
        assert seat is not None  # noqa: S101 -- it leads
        assert own is not None  # noqa: S101 -- as above
        seat.batch.finish([Alone(why)] * (len(seat.batch.seats) - 1))
        came, pieces = self._came, self._pieces
        policy = self._leave_batch(why)
        with self._as_if_silent():
            if came is not None:
                self.attempt.response_head(self._forward.route, came[0], came[2])
                self.attempt.response_data(b"".join(pieces))
            else:
                self.attempt.failed(UPSTREAM_UNREACHABLE.code)
        self._held.take()
        self._head, body = own
        self._held.add(body)
        effects = self._begin_again(0.0)
        self._earlier = self.attempt.number - 1
        self.attempt.note(policy, "batching", f"alone: {why}")
        return effects

    def _go_alone(self, why: str) -> Effects:
        """Send the request as it came; it has not been sent yet."""
        policy = self._leave_batch()
        self.attempt.reached_upstream = False  # what came of the batch is in the row of the one that led it
        self.attempt.note(policy, "batching", f"alone: {why}" if why else "alone")
        self._advance(Input.DUE)
        return super()._in_turn([Wake(self._left()), Open(self._forward.route.upstream)])

    def _leave_batch(self, why: str = "") -> str:
        """Have no more to do with the batch; return the policy's name."""
        seat, self._seat, self._own, self._came, self._pieces = self._seat, None, None, None, []
        if seat is not None and seat.batch.is_led:
            self.attempt.note(self._policy_of_batch, "batching", "; ".join(filter(None, (seat.words, why))))
        return self._policy_of_batch

    def _refuse(self, refusal: Refusal, end_reason: EndReason, *, keep_open: bool = False) -> Effects:
        if self._own is not None and self._seat is not None:
            batch = self._seat.batch
            batch.finish([Refused(refusal, end_reason)] * (len(batch.seats) - 1))
        return super()._refuse(refusal, end_reason, keep_open=keep_open)

    def _leave(self) -> None:
        super()._leave()
        if (seat := self._seat) is not None:
            self._leave_batch()
            seat.leave()
