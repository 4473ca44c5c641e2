"""The relay: one request and its response, between a client and a provider. Sans-IO; it holds all policy.

Whoever owns the connections calls a method for what happens, and carries out the effects that it returns, in order:

* what the client sends: ``request_head``, ``request_data``, ``request_end``, ``client_gone``;
* what the provider does: ``connected``, ``interim``, ``response_head``, ``response_data``, ``response_end``,
  ``upstream_failed``;
* time: ``time_passed``, when the :class:`~metrion.relay.effects.Wake` says so.

Bodies come and go without their framing, in pieces of any size. The effect that writes the event comes before the bytes
that complete the response for its client. An input that comes too late, or out of turn, changes nothing. Nothing here
raises on what a stranger sent, waits, or looks at a connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from metrion.admission import trailers_out
from metrion.admission.cors import allowed_origin, allowing
from metrion.admission.refusals import error_event, render
from metrion.model import Answer, EndReason, Forward, Head, Headers, Inbound, Refusal
from metrion.parsing.content_codings import DecodingError
from metrion.relay.attempt import Attempt
from metrion.relay.body_gate import BodyGate
from metrion.relay.effects import (
    AbortRequest,
    AbortResponse,
    Effects,
    EndRequest,
    EndResponse,
    Estimate,
    Finish,
    Open,
    Record,
    SendInterim,
    SendRequest,
    SendRequestData,
    SendResponse,
    SendResponseData,
    Wake,
)
from metrion.relay.gate import Gate
from metrion.relay.held_body import HeldBody
from metrion.relay.own_answers import timed_out, unreachable, whole_response
from metrion.relay.rewrites import HeldResponse, Rewrite, give_up, rewritten, suiting
from metrion.relay.states import BEGUN, HOLDS, NEXT, STANDS, UNDER_WAY, Input, State
from metrion.relay.told import telling

UNREAD_BODY_BYTES = 1_000_000
UNREAD_BODY_SECONDS = 2.0
"""How much of a refused request is read and dropped, and for how long, before its connection is closed.

