"""Finds who asks and whether the request may go out: judges the token, then finds a key for it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from metrion.admission.access_snapshot import AccessSnapshot, Token, token_digest
from metrion.admission.codes import (
    BAD_REQUEST,
    CONFLICTING_TOKENS,
    INVALID_TOKEN,
    MISSING_TOKEN,
    NO_PROVIDER_KEY,
    NOT_ALLOWED,
)
from metrion.admission.credentials import IDENTITY, TOKEN, credentials, has_prefix, names_token, notable
from metrion.admission.masking import shown
from metrion.admission.outgoing_head import wire_head
from metrion.admission.policy_book import PolicyBook
from metrion.admission.rules import judge, may_be_unread, wrong_address
from metrion.model import Caller, CredentialPlace, Forward, Inbound, Quota, Refusal, Route
from metrion.settings import Plan

_HOW = "Send a token from `metrion token create` where your SDK sends its API key, as in Authorization: Bearer."
_IN_A_NAME = f"A Metrion token stands in the name of a header field, where logs would keep it. {_HOW}"
_OWN_KEY = " Or leave the key there that you sent, and send the token as x-metrion-token."


def admit(
    inbound: Inbound,
    route: Route,
    access: AccessSnapshot,
    plans: Mapping[str, Plan],
    *,
    policies: PolicyBook | None = None,
    intercepted: str | None = None,
    now: datetime | None = None,
) -> Forward | Refusal:
    """Decide whether a routed request may go out, and with which head.

    ``policies``: what may have the request ask for another model than its path names. ``intercepted``: where clients do
    not know of the proxy, the account of a request without a token. ``now``: the time at which a token may have
    expired.
    """
    if names_token(inbound.headers):
        return Refusal.of_routed(route, BAD_REQUEST, _IN_A_NAME)
    places = notable(inbound.headers)
    identities, placed = credentials(inbound, places)
    tokens = {value for value in placed if has_prefix(value)}.union(identities)
    if not tokens and intercepted is not None and placed:
        in_plan = _is_of_plan(placed, route)
        caller = Caller(intercepted, None, "pass_through", route.timeout, in_plan)
        wire, masked = wire_head(inbound, places, route, None), shown(inbound, places)
        return Forward(route, caller, wire, masked, credentials=tuple(placed))
    if not tokens:
        return Refusal.of_routed(route, MISSING_TOKEN, f"No Metrion token. {_HOW}{_OWN_KEY if placed else ''}")
    if len(tokens) > 1:
        return Refusal.of_routed(route, CONFLICTING_TOKENS, "Two different Metrion tokens in one request. Send one.")
    identity = _identify(tokens.pop(), access, now)
    if isinstance(identity, str):
        return Refusal.of_routed(route, INVALID_TOKEN, identity)
    digest, token = identity
    plan = plans[token.plan]
    pass_through = bool(identities) and any(not has_prefix(value) for value in placed)
    needs_key = route.credential_place is not CredentialPlace.NONE
    credential = "pass_through" if pass_through else "stored" if needs_key else None
    key = None if pass_through else access.provider_key(token.account, route.provider, token.key) if needs_key else ""
    sent = placed if pass_through else (key.encode("utf-8", "replace"),) if key else ()
    in_plan = _is_of_plan(sent, route)
    rules = token.rules
    caller = _caller(token, route, plan, credential, in_plan=in_plan)
    meant = policies.meant(route, caller) if policies else route
    judged = rules is not None and judge(token.name, rules, meant, inbound)
    if isinstance(judged, str):
        return Refusal.of_routed(route, NOT_ALLOWED, judged, caller=caller)
    if not judged:
        rules = None
    keyless: Refusal | None = None
    if not pass_through and needs_key and not key:
        keyless = Refusal.of_routed(route, NO_PROVIDER_KEY, _no_key(token, route), caller=caller)
        led = policies.of(route, caller) if policies else None
        if rules is None and not (led is not None and led.leads_elsewhere):
            return keyless
        key = ""
    quota, wire, masked = _quota(digest, token, plan), wire_head(inbound, places, route, key), shown(inbound, places)
    key_id = access.key_ids.get(key) if key else None
    credentials_seen = (*identities, *placed, *sent)
    return Forward(route, caller, wire, masked, quota, credentials_seen, rules, keyless, key_id=key_id)


def _no_key(token: Token, route: Route) -> str:
    """Say that there is no key for a request, and the way out."""
    tied = named = ""
    if token.key is not None:
        tied, named = f" by the name {token.key}, to which the token {token.name} is tied", f" --name {token.key}"
    where = "" if token.account == "default" else f" --account {token.account}"
    return (
        f"No {route.provider} key is stored for the account {token.account}{tied}. Store one with "
        f"`metrion key set {route.provider}{named}{where}`, or send your own where the SDK puts it and the Metrion "
        "token as x-metrion-token."
    )


def _caller(token: Token, route: Route, plan: Plan, credential: str | None, *, in_plan: bool) -> Caller:
    timeout = _timeout(token, route, plan)
    takes_unread = token.rules is not None and may_be_unread(route.operation, token.rules)
    models = () if token.rules is None else token.rules.models
    of_token = (token.labels, models, token.takes_unpriced, takes_unread)
    return Caller(token.account, token.name, credential, timeout, in_plan, *of_token)


def admit_tunnel(inbound: Inbound, route: Route, access: AccessSnapshot) -> bytes | Refusal | None:
    """Decide on a CONNECT to a provider: return the token that identifies the tunnel, ``None`` where it has none.

    A tunnel without a token is let through, since each request in it needs one; a wrong token is refused here.
    """
    token = _proxy_token(inbound)
    if token is None:
        return None
    wrong = _identify(token, access, None)
    if isinstance(wrong, str):
        return Refusal.of_routed(route, INVALID_TOKEN, wrong)
    elsewhere = wrong_address(wrong[1].name, wrong[1].rules, inbound)
    return Refusal.of_routed(route, NOT_ALLOWED, elsewhere) if elsewhere else token


def tunnel_identity(inbound: Inbound, access: AccessSnapshot) -> str | None:
    """Return what is wrong with the token that a CONNECT brings, empty where it brings none; ``None``: nothing is."""
    token = _proxy_token(inbound)
    if token is None:
        return ""
    identity = _identify(token, access, None)
    return identity if isinstance(identity, str) else wrong_address(identity[1].name, identity[1].rules, inbound)


def identified(inbound: Inbound, tunnel: bytes | None) -> Inbound:
    """Return a request with the token of its tunnel, or of its hop to this proxy, as its ``x-metrion-token``."""
    token = tunnel or _proxy_token(inbound)
    return replace(inbound, headers=(*inbound.headers, (IDENTITY, token))) if token else inbound


def token_of(inbound: Inbound) -> bytes | None:
    """Return the Metrion token by which an admitted request was identified."""
    identities, placed = credentials(inbound, notable(inbound.headers))
    return next((value for value in (*identities, *placed) if has_prefix(value)), None)


def _proxy_token(inbound: Inbound) -> bytes | None:
    """Return the Metrion token in ``Proxy-Authorization``: Bearer, or the user's name or password of Basic."""
    for name, value in inbound.headers:
        if name.lower() == b"proxy-authorization":
            scheme, _, credential = value.strip().partition(b" ")
            if scheme.lower() == b"basic":
                with suppress(ValueError):
                    user, _, password = b64decode(credential).partition(b":")
                    return next((part for part in (user, password) if has_prefix(part)), None)
            elif scheme.lower() == b"bearer" and has_prefix(credential):
                return credential.strip()
    return None


