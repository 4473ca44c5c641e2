"""A routed request in; who it belongs to and the head that may go out, or a refusal.

Credentials are read from fixed places, a Metrion token identifies the caller, and the key that goes out is either the
stored one, put in the provider's own place, or the one that the client sent along, untouched. What goes out besides is
what came in, byte for byte, without what is Metrion's own; no Metrion token leaves, wherever it stands. What may be
shown has every credential masked.

Any exception here must refuse the request: whoever calls ``admit`` treats one as a refusal 500, never as a pass.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import unquote_to_bytes

from metrion.model import Caller, CredentialPlace, Forward, Head, Inbound, Quota, Refusal, Route
from metrion.settings import Plan

_TOKEN_PREFIX = b"sk-metrion-"
_TOKEN = re.compile(rb"sk-metrion-[A-Za-z0-9_-]{40,80}")
_TOKEN_ANYWHERE = re.compile(rb"sk-metrion-[A-Za-z0-9_-]*")
_SCHEME = re.compile(rb"(?:basic|bearer|digest)(?=\s)", re.IGNORECASE)
_SUBPROTOCOL = b"openai-insecure-api-key."
_OWN_HEADER = b"x-metrion-"
_IDENTITY = b"x-metrion-token"
_TAG = b"x-metrion-tag-"
_KEY_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
_NOT_FORWARDED = frozenset({b"expect", b"proxy-authorization", b"proxy-connection"})
_REWRITTEN = _KEY_HEADERS | _NOT_FORWARDED | {b"host", b"sec-websocket-protocol"}

_SCHEME_HEADERS = frozenset({b"authorization", b"proxy-authorization"})
_MASKED = _KEY_HEADERS | _SCHEME_HEADERS | {_IDENTITY, b"cookie", b"sec-websocket-protocol"}
_SECRET_SUBPROTOCOLS = (_SUBPROTOCOL, b"xai-client-secret.")
_SECRET_PARAMETERS = frozenset({b"key", b"api_key", b"apikey", b"api-key", b"access_token", b"token"})

_MAX_LABEL = 256
_MAX_TAG_NAME = 64
_MAX_TAGS = 32

_HOW = "Send a token from `metrion token create` where your SDK sends its API key, as in Authorization: Bearer."
_OWN_KEY = " Or leave the key there that you sent, and send the token as x-metrion-token."


@dataclass(frozen=True, slots=True)
class Token:
    """What a token stands for. Of the limits, 0 is none and ``None`` the plan's."""

    name: str
    account: str
    plan: str
    requests_per_minute: int | None = None
    requests_per_month: int | None = None
    monthly_budget_usd: Decimal | None = None
    timeout: float | None = None
    """Seconds."""
    revoked: bool = False
    expires_at: datetime | None = None
    """UTC, naive or aware."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Every token and provider key, as of one moment. Immutable: a change is a new directory.

    Tokens are found by their digest, so neither memory nor a leak of it holds one, and how long a look-up takes tells
    nothing about how much of a guess was right.
    """

    tokens: Mapping[bytes, Token] = field(default_factory=dict)
    """By ``token_digest``."""
    provider_keys: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)
    """By account and provider; those of the environment included."""

    def find_token(self, secret: str) -> Token | None:
        """Find a token by the whole of it."""
        return self.tokens.get(token_digest(secret))

    def provider_key(self, account: str, provider: str) -> str | None:
        """Find the stored key of an account for a provider."""
        return self.provider_keys.get((account, provider))


