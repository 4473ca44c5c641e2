"""Words what was decided about a request, and how it went: the two lines of the debug level.

In: the head as it came and the decision, then the event. Out: text. Never: a credential; what goes out to the provider
(``Forward.wire``) is not read for anything but to mask it.
"""

from __future__ import annotations

from metrion.logs.visible import secrets_of, visible
from metrion.model import Answer, Event, Forward, Inbound, Quota, Refusal


def asked(inbound: Inbound, decision: Forward | Refusal | None = None) -> str:
    """Word what was asked for: the method and the path."""
    secrets = secrets_of(inbound, decision)
    method = visible(inbound.method.decode("latin-1"), secrets, longest=32)
    return f"{method} {visible(inbound.path.decode('utf-8', 'replace'), secrets)}"


def decided(inbound: Inbound, decision: Forward | Refusal | Answer) -> str:
    """Word a decision, and why it came to be."""
    if isinstance(decision, Answer):
        return f"{asked(inbound)}: answered here with {decision.status}."
    what = asked(inbound, decision)
    if isinstance(decision, Refusal):
        secrets = secrets_of(inbound, decision)
        message = visible(decision.message, secrets, longest=600)
        caller = decision.caller
        who = f", caller {_who(caller.token_name, caller.account)}" if caller is not None else ""
        whose = f" at {decision.provider}" if decision.provider else ""
        return f"{what}: refused with {decision.status} {decision.code}{whose}{who}: {message}"
    route, caller = decision.route, decision.caller
    place = route.credential_place.value
    target = visible(route.target.partition(b"?")[0].decode("utf-8", "replace"), secrets_of(inbound, decision))
    parts = (
        f"{what}: forwarded to {route.provider} at {route.upstream.scheme}://{route.upstream.authority.decode()}{target}",
        f"operation {route.operation.name}",
        f"answer read as {route.dialect or 'nothing'}",
        f"caller {_who(caller.token_name, caller.account)}",
        f"credential {_credential(caller.credential, place)}",
        f"limits {_limits(decision.quota)}",
        f"timeout {'none' if caller.timeout is None else f'{caller.timeout:g} s'}",
        *(("asks for the usage",) if route.inject_usage else ()),
    )
    return ", ".join(parts) + "."


def ended(inbound: Inbound, decision: Forward | Refusal, event: Event) -> str:
    """Word how a request went."""
    cost = "" if event.cost_usd is None else f" ${event.cost_usd.normalize():f}"
    return (
        f"{asked(inbound, decision)}: {event.end_reason} with status {event.status} "
        f"after {event.latency_ms or 0:.0f} ms, usage {event.usage_source}, "
        f"cost {event.cost_source}{cost}, event {event.event_id}."
    )


def _who(token: str | None, account: str) -> str:
    return f"account {account}, intercepted" if token is None else f"token {token} of account {account}"


def _credential(credential: str | None, place: str) -> str:
    match credential:
        case None:
            return "none needed"
        case "pass_through":
            return "passed through where it came"
    return f"{credential}, sent as {place}"


def _limits(quota: Quota | None) -> str:
    if quota is None:
        return "none"
    limits = ((quota.requests_per_minute, "minute"), (quota.requests_per_month, "month"))
    return " and ".join(f"{limit} requests a {unit}" for limit, unit in limits if limit) or "none"
