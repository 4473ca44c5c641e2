"""Every way in which Metrion refuses a request, one row each: status and code, why, and whether a retry may help.

A :class:`~metrion.model.Refusal` is made from a row, so that a status and a code never disagree. To refuse for another
reason, add a row here and to ``docs/requests.md``.
"""

from __future__ import annotations

from metrion.model import RefusalKind

BAD_REQUEST = RefusalKind(
    400,
    "bad_request",
    "the path has dot segments or cannot be sent, or the request's framing is broken",
    lasting=True,
)
NO_PROVIDER_KEY = RefusalKind(
    400, "no_provider_key", "no key is stored for the account, and the request brought none", lasting=True
)
MISTAKEN_CALL = RefusalKind(
    400, "unknown_route", "the base URL is mistaken, and the path ends as one that generates", lasting=True
)
MISSING_TOKEN = RefusalKind(401, "missing_token", "there is no Metrion token", lasting=True)
INVALID_TOKEN = RefusalKind(401, "invalid_token", "the token is unknown, malformed, revoked or expired", lasting=True)
CONFLICTING_TOKENS = RefusalKind(401, "conflicting_tokens", "there are two different tokens", lasting=True)
NOT_ALLOWED = RefusalKind(
    403,
    "not_allowed",
    "the token may not do this: its provider, model, operation or network is none of those allowed",
    lasting=True,
)
NOT_A_PROVIDER = RefusalKind(
    403, "not_a_provider", "the host is no configured provider's: Metrion is no open relay", lasting=True
)
UNKNOWN_ROUTE = RefusalKind(404, "unknown_route", "the path names no provider, or has its version twice", lasting=True)
PROXY_TOKEN_MISSING = RefusalKind(
    407, "missing_token", "a CONNECT to another host brings no token in `Proxy-Authorization`", lasting=True
)
PROXY_TOKEN_INVALID = RefusalKind(
    407,
    "invalid_token",
    "the token of a CONNECT to another host is unknown, malformed, revoked or expired",
    lasting=True,
)
BODY_TOO_LARGE = RefusalKind(
    413,
    "body_too_large",
    "the token's rules need the body, and it is larger than what is held in memory for that",
    lasting=True,
)
RATE_LIMITED = RefusalKind(
    429,
    "rate_limited",
    "the token has used up its requests in 60 seconds; `retry-after` says when the next passes",
    retry_after=True,
)
MONTHLY_CAP = RefusalKind(
    429, "monthly_cap", "the token has used up its requests in the calendar month (UTC)", lasting=True, retry_after=True
)
HEAD_TOO_LARGE = RefusalKind(431, "bad_request", "the header fields are larger than is accepted", lasting=True)
INTERNAL = RefusalKind(
    500,
    "internal",
    "Metrion failed while it checked the request: it does not let pass what it could not check",
)
UPSTREAM_UNREACHABLE = RefusalKind(502, "upstream_unreachable", "there was no usable answer from the provider")
TIMEOUT = RefusalKind(504, "timeout", "the provider sent nothing for as long as the timeout", lasting=True)

KINDS = (
    BAD_REQUEST,
    NO_PROVIDER_KEY,
    MISTAKEN_CALL,
    MISSING_TOKEN,
    INVALID_TOKEN,
    CONFLICTING_TOKENS,
    NOT_ALLOWED,
    NOT_A_PROVIDER,
    UNKNOWN_ROUTE,
    PROXY_TOKEN_MISSING,
    PROXY_TOKEN_INVALID,
    BODY_TOO_LARGE,
    RATE_LIMITED,
    MONTHLY_CAP,
    HEAD_TOO_LARGE,
    INTERNAL,
    UPSTREAM_UNREACHABLE,
    TIMEOUT,
)
"""All of them, in the order of their statuses."""
