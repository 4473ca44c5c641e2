"""Admits a request to another provider than the one that its client asked.

The client's own credential was sent for one origin: here every place of a credential is emptied, and whatever has the
name of one. The stored key of the account goes out in their place. In: an admitted request, and its route at the other
provider. Out: what goes out there, or a refusal.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from metrion.admission.access_snapshot import AccessSnapshot, Token, token_digest
from metrion.admission.codes import BAD_REQUEST, MISSING_TOKEN, NO_PROVIDER_KEY, NOT_ALLOWED
from metrion.admission.credentials import SECRET, has_prefix, notable
from metrion.admission.outgoing_head import wire_head
from metrion.admission.routing import Router
from metrion.admission.rules import judge
from metrion.model import CredentialPlace, Forward, Inbound, Refusal, Route

_NOBODY = (
    "This request leads to {}, and it has no Metrion token. No stored key goes out without one: send it as "
    "x-metrion-token, or ask for a model that is no alias."
)
_CREDENTIAL = re.compile(rb"auth|cookie|credential|key|password|secret|signature|token")


def route_elsewhere(router: Router, route: Route, provider: str) -> Route | None:
    """Return where the same is asked of another provider; ``None``: it has no such path, in the same wire format."""
    found = router.elsewhere(route, provider)
    is_same = found is not None and found.dialect is not None and found.dialect == route.dialect
    return found if found is not None and is_same and found.operation is route.operation else None


def admit_elsewhere(forward: Forward, route: Route, model: str, access: AccessSnapshot) -> Forward | Refusal:
    """Decide whether an admitted request may go to another provider, where it asks for a model."""
    caller, token = forward.caller, _token_of(forward, access)
    if token is None:
        return Refusal.of_routed(route, MISSING_TOKEN, _NOBODY.format(route.provider), caller=caller)
    theirs = tuple(header for header in forward.wire.headers if not _may_be_credential(header[0]))
    route = replace(route, target=_without_credentials(route.target))
    stripped = Inbound(b"POST", route.target, theirs)
    if token.rules is not None:
        rules = replace(token.rules, networks=())  # the head was judged by it
        wrong = judge(token.name, rules, replace(route, model=model), stripped)
        if isinstance(wrong, str):
            return Refusal.of_routed(route, NOT_ALLOWED, wrong, caller=caller)
    needs_key = route.credential_place is not CredentialPlace.NONE
    key = access.provider_key(caller.account, route.provider, token.key) if needs_key else ""
    if needs_key and not key:
        where = "" if caller.account == "default" else f" --account {caller.account}"
        message = (
            f"This request leads to {route.provider}, and no key of it is stored for the account {caller.account}. "
            f"Store one with `metrion key set {route.provider}{where}`. A key that you send goes nowhere else."
        )
        return Refusal.of_routed(route, NO_PROVIDER_KEY, message, caller=caller)
    sent = (key.encode("utf-8", "replace"),) if key else ()
    plan_prefix = route.plan_prefix
    in_plan = plan_prefix is not None and any(each.startswith(plan_prefix) for each in sent)
    return replace(
        forward,
        route=route,
        caller=replace(caller, credential="stored" if needs_key else None, in_plan=in_plan),
        wire=wire_head(stripped, notable(theirs), route, key or ""),
        credentials=(*forward.credentials, *sent),
        unless_allowed=None,
        key_id=access.key_ids.get(key) if key else None,
    )


def no_such_path(forward: Forward, name: str, provider: str) -> Refusal:
    """Refuse a request whose alias leads to a provider that cannot answer it."""
    route = forward.route
    message = (
        f"The alias {name} leads to {provider}, which has no path of the same wire format as this one. Ask for a model "
        f"of {route.provider}'s, or have the alias lead to another provider (`policies` in metrion.yaml)."
    )
    return Refusal.of_routed(route, BAD_REQUEST, message, caller=forward.caller)


def _token_of(forward: Forward, access: AccessSnapshot) -> Token | None:
    """Return the token by which a request was admitted; ``None``: it is intercepted, and has none."""
    found = next((each for each in forward.credentials if has_prefix(each)), None)
    return access.tokens.get(token_digest(found)) if found is not None else None


def _may_be_credential(name: bytes) -> bool:
    """Whether a field, or a parameter of the query, has the name of a credential: gateways have names of their own."""
    lower = unquote_to_bytes(name).lower()
    return lower in SECRET or _CREDENTIAL.search(lower) is not None


def _without_credentials(target: bytes) -> bytes:
    path, _, query = target.partition(b"?")
    kept = [each for each in query.split(b"&") if each and not _may_be_credential(each.partition(b"=")[0])]
    return path + b"?" + b"&".join(kept) if kept else path