A reset would destroy an answer that the client has not read yet.
"""


class Relay:
    """See the module. ``key`` names the request to the gate."""

    attempt: Attempt
    """Set with the head, unless the answer is Metrion's own and not a refusal."""
    decision: Forward | Refusal | Answer
    """Set with the head."""

    def __init__(self, gate: Gate, key: object, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.state = State.NEW
        self._gate = gate
        self._key = key
        self._clock = clock
        self._inbound: Inbound
        self._forward: Forward
        self._head: Head
        """The head that goes out."""
        self._ends = False
        """The request has no body."""
        self._held = HeldBody(gate.room)
        """Pieces of the body that cannot go out yet."""
        self._body_gate = BodyGate(gate)
        self._trailers: Headers | None = None
        """Set when the client's request is whole."""
        self._connected = False
        self._rewrites: list[Rewrite] = []
        self._held_response: HeldResponse | None = None
        self._cors_origin: bytes | None = None
        self._unread = 0

    @property
    def reads_body(self) -> bool:
        """Whether more of the request can go on now; if not, its client has to wait."""
        return self.state not in STANDS

    # --- the client ---

    def request_head(
        self,
        inbound: Inbound,
        *,
        ends: bool,
        began: float,
        trouble: Callable[[Forward], Refusal | None] | None = None,
        intercepted: bool = False,
    ) -> Effects:
        """Decide about a request. ``ends``: it has no body. ``trouble`` may refuse one that is admitted."""
        decision = self._gate.decide(inbound, intercepted=intercepted)
        if isinstance(decision, Forward):
            refusal = trouble(decision) if trouble is not None else None
            decision = refusal or self._body_gate.head(decision, inbound, ends=ends)
        if not isinstance(decision, Forward):
            return self.answer(inbound, decision, ends=ends, began=began)
        self.decision = self._forward = decision
        self._inbound, self._ends, self._head = inbound, ends, decision.wire
        self.attempt = self._gate.begin(self._key, inbound, decision, began=began)
        if ends:
            self._trailers = ()
        effects: Effects = []
        self._rewrites = suiting(decision, inbound)
        holds = self._body_gate.waits or (not ends and any(rewrite.reads_body for rewrite in self._rewrites))
        if self._rewrites and not holds:
            self._rewrite_request()
        if not ends and self.attempt.request.fields.get(b"expect", b"").lower() == b"100-continue":
            effects.append(SendInterim(100, b"Continue", ()))
        if origins := self._gate.cors_origins:
            self._cors_origin = allowed_origin(inbound, origins)
        if decision.caller.timeout:
            effects.append(Wake(decision.caller.timeout))
        self.state = State.HOLDING if holds else State.OPENING
        return self._admitted(effects if holds else [*effects, Open(decision.route.upstream)])

    def answer(self, inbound: Inbound, decision: Refusal | Answer, *, ends: bool, began: float) -> Effects:
        """Answer a request without any provider."""
        self.decision, self._inbound, self._ends = decision, inbound, ends
        self._trailers = () if ends else None
        if isinstance(decision, Answer):
            self._gate.answered(inbound, decision, began=began)
            return self._own_response(decision)
        self.attempt = self._gate.begin(self._key, inbound, decision, began=began)
        return self._refuse(decision, EndReason.REFUSED)

    def request_data(self, data: bytes) -> Effects:
        """Take a piece of the body."""
        if self.state is State.UNREAD:
            return self.unread(len(data))
        if self.state not in UNDER_WAY:
            return []
        self.attempt.request_data(data)
        if self.state in HOLDS:
            self._held.add(data)
            return self.request_held() if self.state is State.HOLDING else []
        return [SendRequestData(data)]

    def request_held(self, size: int = 0) -> Effects:
        """Note that a body is held; ``size``: how much its shell has of it, which will call ``request_data`` later."""
        if self.state is not State.HOLDING:
            return []
        self.attempt.last_activity = self._clock()
        return [] if self._held.fits(size) else self._let_go(is_whole=False)

    def request_end(self, trailers: Headers = ()) -> Effects:
        """End the request, which is whole. Only those of its trailers go out that may."""
        before = self.state
        if not self._advance(Input.REQUEST_END):
            return []
        self._trailers = trailers = trailers_out(trailers) if trailers else ()
        match before:
            case State.HOLDING:
                return self._let_go(is_whole=True)
            case State.UNREAD:
                return [Wake(None), Finish(keep_open=False)]
            case State.OPENING | State.WAITING | State.QUEUED:
                return []
        return [EndRequest(trailers)]

    def client_gone(self) -> Effects:
        """End everything: the client has hung up."""
        if self.state in UNDER_WAY:
            effects = self._end(EndReason.CLIENT_ABORT)
            self.state = State.OVER
            return [*effects, AbortRequest(), AbortResponse(), Wake(None), Finish(keep_open=False)]
        return self.close() if self.state is State.UNREAD else []

    def unread(self, size: int) -> Effects:
        """Count bytes, on the wire, of a request that has been answered."""
        self._unread += size
        return self.close() if self.state is State.UNREAD and self._unread > UNREAD_BODY_BYTES else []

    def close(self) -> Effects:
        """End a request that has been answered, and read no more of it."""
        self.state = State.OVER
        return [Wake(None), AbortResponse(), Finish(keep_open=False)]

    # --- the provider ---

    def connected(self) -> Effects:
        """Send what there is of the request: the connection to the provider is open."""
        self._connected = True
        return self._send() if self.state is State.OPENING else []

    def interim(self, status: int, reason: bytes, headers: Headers) -> Effects:
        """Pass on an interim response, except ``100 Continue``, which the relay has sent already."""
        waits = self.state in (State.ASKING, State.ASKED)
        return [SendInterim(status, reason, headers)] if waits and status != 100 else []

    def response_head(self, status: int, reason: bytes, headers: Headers, *, ends: bool) -> Effects:
        """Take the head of the response. ``ends``: it has no body; ``response_end`` follows in any case."""
        if status == 101 and not (self.attempt.request.asks_for_websocket and self.state is State.ASKED):
            return [AbortRequest(), *self.upstream_failed("it switched protocols, which nobody had asked for")]
        if not self._advance(Input.UPGRADE if status == 101 else Input.RESPONSE_HEAD):
            return []
        self.attempt.response_head(self._forward.route, status, headers)
        headers += self._forward.adds
        if self._cors_origin is not None:
            headers += allowing(self._cors_origin, headers)
        if self._forward.policies is not None:
            headers += telling(self._forward, self.attempt)
        as_it_came = SendResponse(status, reason, headers, ends)
        for rewrite in reversed(self._rewrites):
            headers = rewrite.response_head(status, headers)
        effects: Effects = []
        if status == 101:
            effects.append(Wake(None))
        elif ends:
            effects = self._end(EndReason.COMPLETE)
        head = SendResponse(status, reason, headers, ends)
        if not ends and any(rewrite.holds_response for rewrite in self._rewrites):
            self._held_response = HeldResponse(head, as_it_came)
        else:
            effects.append(head)
        return effects

    def response_data(self, data: bytes) -> Effects:
        """Take a piece of the body."""
        if self.state not in BEGUN:
            return []
        attempt = self.attempt
        attempt.response_data(data)
        if self._held_response is not None:
            if self._held_response.add(data):
                return []
            held, self._held_response, self._rewrites = self._held_response, None, []
            return held.unchanged()
        if self._rewrites:
            try:
                for rewrite in reversed(self._rewrites):
                    data = rewrite.response_data(data)
            except DecodingError:  # nor could the client have read it
                return [AbortRequest(), *self.cut(EndReason.UPSTREAM_ERROR)]
        if attempt.is_complete and not attempt.finished:
            effects = self._end(EndReason.COMPLETE)
            if data:
                effects.append(SendResponseData(data))
            return effects
        return [SendResponseData(data)] if data else []

    def response_end(self, trailers: Headers = ()) -> Effects:
        """End the response, which is whole."""
        early = self.state is State.ANSWERING_EARLY
        if not self._advance(Input.RESPONSE_END):
            return []
        effects = [*self._end(EndReason.COMPLETE), *self._rest(), EndResponse(trailers)]
        # It does not wait for the rest of the request: the client may send that only after the response.
        effects += [AbortRequest(), Wake(UNREAD_BODY_SECONDS)] if early else [Wake(None), Finish()]
        return effects

    def upstream_failed(self, why: str | None) -> Effects:
        """Answer for a provider that failed, or cut its answer. ``why``: fit to be shown; ``None``: no HTTP."""
        if self.state not in UNDER_WAY:
            return []
        if self.state in BEGUN:
            return self.cut(EndReason.UPSTREAM_ERROR, self._rest(whole=False))
        return self._refuse(unreachable(self._forward, why, was_sent=self._was_sent), EndReason.UPSTREAM_ERROR)

    def cut(self, end_reason: EndReason, rest: Effects | None = None) -> Effects:
        """End a response in its middle, so that the client sees that it is not whole. ``rest``: what still goes out."""
        effects = self._end(end_reason)
        if rest is None and self._held_response is not None:
            rest = self._rest(whole=False)
        self.state = State.OVER
        return [*effects, *(rest or ()), AbortResponse(), Wake(None), Finish(keep_open=False)]

    def session_end(self, end_reason: EndReason) -> Effects:
        """End the request of a WebSocket session that is over."""
        if self.state is not State.UPGRADED:
            return []
        self.state = State.OVER
        return [Record(end_reason), Finish(keep_open=False)]

    # --- time ---

    def time_passed(self, *, client_is_slow: bool) -> Effects:
        """Do what is due. ``client_is_slow``: bytes wait for the client; then the silence is not the provider's."""
        if self.state is State.UNREAD:
            return self.close()
        if self.state not in UNDER_WAY or self.state is State.UPGRADED:
            return []
        timeout = self._forward.caller.timeout or 0
        left = self.attempt.last_activity + timeout - self._clock()
        if left > 0 or client_is_slow or self.attempt.is_estimating:
            return [Wake(left if left > 0 else timeout)]
        refusal = timed_out(self._forward, was_sent=self._was_sent)
        if self.state not in BEGUN:
            return [AbortRequest(), *self._refuse(refusal, EndReason.TIMEOUT)]
        if not self.attempt.takes_events:
            return [AbortRequest(), *self.cut(EndReason.TIMEOUT)]
        early = self.state is State.ANSWERING_EARLY
        effects = self._end(EndReason.TIMEOUT)
        self.state = State.UNREAD if early else State.OVER
        error = SendResponseData(error_event(refusal))
        after = Wake(UNREAD_BODY_SECONDS) if early else Finish()
        return [AbortRequest(), *effects, error, EndResponse(), Wake(None), after]

    # --- within ---

    def _admitted(self, effects: Effects) -> Effects:
        """Return what is done at first for a request that goes out: the place for policies that wait with it."""
        return effects

    def _advance(self, event: Input) -> bool:
        following = NEXT.get((self.state, event))
        if following is None:
            return False
        self.state = following
        return True

    def _let_go(self, *, is_whole: bool) -> Effects:
        """Let the body that is held go on, if it may; one that is not whole goes on as it came."""
        if self._body_gate.waits:
            decision = self._body_gate.body(self._forward, self._held, is_whole=is_whole)
            if isinstance(decision, Refusal):
                self.attempt.request.leave_unread()  # a refusal has a model only where it stands in the path
                return self._refuse(decision, EndReason.REFUSED, keep_open=is_whole)
            self._rewrites = suiting(decision, self._inbound)
            self.attempt.request.judge(decision)
            self.decision = self._forward = decision
            self._head = decision.wire
        if is_whole:
            self._rewrite_request()
        else:
            give_up(self._rewrites, self.attempt.request)
            self._rewrites, self.state = [], State.OPENING
        return self._send() if self._connected else [Open(self._forward.route.upstream)]

    def _send(self) -> Effects:
        """Begin to send the request, with the pieces that have come."""
        self._advance(Input.CONNECTED)
        held = self._held.take()
        effects: Effects = [SendRequest(self._inbound.method, self._head, self._ends)]
        self.attempt.request_head_sent()
        if held:
            effects.append(SendRequestData(held))
        if self._trailers is not None:
            self._advance(Input.REQUEST_END)
            effects.append(EndRequest(self._trailers))
        return effects

    def _rewrite_request(self) -> None:
        """Rewrite the body that is held, and its head. A rewrite that changes nothing leaves the response alone too."""
        request = self.attempt.request
        self._rewrites, self._head, body = rewritten(self._rewrites, self._head, self._held.whole, request)
        self._held.replace(body)

    def _end(self, end_reason: EndReason) -> Effects:
        """Return the effects that lead to the event, with an estimate where nobody reported tokens."""
        attempt = self.attempt
        self._held.take()
        if attempt.finished:
            return []
        if not attempt.is_estimating and attempt.wants_estimate(end_reason):
            return [Estimate(), Record(end_reason)]
        return [Record(end_reason)]

    def _rest(self, *, whole: bool = True) -> Effects:
        """Return what rewrites have held back of the response. ``whole``: nothing of it is missing."""
        if (held := self._held_response) is not None:
            self._held_response = None
            return held.rewritten(self._rewrites) if whole else held.unchanged()
        rest = b""
        for rewrite in reversed(self._rewrites):
            rest = (rewrite.response_data(rest) if rest else b"") + rewrite.response_end()
        return [SendResponseData(rest)] if rest else []

    @property
    def _was_sent(self) -> bool:
        """Whether the provider has the whole request, and the client nothing of a response."""
        return self.state is State.ASKED

    def _refuse(self, refusal: Refusal, end_reason: EndReason, *, keep_open: bool = False) -> Effects:
        answer = render(refusal)
        self.attempt.own_response(refusal, len(answer.body))
        return [Record(end_reason), *self._own_response(answer, keep_open=keep_open)]

    def _own_response(self, answer: Answer, *, keep_open: bool = False) -> Effects:
        """Send a response of Metrion's own at once, however much of the request is still to come."""
        self._held.take()
        whole = self._trailers is not None
        keep_open = keep_open or (self._ends and self.state is State.NEW)
        self.state = State.OVER if whole else State.UNREAD
        effects = whole_response(answer, self._inbound.method, closes=not keep_open)
        return [*effects, *([Wake(None), Finish(keep_open)] if whole else [Wake(UNREAD_BODY_SECONDS)])]
