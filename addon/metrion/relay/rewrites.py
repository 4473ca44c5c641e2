"""Changes of bodies that a person has asked for by name, each a class here and a row of :data:`REWRITES`.

A rewrite gets the head of a request, and the whole body if it ``reads_body``, before any of it goes out, and may return
others. If it does, the response passes it too: it fits the head, and returns what the client sees of each piece. One
that ``holds_response`` gets the whole body of a response before its head goes on, which then has the new length. The
event is made from what the client and the provider sent, never from what a rewrite made of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from metrion.endpoints import COUNT_TOKENS
from metrion.model import Forward, Head, Headers, Inbound
from metrion.model.policies import Policies
from metrion.parsing.content_codings import Decoder, DecodingError, decoder
from metrion.parsing.json_members import UnreadableError
from metrion.relay.body_policies import changed, named_policies
from metrion.relay.effects import Effects, SendResponse, SendResponseData
from metrion.relay.held_body import MOST_HELD
from metrion.relay.include_usage import UsageFilter, ask_for_usage
from metrion.relay.request import Request, header
from metrion.relay.result_urls import own_base, with_own_urls

logger = logging.getLogger(__name__)

TOO_LONG = "the body is longer than what is held in memory"
"""Why one is not held."""

_STREAM = "text/event-stream"
_JSON = "application/json"


class Rewrite(Protocol):
    """One change of a request and its response."""

    reads_body: bool
    """It needs the body of the request, which is held until it is whole."""
    holds_response: bool
    """It needs the whole body of the response, known once it has seen the head."""

    @property
    def model(self) -> str | None:
        """What goes out in the place of the model that was asked for; ``None``: nothing."""

    @property
    def notes(self) -> Sequence[tuple[str, str]]:
        """What the event says that policies did, by their names."""

    def request(self, head: Head, body: bytes) -> tuple[Head, bytes] | None:
        """Return what goes out in place of a request; ``None``: it stays, and so does its response."""

    def give_up(self, why: str) -> None:
        """Take note that the body is not shown to it. ``why``: fit to be shown."""

    def response_head(self, status: int, headers: Headers) -> Headers:
        """Return the header fields that the client gets."""

    def response_data(self, data: bytes) -> bytes:
        """Return what the client gets of a piece of the body, which may be nothing yet.

        :raises DecodingError: nobody can read the body; the response ends here.
        """

    def response_end(self) -> bytes:
        """Return what is left when the response is over."""


class AppliedPolicies:
    """Policies that change the body of a request: aliases, defaults and caps."""

    holds_response = False

    def __init__(self, policies: Policies, unread: str | None) -> None:
        self.reads_body = unread is None
        self.notes: Sequence[tuple[str, str]] = ()
        self.model: str | None = None
        self._policies = policies
        self._unread = unread

    @classmethod
    def suiting(cls, forward: Forward, inbound: Inbound) -> AppliedPolicies | None:
        """Return one for a request whose body policies may change; else ``None``."""
        policies = forward.policies
        if policies is None or not policies.changes_body:
            return None
        operation = forward.route.operation
        if inbound.method != b"POST" or not (operation.billed or operation is COUNT_TOKENS):
            return None
        return cls(policies, why_unread(inbound.headers))

    def request(self, head: Head, body: bytes) -> tuple[Head, bytes] | None:
        """Change what the policies name, and fit the head to it."""
        if self._unread is not None:
            self.give_up(self._unread)
            return None
        try:
            new, self.notes, self.model = changed(body, self._policies)
        except UnreadableError as error:
            self.give_up(f"the body {error}")
            return None
        if new is body:
            return None
        return Head(head.target, replaced(head.headers, b"content-length", b"%d" % len(new))), new

    def give_up(self, why: str) -> None:
        """Note that the body passes as it came."""
        self.notes = [(name, f"untouched: {why}") for name in named_policies(self._policies)]

    def response_head(self, status: int, headers: Headers) -> Headers:  # noqa: ARG002 -- the response passes
        """Return the head as it came."""
        return headers

    def response_data(self, data: bytes) -> bytes:
        """Return the body as it came."""
        return data

    def response_end(self) -> bytes:
        """Return nothing: nothing is held here."""
        return b""


def why_unread(headers: Headers) -> str | None:
    """Say why a body is not looked at; ``None``: it is."""
    if (header(headers, b"content-encoding") or "identity").lower() != "identity":
        return "the body is compressed"
    kind = (header(headers, b"content-type") or _JSON).partition(";")[0].strip().lower()
    is_json = kind == _JSON or kind.endswith("+json") or kind.startswith("text/")
    return None if is_json else "the body is no JSON"


class InjectedUsage:
    """The option ``include_usage: inject``: asks for the usage of a stream, and hides the answer from the client."""

    reads_body = True
    holds_response = False
    model = None
    notes: Sequence[tuple[str, str]] = ()

    def __init__(self) -> None:
        self._filter: UsageFilter | None = None
        self._decoder: Decoder | None = None
        self._plain: list[bytes] = []

    @classmethod
    def suiting(cls, forward: Forward, inbound: Inbound) -> InjectedUsage | None:
        """Return one for a request whose provider has the option, and whose body can be read; else ``None``."""
        wanted = forward.route.inject_usage and header(inbound.headers, b"content-encoding") is None
        return cls() if wanted else None

    def request(self, head: Head, body: bytes) -> tuple[Head, bytes] | None:
        """Put the option into the body, and fit its head to it."""
        asking = ask_for_usage(body)
        if asking is None:
            return None
        self._filter = UsageFilter()
        headers = replaced(head.headers, b"accept-encoding", b"identity", add=True)
        return Head(head.target, replaced(headers, b"content-length", b"%d" % len(asking))), asking

    def give_up(self, why: str) -> None:
        """Leave the response alone, too."""

    def response_head(self, status: int, headers: Headers) -> Headers:
        """Fit the head to what the client sees: a plain body whose length is not known beforehand."""
        is_stream = (header(headers, b"content-type") or _STREAM).lower().startswith(_STREAM)
        if not (is_stream and 200 <= status < 300):
            self._filter = None
        if self._filter is None:
            return headers
        coding = header(headers, b"content-encoding")
        if coding is not None:  # though none was asked for
            try:
                self._decoder = decoder(coding, self._plain.append)
            except DecodingError as error:
                logger.warning("The usage that include_usage: inject brought stays in a response: %s", error)
                self._filter = None
                return headers
        return tuple(
            (b"transfer-encoding", b"chunked") if name.lower() == b"content-length" else (name, value)
            for name, value in headers
            if name.lower() != b"content-encoding"
        )

    def response_data(self, data: bytes) -> bytes:
        """Return the events that the client sees."""
        if self._filter is None:
            return data
        if self._decoder is not None:
            self._decoder.feed(data)
            data = b"".join(self._plain)
            self._plain.clear()
        return self._filter.feed(data)

    def response_end(self) -> bytes:
        """Return what is left at the end, once."""
        last, self._filter = self._filter, None
        if last is None:
            return b""
        if self._decoder is not None:
            with suppress(DecodingError):  # cut; the client has all that could be read
                self._decoder.finish()
        return last.feed(b"".join(self._plain)) + last.finish()


class ResultUrls:
    """The option ``rewrite_result_urls``: an answer about a batch says that its results are at the proxy."""

    reads_body = False
    model = None
    notes: Sequence[tuple[str, str]] = ()

    def __init__(self, base: bytes) -> None:
        self.holds_response = False
        self._base = base

    @classmethod
    def suiting(cls, forward: Forward, inbound: Inbound) -> ResultUrls | None:
        """Return one for a request whose answer may name results; else ``None``."""
        base = own_base(inbound, forward.route) if forward.route.rewrites_result_urls else None
        return cls(base) if base is not None else None

    def request(self, head: Head, body: bytes) -> tuple[Head, bytes] | None:
        """Ask for an answer that can be read."""
        return Head(head.target, replaced(head.headers, b"accept-encoding", b"identity", add=True)), body

    def give_up(self, why: str) -> None:
        """Leave the response alone, too."""

    def response_head(self, status: int, headers: Headers) -> Headers:
        """See whether the body can be read."""
        coding = (header(headers, b"content-encoding") or "identity").lower()
        is_json = (header(headers, b"content-type") or "").lower().startswith("application/json")
        self.holds_response = status == 200 and is_json and coding == "identity"
        return headers

    def response_data(self, data: bytes) -> bytes:
        """Return the body, which is whole, with the proxy's address in it."""
        return with_own_urls(data, self._base) if self.holds_response else data

    def response_end(self) -> bytes:
        """Return nothing: nothing is held here."""
        return b""


