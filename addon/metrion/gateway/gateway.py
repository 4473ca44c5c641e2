"""What the proxy knows and decides, whichever road a request takes: head in, decision out, one event per request.

Fails closed: whatever goes wrong on the way to a decision, the request is refused. Lives on one event loop.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Hashable, Iterable
from dataclasses import replace
from functools import partial

import metrion
from metrion.admission import BlindTunnel, admit, admit_blind, admit_tunnel
from metrion.admission.budgets import may_cost
from metrion.admission.codes import BAD_REQUEST, INTERNAL, NOT_A_PROVIDER, UNKNOWN_ROUTE
from metrion.admission.cors import preflight
from metrion.admission.limits import queue_refusal
from metrion.admission.limits import refusal as limit_refusal
from metrion.admission.outgoing_head import key_digest
from metrion.admission.policy_book import PolicyBook
from metrion.admission.routing import Endpoint, Router
from metrion.admission.rules import judge_body
from metrion.admission.runaways import refusal as runaway_refusal
from metrion.admission.runaways import warned
from metrion.admission.welcome import welcome
from metrion.budgets.enforcement import Enforcement
from metrion.budgets.guard import Guard
from metrion.control import ControlStore, make_fingerprint
from metrion.control.answer_cache import AnswerCache
from metrion.control.counters import Counters
from metrion.control.generations import Generations
from metrion.control.key_use import KeyUse
from metrion.control.places import Place, Places
from metrion.faults import log_fault
from metrion.gateway.falling_back import cheaper, fallen_back
from metrion.gateway.health import budget_gauges, gauges, health
from metrion.gateway.label_warnings import LabelWarnings
from metrion.gateway.metrics_access import MetricsAccess
from metrion.gateway.mistakes import Mistakes
from metrion.gateway.model_warnings import ModelWarnings
from metrion.gateway.rerouting import Rerouting
from metrion.gateway.scoreboard import Slot
from metrion.journal.writer import Journal
from metrion.logs.request_log import RequestLog
from metrion.metrics import Recording
from metrion.metrics.exposition import content_type_for, render
from metrion.metrics.otlp import exporter_of
from metrion.model import Answer, Asked, EndReason, Event, Forward, Inbound, Refusal, Route
from metrion.model.policies import Concurrency, Step
from metrion.pricing import PriceBook
from metrion.relay.attempt import Attempt
from metrion.relay.batch import Gathering
from metrion.relay.held_body import Room
from metrion.relay.recorder import Recorder
from metrion.relay.request import Request
from metrion.settings import Settings

logger = logging.getLogger(__name__)

_METERING = "METRION_METERING"
"""If this environment variable is ``off``, requests are decided and counted, but not recorded: to measure metering."""


class Gateway:
    """The one object behind all connections of a process.

    ``slot``: this process's own figures on the scoreboard. ``log``: what is written about requests; nothing by default.
    ``prices``: those of the settings, where they are read already.
    """

    def __init__(
        self, settings: Settings, slot: Slot, log: RequestLog | None = None, prices: PriceBook | None = None
    ) -> None:
        self.log = log or RequestLog()
        self._slot = slot
        self.live: dict[Hashable, Attempt] = {}
        """Requests that are not over on the wire, whether they have their event or not."""
        self.tunnels: dict[str, bytes] = {}
        """The token that identifies a client connection's tunnel, by mitmproxy's id of the connection."""
        self.room = Room()
        """Where bodies are held."""
        self.gathering = Gathering()
        """Where requests wait to go out as one."""
        prices = prices or PriceBook.load(settings.pricing, without_allowance=settings.without_allowance)
        self._control = ControlStore.open(settings)
        access = self._control.access_snapshot()  # a key that does not open is an error now, not at every request
        self._counters = Counters(settings.counters_dir)
        self._key_use = KeyUse(settings.key_use_dir)
        self._generations = Generations(settings.generations_db)
        self._places = Places(settings.places_dir)
        self.cache: AnswerCache | None = None
        """Where answers are kept, once a policy has asked for it."""
        self._journal = Journal(settings.journal_dir, on_change=slot.note_events)
        self._budgets = access.budgets
        """As the last decision saw them."""
        self._enforcement = Enforcement(settings.budgets_dir, self._journal.writer, prices, settings.timezone)
        self._guard = Guard(settings.guard, settings.guard_dir)
        self._ending: Forward | Refusal | None = None
        """What the request was decided to be whose event is being written."""
        self._metrics = Recording(slot.metrics, settings.metrics)
        self._otlp = exporter_of(settings)
        self._metrics_access = MetricsAccess(self._control.admin_of)
        self._recorder = Recorder(prices, self._write, self._generations)
        self._use(settings)
        self._mistakes = Mistakes(settings, slot)
        self._home = make_fingerprint(settings)
        self._label_warnings = LabelWarnings()
        self._model_warnings = ModelWarnings()
        self._meters = os.environ.get(_METERING) != "off"

    def reload(self, settings: Settings, prices: PriceBook) -> None:
        """Work by other settings and prices from the next request on. What is in flight goes on as it was decided."""
        self._control.use_environment_keys(settings.environment_keys)
        self._recorder.prices = prices
        self._use(settings)

    def _use(self, settings: Settings) -> None:
        self.settings = settings
        self.router = Router(settings)
        self._rerouting = Rerouting(self.router, PolicyBook(settings.policies)) if settings.policies else None
        self._enforcement.use(self._recorder.prices, shows_remaining=settings.budgets.remaining_header)
        self._guard.use(settings.guard)
        self.log.use(settings)
        if self.cache is None:
            self.cache = self._answer_cache()

    def _answer_cache(self) -> AnswerCache | None:
        """Return the cache of answers, where a policy asks for one."""
        if not any(policy.asked.cache for policy in self.settings.policies):
            return None
        return AnswerCache(self.settings.cache_db, self._control.cache_secret())

    @property
    def cors_origins(self) -> Collection[str]:
        """Whose pages may see responses."""
        return self.settings.cors.origins

    def decide(self, inbound: Inbound, *, intercepted: bool = False) -> Forward | Refusal | Answer:
        """Decide what happens to a request. Never raises. ``intercepted``: its client does not know of the proxy."""
        route: Route | Endpoint | Refusal | None = None
        try:
            if answer := preflight(inbound, self.settings.cors.origins):
                return answer
            route = self.router.route(inbound)
            if isinstance(route, Refusal):
                if route.provider is None and route.code == UNKNOWN_ROUTE.code:
                    self._mistakes.note(inbound)
                return route
            if isinstance(route, Endpoint):
                return self._answer(route, inbound)
            account = self.settings.intercept.account if intercepted else None
            access, plans = self._control.access_snapshot(), self.settings.plans
            self._budgets, self._guard.own = access.budgets, access.guards
            if (rerouting := self._rerouting) is None:
                decision = admit(inbound, route, access, plans, intercepted=account)
            else:
                book = rerouting.book
                admitting = partial(admit, inbound, access=access, plans=plans, policies=book, intercepted=account)
                decision = rerouting.admitted(inbound, route, admitting, access)
            if self._guard.is_on and isinstance(decision, Forward):
                decision = replace(decision, may_cost=may_cost(decision, inbound))
            return access.budgets.bind(decision, inbound) if access.budgets else decision
        except Exception as error:  # noqa: BLE001 -- authentication fails closed, whatever the fault is
            return _fault(error, route if isinstance(route, Route) else None)

    def decide_tunnel(
        self, inbound: Inbound, *, trouble: str | None = None, may_be_blind: bool = False
    ) -> Refusal | BlindTunnel | bytes | None:
        """Refuse a CONNECT, or return the token that identifies its tunnel, if any. Never raises.

        ``trouble``: why there are no tunnels where it came. ``may_be_blind``: where the settings say so, the tunnel to
        a host that is no provider's may be a blind one.
        """
        try:
            origin = inbound.origin
            if origin is None or not origin.host:
                return Refusal(BAD_REQUEST, "A CONNECT names a host and a port, as in api.openai.com:443.")
            route, access = self.router.route(inbound), self._control.access_snapshot()
            if isinstance(route, Route) and trouble:
                return Refusal.of_routed(route, BAD_REQUEST, trouble)
            if isinstance(route, Route):
                return admit_tunnel(inbound, route, access)
            if not isinstance(route, Refusal):
                return Refusal(UNKNOWN_ROUTE, "This is no host.")
            intercept = self.settings.intercept
            is_blind = may_be_blind and not trouble and intercept.others == "tunnel" and route.kind is NOT_A_PROVIDER
            return admit_blind(inbound, origin, access, intercept.ports, self.router.hosts) if is_blind else route
        except Exception as error:  # noqa: BLE001 -- as in `decide`
            return _fault(error)

    def needs_body(self, forward: Forward) -> bool:
        """Whether what the body of a request asks for decides about it."""
        if forward.rules is not None or forward.unless_allowed is not None:
            return True
        if forward.may_cost and self._guard.reads_body_of(forward.caller):
            return True
        leads_elsewhere = forward.policies is not None and forward.policies.leads_elsewhere
        return leads_elsewhere or (forward.reservation is not None and forward.route.model is None)

    def within_rules(self, forward: Forward, asked: Asked) -> Forward | Refusal:
        """Decide about a request for which ``needs_body`` holds. Never raises."""
        try:
            decision: Forward | Refusal
            if self._rerouting is not None and forward.policies is not None and forward.policies.changes_body:
                decision, asked = self._rerouting.with_body(forward, asked, self._control.access_snapshot())
                if isinstance(decision, Forward) and decision.route.provider != forward.route.provider:
                    decision = self._budgets.moved(decision)
            else:
                decision = judge_body(forward, asked)
            return self._within_budgets(decision, asked) if isinstance(decision, Forward) else decision
        except Exception as error:  # noqa: BLE001 -- as in `decide`
            return _fault(error, forward.route)

    def within_limits(self, decision: Forward) -> Forward | Refusal:
        """Count a request that nothing else refuses any more, or refuse it and count nothing."""
        concurrency = decision.policies.concurrency if decision.policies is not None else None
        if concurrency is not None and self._places.is_full(key_digest(decision), concurrency):
            self._enforcement.release(decision)
            return queue_refusal(decision, concurrency, "is full")
        held = decision.reservation
        if (decision.may_cost or (held is not None and not held.is_held)) and not self.needs_body(decision):
            within = self._within_budgets(decision, None)
            if not isinstance(within, Forward):
                return within
            decision = within
        excess = self._counters.take(decision.quota) if decision.quota else None
        if excess:
            self._enforcement.release(decision)
            return limit_refusal(decision, excess)
        if decision.key_id:
            self._key_use.note(decision.key_id)
        return decision

    def _within_budgets(self, forward: Forward, asked: Asked | None) -> Forward | Refusal:
        """Refuse a request that looks like a runaway, or that a budget has no room for; else hold what it may cost."""
        if forward.may_cost and (runaway := self._guard.check(forward, asked)) is not None:
            if runaway.then == "refuse":
                return runaway_refusal(forward, runaway)
            forward = replace(forward, adds=warned(forward, runaway))
        return self._enforcement.admit(forward, asked, cheaper=partial(self._cheaper, forward, asked))

    def _cheaper(self, forward: Forward, asked: Asked | None) -> Iterable[tuple[Forward, Asked]]:
        if asked is None or self._rerouting is None:
            return ()
        access = self._control.access_snapshot()
        return cheaper(forward, asked, router=self.router, book=self._rerouting.book, access=access)

    def enter(self, forward: Forward, concurrency: Concurrency) -> Place:
        """Have a place for a request at its provider key, or stand in the line of its token for one."""
        return self._places.enter(key_digest(forward), (forward.caller.account, forward.caller.token_name), concurrency)

    def begin(self, key: Hashable, inbound: Inbound, decision: Forward | Refusal, *, began: float) -> Attempt:
        """Begin to record a request, known by ``key`` until it is forgotten.

        ``began``: when its head arrived, by ``time.perf_counter``.
        """
        self._label_warnings.note(inbound, decision)
        request = Request(inbound, decision, began=began)
        attempt = self.live[key] = Attempt(request, self._recorder)
        if not self._meters:
            request.leave_unread()
            attempt.finished = True
        self._update_scoreboard()
        if self.log.decisions:
            self.log.decided(inbound, decision)
        return attempt

    def fallen_back(self, forward: Forward, step: Step, asked: Asked, *, instead: Forward) -> Forward | None:
        """Return a request as it goes out at a step of its policy; ``None``: it cannot, or its budgets have no room.

        ``asked``: what its body asks for there. ``instead``: as it goes out now. Never raises.
        """
        if self._rerouting is None:
            return None
        try:
            access, book = self._control.access_snapshot(), self._rerouting.book
            there = fallen_back(forward, step, router=self.router, book=book, access=access, model=asked.model)
            if there is None or not access.budgets:
                return there
            there = access.budgets.moved(there)
            within = self._enforcement.admit(there, asked, instead=instead.reservation)
            return within if isinstance(within, Forward) else None
        except Exception as error:  # noqa: BLE001 -- it goes nowhere then, and its client gets the answer that there is
            log_fault(logger, "A request could not fall back; its client got the provider's answer", error)
            return None

    def again(self, key: Hashable, attempt: Attempt, *, last_activity: float) -> Attempt:
        """Write the event of an attempt that is not handed on; return the next one at the same request."""
        self.finish(attempt, EndReason.RETRIED)
        following = self.live[key] = attempt.following(last_activity=last_activity)
        following.finished = not self._meters
        return following

    def answered(self, inbound: Inbound, answer: Answer, *, began: float) -> None:
        """Record a request that is answered here, and has no event."""
        self.log.answered(inbound, answer, began=began)

    def finish(self, attempt: Attempt, end_reason: EndReason) -> Event | None:
        """Write a request's event, unless it is written or strangers have too many; return what is written."""
        if attempt.finished:
            return None
        event = None
        if _is_strangers(attempt.request.decision) and not self._slot.admit_stranger():
            attempt.finished = True
        else:
            self._ending = attempt.request.decision
            event = attempt.finish(end_reason)
            if event is None and isinstance(self._ending, Forward):
                self._enforcement.release(self._ending)
            self._ending = None
        if attempt.refusal is not None:
            self._metrics.refused(attempt.refusal)
        self.log.finished(attempt, event)
        return event

    def forget(self, key: Hashable) -> None:
        """Forget a request that is over on the wire."""
        self.live.pop(key, None)
        self._update_scoreboard()

    def close(self) -> None:
        """Write the events of everything in flight, as far as it has come, and the journal out."""
        for attempt in self.live.values():
            self.finish(attempt, EndReason.CLIENT_ABORT)
        self._journal.close()
        if self._otlp is not None:
            self._otlp.close()
        if self.cache is not None:
            self.cache.close()
        self._generations.close()
        self._counters.close()
        self._enforcement.close()
        self._guard.close()
        self._control.close()

    def _write(self, event: Event, request: Request) -> None:
        forward = self._ending if isinstance(self._ending, Forward) else None
        event = self._enforcement.stamped(event, forward)
        number = self._journal.append(event)
        if event.policy:
            self._model_warnings.note(event)
        if self._guard.is_on:
            self._guard.add(event)
        if self._budgets or forward is not None:
            is_last = event.end_reason != EndReason.RETRIED
            self._enforcement.count(event, number, self._budgets, forward, is_last=is_last)
        labels = self._metrics.event(event)
        if self._otlp is not None:
            self._otlp.offer(event, labels, request.fields.get(b"traceparent"))

    def _update_scoreboard(self) -> None:
        self._slot.note_requests(len(self.live))

    def _answer(self, endpoint: Endpoint, inbound: Inbound) -> Answer | Refusal:
        scoreboard = self._slot.scoreboard
        match endpoint:
            case Endpoint.HEALTH:
                report = {**health(scoreboard, now=time.time()), "home": self._home}
                return _own_answer(json.dumps(report).encode(), "application/json")
            case Endpoint.METRICS:
                if refusal := self._metrics_access.refusal(inbound):
                    return refusal
                standings = self._enforcement.standings(self._control.access_snapshot().budgets)
                wanted = self.settings.metrics
                figures = gauges(scoreboard, now=time.time(), mistral_names=wanted.mistral_names)
                budgets = budget_gauges(standings, users=wanted.users)
                form = content_type_for(_accept(inbound))
                return _own_answer(render(scoreboard.metrics, [*figures, *budgets], wanted, form), form)
            case Endpoint.WELCOME:
                return welcome(inbound, self.settings.providers, metrion.__version__)


def _own_answer(body: bytes, content_type: str) -> Answer:
    headers = ((b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)))
    return Answer(200, headers, body)


def _accept(inbound: Inbound) -> str:
    return ",".join(value.decode("latin-1") for name, value in inbound.headers if name.lower() == b"accept")


def _is_strangers(decision: Forward | Refusal) -> bool:
    """Whether a request has an event, and no caller to whom it belongs."""
    return isinstance(decision, Refusal) and decision.caller is None and decision.provider is not None


def _fault(error: Exception, route: Route | None = None) -> Refusal:
    log_fault(logger, "A request was refused", error)
    message = "Metrion could not check this request and refused it; its log says where."
    if route is None:
        return Refusal(INTERNAL, message)
    return Refusal.of_routed(route, INTERNAL, message)
