"""Decides what the terminal of ``serve`` says: the first of each kind, and nothing twice.

In: the event of a request that is over, and the refusal that its client got, if any. Out: notices, mostly none. What is
a kind:

* the first request of each token;
* each way in which Metrion refuses, by code and provider;
* each failing status of a provider, an answer that breaks off, a timeout, an error in a stream;
* a provider that cannot be reached, and that it can be again, each time;
* a stream without a usage, by provider, with the line that brings one.

A kind of failure is said again on another day. :class:`~metrion.logs.remembered.Remembered` holds the bound on lines
for all workers; what finds no room is said at its next occasion. No I/O. Never: a credential, or a text that a client
or a provider sent, but for the masked path of a refused request that names no provider.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

from metrion.admission.codes import TIMEOUT, UNKNOWN_ROUTE, UPSTREAM_UNREACHABLE
from metrion.endpoints import OPERATIONS
from metrion.logs.remembered import Remembered
from metrion.logs.visible import visible
from metrion.model import EndReason, Event, Refusal
from metrion.settings import ProviderSettings, why_not_inject

ASKING_FOR_USAGE = frozenset(row.name for row in OPERATIONS.values() if row.asks_usage_in is not None)
"""Operations whose streams report a usage only if the request asks for it."""
_COMPLETE = EndReason.COMPLETE
_DAY = 86_400.0
_BETWEEN_OUTAGES = 300.0
"""Seconds: a provider that comes and goes is not said to be out more often."""


class Notice(NamedTuple):
    """A line for the operator."""

    kind: str
    """``token``, ``refused``, ``failed``, ``unreachable``, ``reachable`` or ``no_usage``."""
    level: int
    text: str


class Notices:
    """See the module."""

    def __init__(self, providers: Mapping[str, ProviderSettings], remembered: Remembered) -> None:
        self.providers = providers
        self._remembered = remembered
        self._known: set[tuple[object, ...]] = set()
        """What this process knows to be said: the memory that all share is looked at once for each."""
        self._tokens: set[tuple[str | None, str | None]] = set()
        """The same, of tokens alone."""
        self._began = remembered.clock()

    def finished(self, event: Event, refusal: Refusal | None = None) -> Sequence[Notice]:
        """Take the event of a request, and what its client got in the provider's place."""
        status, end_reason = event.status, event.end_reason
        is_new = event.token_name is not None and (event.account, event.token_name) not in self._tokens
        is_well = refusal is None and end_reason == _COMPLETE and status is not None and status < 400
        if is_well and not is_new and not event.streamed and not self._remembered.is_out(event.provider):
            return ()  # as nearly all are
        found: list[Notice | None] = []
        if refusal is not None and refusal.kind is UPSTREAM_UNREACHABLE:
            found.append(self._unreachable(event, refusal))
        elif not is_well:
            found.append(self._failure(event, refusal))
        elif event.streamed and event.usage_source != "reported" and event.operation in ASKING_FOR_USAGE:
            found.append(self._no_usage(event))
        if refusal is None and status is not None and self._remembered.is_out(event.provider):
            found.append(self._reachable(event))
        if is_new:
            found.append(self._token(event))
        return [notice for notice in found if notice is not None]

    def refused(self, refusal: Refusal, path: str = "") -> Sequence[Notice]:
        """Take a refusal that has no event. ``path``: what was asked for, as it may be shown.

        A path that leads nowhere has a line of its own, from :mod:`metrion.gateway.mistakes`.
        """
        if refusal.provider is None and refusal.code == UNKNOWN_ROUTE.code:
            return ()
        notice = self._refused(refusal, None, path)
        return [] if notice is None else [notice]

    def unreadable(self, status: int, message: str) -> Sequence[Notice]:
        """Take a request whose head could not be read. ``message``: Metrion's own words."""
        key = ("unreadable", status, message)
        notice = self._first("refused", key, lambda: f"A request was refused: {status}: {message}")
        return [] if notice is None else [notice]

    # --- kinds ---

    def _token(self, event: Event) -> Notice | None:
        key = ("token", event.account, event.token_name)
        notice = self._first(
            "token",
            key,
            lambda: f"First request of token {event.token_name} (account {event.account}): {_what(event)}.",
            level=logging.INFO,
            daily=False,
        )
        if key in self._known:
            self._tokens.add((event.account, event.token_name))
        return notice

    def _failure(self, event: Event, refusal: Refusal | None) -> Notice | None:
        match event.end_reason:
            case EndReason.CLIENT_ABORT:
                return None
            case EndReason.REFUSED if refusal is not None:
                return self._refused(refusal, event.token_name)
            case EndReason.TIMEOUT:
                words = refusal.message if refusal is not None else f"{event.provider} fell silent for the timeout."
                return self._failed(event, TIMEOUT.code, words)
            case EndReason.STREAM_ERROR:
                return self._failed(event, "stream_error", f"{event.provider} reported an error within a stream.")
            case EndReason.UPSTREAM_ERROR:
                return self._failed(event, "broken", f"{event.provider} broke an answer off.")
        if event.status is None or event.status < 400:
            return None
        words = f"{event.provider} answered {event.status}{_phrase(event.status)}."
        if event.status in (401, 403) and event.credential == "stored":
            words += f" The stored key may not do this: `metrion key set {event.provider}` stores another."
        elif event.status in (401, 403) and event.credential == "pass_through":
            words += " The key is the caller's own."
        return self._failed(event, event.status, words)

    def _failed(self, event: Event, kind: object, words: str) -> Notice | None:
        return self._first(
            "failed",
            ("failed", event.provider, kind),
            lambda: f"{words} The first time today: {_what(event)}{_by(event.token_name)}.",
        )

    def _refused(self, refusal: Refusal, token: str | None, path: str = "") -> Notice | None:
        where = f" to {refusal.provider}" if refusal.provider else ""
        asked = f" ({path})" if path and not refusal.provider else ""
        return self._first(
            "refused",
            ("refused", refusal.code, refusal.provider),
            lambda: (
                f"A request{where}{_by(token)} was refused: {refusal.status} {refusal.code}{asked}: "
                f"{visible(refusal.message, longest=600)}"
            ),
        )

    def _unreachable(self, event: Event, refusal: Refusal) -> Notice | None:
        is_due = self._remembered.fail(event.provider) >= _BETWEEN_OUTAGES
        if not is_due or not self._remembered.has_room(everyday=False):
            return None
        self._remembered.say_out(event.provider)
        return Notice("unreachable", logging.WARNING, f"{event.provider} cannot be reached. {refusal.message}")

    def _reachable(self, event: Event) -> Notice | None:
        outage = self._remembered.outage(event.provider)
        if outage.seconds < (event.latency_ms or 0) / 1000:
            return None  # it was asked before, and answers still
        if outage.is_said and not self._remembered.has_room(everyday=False):
            return None
        self._remembered.end_outage(event.provider)
        if not outage.is_said:
            return None
        failed = f"{outage.failed} request{'' if outage.failed == 1 else 's'} failed"
        text = f"{event.provider} can be reached again, after {_span(outage.seconds)}; {failed}."
        return Notice("reachable", logging.INFO, text)

    def _no_usage(self, event: Event) -> Notice | None:
        provider = self.providers.get(event.provider)
        if provider is None or provider.inject_usage or event.cost_source == "not_billed":
            return None
        key = ("no_usage", event.provider)
        return self._first("no_usage", key, lambda: _words_of_no_usage(event, provider), daily=False)

    def _first(
        self,
        kind: str,
        key: tuple[object, ...],
        words: Callable[[], str],
        *,
        level: int = logging.WARNING,
        daily: bool = True,
    ) -> Notice | None:
        """Return the notice if its key is new, and there is room for a line; ``words`` are made only then."""
        if daily:
            key = (*key, (self._remembered.clock() - self._began) // _DAY)
        if key in self._known:
            return None
        if self._remembered.knows(key):
            self._known.add(key)
            return None
        if not self._remembered.has_room(everyday=level < logging.WARNING):
            return None
        self._remembered.add(key)
        self._known.add(key)
        return Notice(kind, level, words())


def _words_of_no_usage(event: Event, provider: ProviderSettings) -> str:
    text = (
        f"A stream from {event.provider}{_by(event.token_name)} reported no usage, so its cost is {event.cost_source}. "
        'Its client has to ask: "stream_options": {"include_usage": true} in the request (LangChain: '
        "stream_usage=True; aider: extra_params in .aider.model.settings.yml)"
    )
    if why_not_inject(provider.upstream, provider.like) is None:
        text += f"; or Metrion asks, with providers: {{{event.provider}: {{include_usage: inject}}}} in metrion.yaml"
    return f"{text}. docs/logs.md has more."


def _what(event: Event) -> str:
    status = "no answer" if event.status is None else f"status {event.status}"
    return f"{event.provider} {event.operation or 'request'}, {status}"


def _by(token: str | None) -> str:
    return f" (token {token})" if token is not None else ""


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _span(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} s"