def _identify(secret: bytes, access: AccessSnapshot, now: datetime | None) -> tuple[bytes, Token] | str:
    """Return the token's digest and the token, or what is wrong with it and the way out."""
    if not TOKEN.fullmatch(secret):
        return f"This is no Metrion token: one is sk-metrion- and 40 to 80 letters, digits, _ or -. {_HOW}"
    digest = token_digest(secret)
    token = access.tokens.get(digest)
    if token is None:
        return f"This Metrion token is not known here. {_HOW}"
    if token.revoked:
        return f"The Metrion token {token.name} was revoked. {_HOW}"
    if token.expires_at is not None and (now or datetime.now(UTC)) >= _utc(token.expires_at):
        if token.rotated:
            return f"The Metrion token {token.name} has a new secret, and this one is no longer valid. {_HOW}"
        return f"The Metrion token {token.name} has expired. {_HOW}"
    return digest, token


def _is_of_plan(sent: Collection[bytes], route: Route) -> bool:
    """Whether a request is paid by a flat-rate plan of the provider's: all credentials that go out belong to one."""
    theirs = [credential for credential in sent if not has_prefix(credential)]
    return route.plan_prefix is not None and bool(theirs) and all(each.startswith(route.plan_prefix) for each in theirs)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _timeout(token: Token, route: Route, plan: Plan) -> float | None:
    """Token, then provider, then plan; 0 says none."""
    for seconds in (token.timeout, route.timeout):
        if seconds is not None:
            return seconds or None
    return plan.timeout or None


def _quota(digest: bytes, token: Token, plan: Plan) -> Quota:
    """Token, then plan; 0 says none."""
    minute, month = token.requests_per_minute, token.requests_per_month
    return Quota(
        token.counted_as or digest,
        (plan.requests_per_minute if minute is None else minute) or None,
        (plan.requests_per_month if month is None else month) or None,
    )