def token_digest(secret: str) -> bytes:
    """Return the SHA-256 digest of a whole token. A token has 240 bits or more of chance: no salt, no stretching."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def admit(
    inbound: Inbound,
    route: Route,
    directory: Directory,
    plans: Mapping[str, Plan],
    *,
    intercepted: str | None = None,
    now: datetime | None = None,
) -> Forward | Refusal:
    """Decide whether a routed request may go out, and as what.

    ``intercepted`` is the account that a request without a token belongs to where clients do not know of the proxy.
    ``now`` is the time that expiry is judged by.
    """
    identities, placed = _credentials(inbound)
    tokens = {value for value in placed if _TOKEN_PREFIX in value}.union(identities)
    if not tokens and intercepted is not None and placed:
        caller = Caller(account=intercepted, token_name=None, credential="pass_through", timeout=route.timeout)
        return Forward(route=route, caller=caller, wire=_wire(inbound, route, None), shown=shown(inbound))
    if not tokens:
        return _refuse(route, 401, "missing_token", f"No Metrion token. {_HOW}{_OWN_KEY if placed else ''}")
    if len(tokens) > 1:
        return _refuse(route, 401, "conflicting_tokens", "Two different Metrion tokens in one request. Send one.")
    secret = tokens.pop()
    token = _identify(secret, directory, now)
    if isinstance(token, str):
        return _refuse(route, 401, "invalid_token", token)
    pass_through = bool(identities) and any(_TOKEN_PREFIX not in value for value in placed)
    needs_key = route.credential_place is not CredentialPlace.NONE
    caller = Caller(
        account=token.account,
        token_name=token.name,
        credential="pass_through" if pass_through else "stored" if needs_key else None,
        timeout=_timeout(token, route, plans),
    )
    key = None if pass_through else directory.provider_key(token.account, route.provider) if needs_key else ""
    if not pass_through and needs_key and not key:
        where = "" if token.account == "default" else f" --account {token.account}"
        message = (
            f"No {route.provider} key is stored for the account {token.account}. Store one with "
            f"`metrion key set {route.provider}{where}`, or send your own where the SDK puts it and the Metrion token "
            "as x-metrion-token."
        )
        return _refuse(route, 400, "no_provider_key", message, caller)
    quota = _quota(secret, token, plans[token.plan])
    return Forward(route, caller, _wire(inbound, route, key), shown(inbound), quota)


def admit_tunnel(inbound: Inbound, route: Route, directory: Directory) -> bytes | Refusal | None:
    """Decide about a CONNECT to a provider: the token that identifies the tunnel, ``None`` where it has none.

    A tunnel without a token is let through, since each request in it is asked for one; a wrong token is refused here.
    """
    token = _proxy_token(inbound)
    if token is None:
        return None
    wrong = _identify(token, directory, None)
    return _refuse(route, 401, "invalid_token", wrong) if isinstance(wrong, str) else token


def identified(inbound: Inbound, tunnel: bytes | None) -> Inbound:
    """Return a request with the token of its tunnel, or of its hop to this proxy, as its ``x-metrion-token``."""
    token = tunnel or _proxy_token(inbound)
    return replace(inbound, headers=(*inbound.headers, (_IDENTITY, token))) if token else inbound


def _proxy_token(inbound: Inbound) -> bytes | None:
    """Return the Metrion token in ``Proxy-Authorization``: Bearer, or the user's name or password of Basic."""
    for name, value in inbound.headers:
        if name.lower() == b"proxy-authorization":
            scheme, _, credential = value.strip().partition(b" ")
            if scheme.lower() == b"basic":
                with suppress(ValueError):
                    user, _, password = b64decode(credential).partition(b":")
                    return next((part for part in (user, password) if _TOKEN_PREFIX in part), None)
            elif scheme.lower() == b"bearer" and _TOKEN_PREFIX in credential:
                return credential.strip()
    return None


def shown(inbound: Inbound) -> Head:
    """Return the head as the client sent it, every credential masked: for flows, logs and events of any request."""
    headers = tuple(
        (name, value)
        if name.lower() not in _MASKED and _TOKEN_PREFIX not in value and _TOKEN_PREFIX not in name
        else _masked(name, value)
        for name, value in inbound.headers
    )
    path, mark, query = inbound.target.partition(b"?")
    if query:
        query = b"&".join(_masked_parameter(parameter) for parameter in query.split(b"&"))
    return Head(_without_tokens(path) + mark + query, headers)


def mask(secret: str) -> str:
    """Return what may be shown of a credential: the last four characters of a Metrion token, nothing of any other."""
    return f"sk-metrion-…{secret[-4:]}" if _TOKEN.fullmatch(secret.encode("utf-8", "replace")) else "***"