class HeldResponse:
    """A response that is held until it is whole, because a rewrite needs all of it."""

    def __init__(self, head: SendResponse, as_it_came: SendResponse) -> None:
        self._head = head
        self._as_it_came = as_it_came
        self._body: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> bool:
        """Take a piece of the body; return whether it can still be held."""
        self._body.append(data)
        self._size += len(data)
        return self._size <= MOST_HELD

    def unchanged(self) -> Effects:
        """Return what has come, as it came."""
        return [self._as_it_came, SendResponseData(b"".join(self._body))] if self._body else [self._as_it_came]

    def rewritten(self, rewrites: Sequence[Rewrite]) -> Effects:
        """Return the whole response as the client sees it."""
        body = b"".join(self._body)
        for rewrite in reversed(rewrites):
            body = rewrite.response_data(body) + rewrite.response_end()
        head = self._head._replace(headers=replaced(self._head.headers, b"content-length", b"%d" % len(body)))
        return [head, SendResponseData(body)] if body else [head]


REWRITES: Sequence[Callable[[Forward, Inbound], Rewrite | None]] = (
    AppliedPolicies.suiting,
    InjectedUsage.suiting,
    ResultUrls.suiting,
)
"""In the order in which they change a request; a response passes them backwards."""


def suiting(forward: Forward, inbound: Inbound) -> list[Rewrite]:
    """Return the rewrites that suit a request."""
    return [rewrite for suits in REWRITES if (rewrite := suits(forward, inbound))]


def rewritten(
    rewrites: Sequence[Rewrite], head: Head, body: bytes, request: Request
) -> tuple[list[Rewrite], Head, bytes]:
    """Return what goes out of a request, and the rewrites that changed it: others leave the response alone too."""
    changing = []
    for rewrite in rewrites:
        if (changed_to := rewrite.request(head, body)) is not None:
            head, body = changed_to
            changing.append(rewrite)
        request.note(rewrite.notes, rewrite.model)
    return changing, head, body


def give_up(rewrites: Sequence[Rewrite], request: Request) -> None:
    """Have a body pass as it came, because it cannot be held."""
    for rewrite in rewrites:
        rewrite.give_up(TOO_LONG)
        request.note(rewrite.notes)


def replaced(headers: Headers, name: bytes, value: bytes, *, add: bool = False) -> Headers:
    """Return the fields with one of them changed. ``add``: also where it is missing."""
    is_there = False
    fields = []
    for field in headers:
        if len(field[0]) == len(name) and field[0].lower() == name:
            field, is_there = (field[0], value), True
        fields.append(field)
    if add and not is_there:
        fields.append((name, value))
    return tuple(fields)
