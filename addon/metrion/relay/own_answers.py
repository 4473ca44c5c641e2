"""What Metrion answers in a provider's place: the refusals of requests that had been admitted, and their words.

In: the decision about the request and what has happened to it. Out: a refusal, ready to be rendered. Its message names
the provider and the way out; it never quotes what the provider sent.
"""

from __future__ import annotations

from http import HTTPStatus

from metrion.admission.codes import TIMEOUT, UPSTREAM_UNREACHABLE
from metrion.model import Answer, Forward, Refusal, RefusalKind
from metrion.relay.effects import Effects, EndResponse, SendResponse, SendResponseData

_NOT_HTTP = "what it sent is not HTTP"


def reason(status: int) -> bytes:
    """Return the reason phrase of a status."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def whole_response(answer: Answer, method: bytes, *, closes: bool) -> Effects:
    """Return the effects that send an answer. ``closes``: the client's connection ends with it."""
    headers = (*answer.headers, (b"connection", b"close")) if closes else answer.headers
    body = b"" if method == b"HEAD" else answer.body
    head = SendResponse(answer.status, reason(answer.status), headers, not body)
    return [head, SendResponseData(body), EndResponse()] if body else [head, EndResponse()]


def refuse(decision: Forward, kind: RefusalKind, message: str, *, was_sent: bool = False) -> Refusal:
    """Refuse a request that had been admitted. ``was_sent``: the provider has the whole of it."""
    return Refusal.of_routed(decision.route, kind, message, caller=decision.caller, was_sent=was_sent)


def unreachable(decision: Forward, why: str | None, *, was_sent: bool) -> Refusal:
    """Refuse a request to which the provider gave no usable answer. ``why``: fit to be shown; ``None``: no HTTP."""
    route = decision.route
    where = f"{route.upstream.scheme}://{route.upstream.authority.decode()}"
    message = f"No usable answer from {route.provider} at {where}: {why or _NOT_HTTP}."
    return refuse(decision, UPSTREAM_UNREACHABLE, message, was_sent=was_sent)


def timed_out(decision: Forward, *, was_sent: bool) -> Refusal:
    """Refuse a request whose provider was silent for longer than the timeout of its caller."""
    message = (
        f"{decision.route.provider} sent nothing for {decision.caller.timeout or 0:g} seconds, the timeout of this "
        "request. Another can be set for a token (`metrion token create --timeout`), a provider or a plan (`timeout` "
        "in metrion.yaml)."
    )
    return refuse(decision, TIMEOUT, message, was_sent=was_sent)