def labels(inbound: Inbound) -> tuple[str | None, Mapping[str, str] | None]:
    """Return the user's label and the tags that a request carries; ``None`` where it carries none.

    Names and values are cut to what an event should hold, tags beyond the 32nd are left out, tag names are lower case.
    """
    user: str | None = None
    tags = dict[str, str]()
    for name, value in inbound.headers:
        lower = name.lower()
        if not lower.startswith(_OWN_HEADER):
            continue
        if lower == b"x-metrion-user":
            user = _label(value, _MAX_LABEL) or user
        elif lower.startswith(_TAG) and len(tags) < _MAX_TAGS and (tag := _label(lower[len(_TAG) :], _MAX_TAG_NAME)):
            tags[tag] = _label(value, _MAX_LABEL)
    return user, tags or None


# --- who asks ---------------------------------------------------------------------------------------------------------


def _credentials(inbound: Inbound) -> tuple[list[bytes], list[bytes]]:
    """Return what ``x-metrion-token`` holds and what the places of a credential hold, empty ones left out."""
    identities, placed = list[bytes](), list[bytes]()
    for name, value in inbound.headers:
        lower = name.lower()
        if lower == b"authorization":
            words = value.split(None, 1)
            if len(words) == 2 and words[0].lower() == b"bearer":
                placed.append(words[1].strip())
        elif lower in _KEY_HEADERS:
            placed.append(value.strip())
        elif lower == _IDENTITY:
            identities.append(value.strip())
        elif lower == b"sec-websocket-protocol":
            entries = (entry.strip() for entry in value.split(b","))
            placed += (entry[len(_SUBPROTOCOL) :] for entry in entries if entry.startswith(_SUBPROTOCOL))
    if query := inbound.query:
        parameters = (parameter.partition(b"=") for parameter in query.split(b"&"))
        placed += (unquote_to_bytes(value) for name, _, value in parameters if _is_key(name))
    return [value for value in identities if value], [value for value in placed if value]


def _is_key(parameter: bytes) -> bool:
    return parameter == b"key" or (b"%" in parameter and unquote_to_bytes(parameter) == b"key")


def _identify(secret: bytes, directory: Directory, now: datetime | None) -> Token | str:
    """Return the token, or what is wrong with it and the way out."""
    if not _TOKEN.fullmatch(secret):
        return f"This is no Metrion token: one is sk-metrion- and 40 to 80 letters, digits, _ or -. {_HOW}"
    token = directory.find_token(secret.decode("ascii"))
    if token is None:
        return f"This Metrion token is not known here. {_HOW}"
    if token.revoked:
        return f"The Metrion token {token.name} was revoked. {_HOW}"
    if token.expires_at is not None and (now or datetime.now(UTC)) >= _utc(token.expires_at):
        return f"The Metrion token {token.name} has expired. {_HOW}"
    return token


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _timeout(token: Token, route: Route, plans: Mapping[str, Plan]) -> float | None:
    """Token, then provider, then plan; 0 says none."""
    for seconds in (token.timeout, route.timeout):
        if seconds is not None:
            return seconds or None
    return plans[token.plan].timeout or None


def _quota(secret: bytes, token: Token, plan: Plan) -> Quota:
    """Token, then plan; 0 says none."""
    minute, month = token.requests_per_minute, token.requests_per_month
    return Quota(
        token_digest(secret.decode("ascii")),
        (plan.requests_per_minute if minute is None else minute) or None,
        (plan.requests_per_month if month is None else month) or None,
    )


def _refuse(route: Route, status: int, code: str, message: str, caller: Caller | None = None) -> Refusal:
    return Refusal(status, code, message, route.provider, route.error_shape, route=route, caller=caller)


# --- what goes out ----------------------------------------------------------------------------------------------------


