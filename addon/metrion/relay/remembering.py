"""A relay that answers a request from a cache, where a policy keeps one and the request is the same as an earlier one.

Its body is held until it is whole. A hit has passed admission, rules and limits by then; it passes metering and
rewrites as if its provider had answered, and costs nothing. Of what a provider answers to the others, what is whole and
went well is kept, as it came.
"""

from __future__ import annotations

from metrion.model import Headers
from metrion.model.policies import Cache
from metrion.relay.caching import MOST_ANSWERED, MOST_ASKED, KeptAnswer, Wish, identity, kept, wish
from metrion.relay.effects import Effects, Open
from metrion.relay.gate import Cache as AnswerStore
from metrion.relay.relay import Relay
from metrion.relay.states import Input, State


class RememberingRelay(Relay):
    """See the module."""

    _cache: Cache | None = None
    _wish: Wish | None = None
    """``None``: the request has nothing to do with the cache."""
    _holds_alone = False
    """Nothing else needs the whole body."""
    _identity: bytes | None = None
    """What its answer is kept under; ``None``: it is not kept."""
    _reason = b""
    _headers: Headers = ()
    _pieces: list[bytes] | None = None
    """What has come of an answer that may be kept."""
    _size = 0

    def request_held(self, size: int = 0) -> Effects:
        """Override: a long body is not held for the cache's sake."""
        if self._holds_alone and self.state is State.HOLDING and max(size, self.attempt.request.bytes) > MOST_ASKED:
            self._note("the body is too long")
            return self._let_go(is_whole=False)
        return super().request_held(size)

    def response_head(self, status: int, reason: bytes, headers: Headers, *, ends: bool) -> Effects:
        """Override: begin to keep an answer."""
        if self._identity is not None and status == 200 and not ends:
            self._reason, self._headers, self._pieces, self._size = reason, headers, [], 0
        return super().response_head(status, reason, headers, ends=ends)

    def response_data(self, data: bytes) -> Effects:
        """Override: keep a piece."""
        if self._pieces is not None:
            self._pieces.append(data)
            self._size += len(data)
            if self._size > MOST_ANSWERED:
                self._pieces = None
        return super().response_data(data)

    def response_end(self, trailers: Headers = ()) -> Effects:
        """Override: keep the answer, if it is one."""
        pieces, self._pieces = self._pieces, None
        effects = super().response_end(trailers)
        if pieces and not trailers and self.attempt.went_well:
            self._keep_answer(pieces)
        return effects

    def _admitted(self, effects: Effects) -> Effects:
        """Override: hold the body of a request that may be answered from the cache, or whose answer may be kept."""
        policies = self._forward.policies
        if policies is None or policies.cache is None or self._ends or self._inbound.method != b"POST":
            return effects
        self._cache, self._wish = policies.cache, wish(self.attempt.request.fields, policies.cache)
        if self._wish is None or not self._advance(Input.HOLD):
            return effects
        self._holds_alone = True
        return [effect for effect in effects if not isinstance(effect, Open)]

    def _let_go(self, *, is_whole: bool) -> Effects:
        effects = super()._let_go(is_whole=is_whole)
        if self._wish is None or self.state is not State.OPENING:
            return effects
        if is_whole and not self._trailers and (cache := self._gate.cache) is not None:
            hit = self._found(self._wish, cache)
            if hit is not None:
                return self._answer_from(*hit)
        return effects

    def _found(self, wish: Wish, cache: AnswerStore) -> tuple[KeptAnswer, float] | None:
        """Look for the answer to a request that is whole; what is not found may be kept."""
        body = self._held.whole
        if len(body) > MOST_ASKED:
            self._note("the body is too long")
            return None
        place = identity(self._forward, self._inbound.method, self._head, body)
        hit = cache.find(place, wish.most_seconds) if wish.finds else None
        if hit is None:
            self._note("miss" if wish.finds else "not asked")
            self._identity = place if wish.keeps else None
        return hit

    def _keep_answer(self, pieces: list[bytes]) -> None:
        store, place = self._gate.cache, self._identity
        if store is not None and place is not None and self._cache is not None:
            answer = kept(self._reason, self._headers, pieces, self._forward.route.request_id_headers)
            store.keep(place, answer, self._cache.megabytes << 20)

    def _answer_from(self, answer: KeptAnswer, age: float) -> Effects:
        self._note("hit")
        self._held.take()
        self.attempt.answer_from_cache()
        headers = (*answer.headers, (b"x-metrion-cache", b"HIT"), (b"age", b"%d" % age))
        effects = self.response_head(200, answer.reason, headers, ends=False)
        for piece in answer.pieces:
            effects += self.response_data(piece)
        return effects + self.response_end()

    def _note(self, words: str) -> None:
        if self._cache is not None:
            self.attempt.note(self._cache.policy, "cache", words)