def _wire(inbound: Inbound, route: Route, key: str | None) -> Head:
    """Build what the provider gets.

    ``key`` is the stored one, or empty where none is to go out; ``None`` leaves the client's own where they are.
    """
    place = route.credential_place.encode()
    credential = _credential(route.credential_place, key) if key else None
    any_key = key is not None
    host = route.upstream.authority
    headers = list[tuple[bytes, bytes]]()
    host_sent = credential_sent = False
    for header in inbound.headers:
        name, value = header
        lower = name.lower()
        if lower not in _REWRITTEN:
            if not lower.startswith(_OWN_HEADER) and (_TOKEN_PREFIX not in value or not _TOKEN.search(value)):
                headers.append(header)
        elif lower == b"host":
            if not host_sent:
                headers.append((name, host))
            host_sent = True
        elif lower == b"sec-websocket-protocol":
            if kept := _without_subprotocol(value, any_key=any_key):
                headers.append((name, kept))
        elif lower in _KEY_HEADERS:
            if not any_key and _TOKEN_PREFIX not in value:
                headers.append(header)
            elif credential and lower == place and not credential_sent:
                headers.append((name, credential))
                credential_sent = True
    if credential and not credential_sent:
        headers.append((place, credential))
    if not host_sent:
        headers.insert(0, (b"host", host))
    return Head(_without_key(route.target, any_key=any_key), tuple(headers))


def _credential(place: CredentialPlace, key: str) -> bytes:
    # Never raises: an encoding error would hold the key in its message.
    encoded = key.encode("utf-8", "replace")
    return b"Bearer " + encoded if place is CredentialPlace.BEARER else encoded


def _without_subprotocol(value: bytes, *, any_key: bool) -> bytes:
    entries = value.split(b",")
    kept = [entry for entry in entries if not (_TOKEN_PREFIX in entry or (any_key and _SUBPROTOCOL in entry))]
    return value if len(kept) == len(entries) else b",".join(kept).lstrip()


def _without_key(target: bytes, *, any_key: bool) -> bytes:
    """Take ``key=`` out of the query, all of them or those that hold a Metrion token, and a token anywhere else."""
    path, _, query = target.partition(b"?")
    if not query:
        return target
    parameters = query.split(b"&")
    kept = [parameter for parameter in parameters if not _leaves_no_trace(parameter, any_key=any_key)]
    if len(kept) == len(parameters):
        return target
    return path + b"?" + b"&".join(kept) if kept else path


def _leaves_no_trace(parameter: bytes, *, any_key: bool) -> bool:
    name, _, value = parameter.partition(b"=")
    if _is_key(name):
        return any_key or _TOKEN_PREFIX in unquote_to_bytes(value)
    return _TOKEN.search(parameter) is not None


# --- what may be seen -------------------------------------------------------------------------------------------------


def _masked(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    lower, stripped = name.lower(), value.strip()
    if lower not in _MASKED or not stripped:
        return _without_tokens(name), _without_tokens(value)
    if lower == b"sec-websocket-protocol":
        return name, b",".join(_masked_subprotocol(entry) for entry in value.split(b","))
    scheme = _SCHEME.match(stripped) if lower in _SCHEME_HEADERS else None
    return name, scheme[0] + b" " + _mask(stripped[scheme.end() :].strip()) if scheme else _mask(stripped)


def _masked_subprotocol(entry: bytes) -> bytes:
    for prefix in _SECRET_SUBPROTOCOLS:
        before, found, secret = entry.partition(prefix)
        if found:
            return before + found + _mask(secret.strip())
    return _without_tokens(entry)


def _masked_parameter(parameter: bytes) -> bytes:
    name, equals, value = parameter.partition(b"=")
    if value and unquote_to_bytes(name).lower() in _SECRET_PARAMETERS:
        return name + equals + _mask(value)
    return _without_tokens(parameter)


def _without_tokens(text: bytes) -> bytes:
    return _TOKEN_ANYWHERE.sub(lambda token: _mask(token[0]), text) if _TOKEN_PREFIX in text else text


def _mask(secret: bytes) -> bytes:
    return mask(secret.decode("latin-1")).encode()


def _label(raw: bytes, length: int) -> str:
    raw = _without_tokens(raw.strip())
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text[:length]
