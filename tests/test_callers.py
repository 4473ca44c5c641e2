"""Who gets in and what goes out: the sentences of the contract about credentials, as tables."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.callers import Directory, Token, admit, labels, mask, shown, token_digest
from metrion.model import Caller, CredentialPlace, Forward, Head, Headers, Inbound, Quota, Refusal, Route
from metrion.providers import PROVIDERS
from metrion.routing import Router
from metrion.settings import Plan, Settings

ROUTER = Router(Settings(home=Path("/nowhere")))
NOW = datetime(2026, 1, 1, tzinfo=UTC)

TOKEN = b"sk-metrion-" + b"Ab_-" * 10 + b"wxyz"
OTHER = b"sk-metrion-" + b"o" * 43
UNKNOWN = b"sk-metrion-" + b"u" * 43
REVOKED = b"sk-metrion-" + b"r" * 43
EXPIRED = b"sk-metrion-" + b"e" * 43
FOREIGN = b"sk-proj-the-clients-own"

TOKENS = {
    TOKEN: Token("ci", "default", "pro"),
    OTHER: Token("laptop", "team", "free"),
    REVOKED: Token("old", "default", "pro", revoked=True),
    EXPIRED: Token("past", "default", "pro", expires_at=NOW),
}
DIRECTORY = Directory(
    tokens={token_digest(secret.decode()): token for secret, token in TOKENS.items()},
    provider_keys={("default", provider): f"stored-{provider}" for provider in PROVIDERS},
)
PLANS = {"free": Plan(timeout=30), "pro": Plan(timeout=600)}

PATHS = {
    "openai": b"/openai/v1/chat/completions",
    "anthropic": b"/v1/messages",
    "mistral": b"/mistral/v1/chat/completions",
    "xai": b"/grok/v1/chat/completions",
    "google": b"/gemini/v1beta/models/m:generateContent",
    "google compatible": b"/gemini/v1beta/openai/chat/completions",
}


def bearer(secret: bytes) -> tuple[bytes, bytes]:
    return b"Authorization", b"Bearer " + secret


def identity(secret: bytes) -> tuple[bytes, bytes]:
    return b"X-Metrion-Token", secret


def decide(
    *headers: tuple[bytes, bytes],
    target: bytes = PATHS["openai"],
    directory: Directory = DIRECTORY,
    now: datetime = NOW,
    plans: Mapping[str, Plan] = PLANS,
) -> Forward | Refusal:
    inbound = Inbound(b"POST", target, headers)
    route = ROUTER.route(inbound)
    assert isinstance(route, Route), route
    return admit(inbound, route, directory, plans, now=now)


def forwarded(*headers: tuple[bytes, bytes], target: bytes = PATHS["openai"]) -> Forward:
    decision = decide(*headers, target=target)
    assert isinstance(decision, Forward), decision
    return decision


def refused(*headers: tuple[bytes, bytes], target: bytes = PATHS["openai"], now: datetime = NOW) -> Refusal:
    decision = decide(*headers, target=target, now=now)
    assert isinstance(decision, Refusal), decision
    return decision


# --- who asks ---------------------------------------------------------------------------------------------------------

PLACES: list[tuple[Headers, bytes]] = [
    (((b"Authorization", b"Bearer %s"),), b""),
    (((b"authorization", b"bearer   %s  "),), b""),
    (((b"AUTHORIZATION", b"BEARER\t%s"),), b""),
    (((b"x-api-key", b"%s"),), b""),
    (((b"X-Api-Key", b" %s "),), b""),
    (((b"api-key", b"%s"),), b""),
    (((b"x-goog-api-key", b"%s"),), b""),
    (((b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key.%s, openai-beta.realtime-v1"),), b""),
    ((), b"?key=%s"),
    ((), b"?alt=sse&key=%s&x=1"),
    ((), b"?%%6bey=%s"),
    (((b"x-metrion-token", b"%s"),), b""),
]


@pytest.mark.parametrize("provider", PATHS)
@pytest.mark.parametrize(("headers", "query"), PLACES)
def test_a_token_identifies_wherever_a_credential_may_stand(headers: Headers, query: bytes, provider: str) -> None:
    filled = tuple((name, value % TOKEN) for name, value in headers)
    forward = forwarded(*filled, target=PATHS[provider] + (query % TOKEN if query else b""))
    assert forward.caller == Caller("default", "ci", "stored", 600)
    wire = b"\n".join((forward.wire.target, *(name + b": " + value for name, value in forward.wire.headers)))
    assert b"sk-metrion" not in wire
    assert f"stored-{provider.split()[0]}".encode() in wire
    assert TOKEN not in repr(forward).encode()
    assert b"stored-" not in repr(forward).encode()


@pytest.mark.parametrize("provider", PATHS)
def test_the_same_token_in_several_places_is_one_token(provider: str) -> None:
    headers = (bearer(TOKEN), (b"x-api-key", TOKEN), identity(TOKEN))
    assert forwarded(*headers, target=PATHS[provider] + b"?key=" + TOKEN).caller.credential == "stored"


REFUSALS: list[tuple[str, Headers, bytes, int, str]] = [
    ("nothing", (), b"", 401, "missing_token"),
    ("empty places", (bearer(b" "), (b"x-api-key", b" "), identity(b"")), b"?key=", 401, "missing_token"),
    ("only a scheme", ((b"Authorization", b"Bearer "),), b"", 401, "missing_token"),
    ("a foreign key", (bearer(FOREIGN),), b"", 401, "missing_token"),
    ("foreign keys", (bearer(FOREIGN), (b"x-api-key", FOREIGN)), b"?key=" + FOREIGN, 401, "missing_token"),
    ("no place", ((b"x-token", TOKEN), (b"cookie", b"t=" + TOKEN)), b"?token=" + TOKEN, 401, "missing_token"),
    ("no scheme", ((b"Authorization", TOKEN),), b"", 401, "missing_token"),
    ("basic", ((b"Authorization", b"Basic " + base64.b64encode(TOKEN)),), b"", 401, "missing_token"),
    ("another scheme", ((b"Authorization", b"Token " + TOKEN),), b"", 401, "missing_token"),
    ("malformed: short", (bearer(b"sk-metrion-" + b"a" * 39),), b"", 401, "invalid_token"),
    ("malformed: long", (bearer(b"sk-metrion-" + b"a" * 81),), b"", 401, "invalid_token"),
    ("malformed: a character", (bearer(TOKEN + b"!"),), b"", 401, "invalid_token"),
    ("malformed: a newline", (bearer(TOKEN + b"\nx"),), b"", 401, "invalid_token"),
    ("malformed: bytes", (bearer(TOKEN + b"\xff\x00"),), b"", 401, "invalid_token"),
    ("malformed: twice the scheme", (bearer(b"Bearer " + TOKEN),), b"", 401, "invalid_token"),
    ("malformed: in quotes", (bearer(b'"' + TOKEN + b'"'),), b"", 401, "invalid_token"),
    ("malformed: no token at all", (identity(b"secret"),), b"", 401, "invalid_token"),
    ("malformed: percent", ((b"accept", b"*/*"),), b"?key=sk-metrion-%ff", 401, "invalid_token"),
    ("unknown", (bearer(UNKNOWN),), b"", 401, "invalid_token"),
    ("revoked", (bearer(REVOKED),), b"", 401, "invalid_token"),
    ("expired", (bearer(EXPIRED),), b"", 401, "invalid_token"),
    ("unknown, with the client's own key", (identity(UNKNOWN), bearer(FOREIGN)), b"", 401, "invalid_token"),
    ("two in places", (bearer(TOKEN), (b"x-api-key", OTHER)), b"", 401, "conflicting_tokens"),
    ("two in one place", (bearer(TOKEN), bearer(OTHER)), b"", 401, "conflicting_tokens"),
    ("one named, one in a place", (identity(TOKEN), bearer(OTHER)), b"", 401, "conflicting_tokens"),
    ("one in the query", (bearer(TOKEN),), b"?key=" + OTHER, 401, "conflicting_tokens"),
    ("one of two is unknown", (bearer(TOKEN), (b"api-key", UNKNOWN)), b"", 401, "conflicting_tokens"),
    ("one of two is malformed", (bearer(TOKEN), (b"api-key", b"sk-metrion-x")), b"", 401, "conflicting_tokens"),
    ("no stored key", (bearer(OTHER),), b"", 400, "no_provider_key"),
    ("no stored key, the token twice", (identity(OTHER), bearer(OTHER)), b"", 400, "no_provider_key"),
    ("no stored key, a foreign one unasked", (bearer(OTHER), (b"x-api-key", FOREIGN)), b"", 400, "no_provider_key"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "query", "status", "code"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_refusal(headers: Headers, query: bytes, status: int, code: str) -> None:
    refusal = refused(*headers, target=PATHS["openai"] + query)
    assert (refusal.status, refusal.code, refusal.provider) == (status, code, "openai")
    assert refusal.route is not None
    assert (refusal.caller is None) == (status == 401)
    for secret in (*TOKENS, UNKNOWN, FOREIGN):
        assert secret not in repr(refusal).encode()


@pytest.mark.parametrize(("headers", "told"), [((), False), ((bearer(FOREIGN),), True)])
def test_who_sends_a_key_without_a_token_is_told_how_to_keep_it(headers: Headers, told: bool) -> None:
    message = refused(*headers).message
    assert message.startswith("No Metrion token. Send a token from `metrion token create`")
    assert ("x-metrion-token" in message) is told


def test_no_provider_key_says_which_command_stores_one() -> None:
    empty = Directory(tokens=DIRECTORY.tokens)
    refusal = decide(bearer(TOKEN), directory=empty)
    assert isinstance(refusal, Refusal)
    assert "`metrion key set openai`" in refusal.message
    assert refusal.caller == Caller("default", "ci", "stored", 600)
    assert "`metrion key set openai --account team`" in refused(bearer(OTHER)).message


def test_a_token_lives_until_the_moment_it_expires() -> None:
    assert isinstance(decide(bearer(EXPIRED), now=NOW - timedelta(microseconds=1)), Forward)
    naive = Directory(
        {token_digest(TOKEN.decode()): Token("ci", "default", "pro", expires_at=NOW.replace(tzinfo=None))},
        DIRECTORY.provider_keys,
    )
    assert isinstance(decide(bearer(TOKEN), directory=naive, now=NOW - timedelta(seconds=1)), Forward)
    assert isinstance(decide(bearer(TOKEN), directory=naive), Refusal)


def test_without_a_given_time_expiry_is_judged_by_the_clock() -> None:
    inbound = Inbound(b"GET", b"/openai/v1/models", (bearer(EXPIRED),))
    route = ROUTER.route(inbound)
    assert isinstance(route, Route)
    assert isinstance(admit(inbound, route, DIRECTORY, PLANS), Refusal)


@pytest.mark.parametrize(
    ("of_token", "of_provider", "of_plan", "expected"),
    [
        (5.0, 7.0, 30.0, 5.0),
        (None, 7.0, 30.0, 7.0),
        (None, None, 30.0, 30.0),
        (None, None, None, None),
        (0.0, 7.0, 30.0, None),
        (None, 0.0, 30.0, None),
        (None, None, 0.0, None),
    ],
)
def test_timeout_is_the_tokens_then_the_providers_then_the_plans(
    of_token: float | None, of_provider: float | None, of_plan: float | None, expected: float | None
) -> None:
    settings = Settings(home=Path("/nowhere"))
    openai = settings.providers["openai"].model_copy(update={"timeout": of_provider})
    router = Router(settings.model_copy(update={"providers": {**settings.providers, "openai": openai}}))
    token = Token("ci", "default", "pro", timeout=of_token)
    directory = Directory({token_digest(TOKEN.decode()): token}, DIRECTORY.provider_keys)
    inbound = Inbound(b"POST", PATHS["openai"], (bearer(TOKEN),))
    route = router.route(inbound)
    assert isinstance(route, Route)
    decision = admit(inbound, route, directory, {"pro": Plan(timeout=of_plan)})
    assert isinstance(decision, Forward)
    assert decision.caller.timeout == expected


@pytest.mark.parametrize(
    ("of_token", "of_plan", "expected"),
    [
        ((None, None), (100, 10_000), (100, 10_000)),
        ((5, 7), (100, 10_000), (5, 7)),
        ((500, 70_000), (100, 10_000), (500, 70_000)),
        ((0, 0), (100, 10_000), (None, None)),
        ((None, 0), (100, 10_000), (100, None)),
        ((None, 7), (100, None), (100, 7)),
        ((None, None), (0, None), (None, None)),
        ((5, None), (None, 0), (5, None)),
    ],
)
def test_limits_are_the_tokens_then_the_plans(
    of_token: tuple[int | None, int | None],
    of_plan: tuple[int | None, int | None],
    expected: tuple[int | None, int | None],
) -> None:
    """0 is no limit, and overrides the plan's."""
    digest = token_digest(TOKEN.decode())
    token = Token("ci", "default", "free", requests_per_minute=of_token[0], requests_per_month=of_token[1])
    plan = Plan(requests_per_minute=of_plan[0], requests_per_month=of_plan[1])
    directory = Directory({digest: token}, DIRECTORY.provider_keys)
    decision = decide(bearer(TOKEN), directory=directory, plans={"free": plan, "pro": Plan(requests_per_minute=1)})
    assert isinstance(decision, Forward)
    assert decision.quota == Quota(digest, *expected)


# --- what goes out ----------------------------------------------------------------------------------------------------

HOSTS = {name.encode(): entry.upstream.authority for name, entry in PROVIDERS.items()}
PLACE = {
    "openai": (b"authorization", b"Bearer stored-openai"),
    "anthropic": (b"x-api-key", b"stored-anthropic"),
    "mistral": (b"authorization", b"Bearer stored-mistral"),
    "xai": (b"authorization", b"Bearer stored-xai"),
    "google": (b"x-goog-api-key", b"stored-google"),
    "google compatible": (b"authorization", b"Bearer stored-google"),
}


@pytest.mark.parametrize("provider", PATHS)
def test_a_stored_key_goes_out_in_the_providers_own_place_and_every_other_credential_goes(provider: str) -> None:
    forward = forwarded(
        (b"Host", b"localhost:8080"),
        (b"X-Api-Key", TOKEN),
        (b"Accept", b"*/*"),
        (b"api-key", FOREIGN),
        (b"x-goog-api-key", TOKEN),
        (b"Authorization", b"Bearer " + TOKEN),
        (b"X-API-KEY", FOREIGN),
        (b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key." + FOREIGN),
        target=PATHS[provider] + b"?a=%20&key=" + FOREIGN + b"&key=" + TOKEN + b"&b",
    )
    name, value = PLACE[provider]
    host = HOSTS[provider.split()[0].encode()]
    place_position = {b"x-api-key": 1, b"x-goog-api-key": 2, b"authorization": 2}[name]
    headers = [(b"host", host), (b"accept", b"*/*"), (b"sec-websocket-protocol", b"realtime")]
    headers.insert(place_position, (name, value))
    assert [(name.lower(), value) for name, value in forward.wire.headers] == headers
    assert forward.wire.target.partition(b"?")[2] == b"a=%20&b"


@pytest.mark.parametrize("provider", PATHS)
def test_a_place_that_the_client_did_not_use_is_appended(provider: str) -> None:
    forward = forwarded((b"Accept", b"*/*"), identity(TOKEN), (b"Last", b"1"), target=PATHS[provider])
    host = HOSTS[provider.split()[0].encode()]
    assert forward.wire.headers == ((b"host", host), (b"Accept", b"*/*"), (b"Last", b"1"), PLACE[provider])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (CredentialPlace.API_KEY, b"stored-openai"),
        (CredentialPlace.X_API_KEY, b"stored-openai"),
        (CredentialPlace.BEARER, b"Bearer stored-openai"),
    ],
)
def test_a_place_that_was_configured(place: CredentialPlace, value: bytes) -> None:
    inbound = Inbound(b"POST", PATHS["openai"], (bearer(TOKEN), (b"API-Key", TOKEN)))
    route = ROUTER.route(inbound)
    assert isinstance(route, Route)
    forward = admit(inbound, replace(route, credential_place=place), DIRECTORY, PLANS, now=NOW)
    assert isinstance(forward, Forward)
    assert [(name.lower(), value) for name, value in forward.wire.headers[1:]] == [(place.encode(), value)]


@pytest.mark.parametrize(
    ("headers", "query", "credential", "left"),
    [
        ((bearer(TOKEN),), b"", None, ()),
        ((bearer(TOKEN), (b"x-api-key", FOREIGN)), b"?key=" + FOREIGN, None, ()),
        ((identity(TOKEN), bearer(FOREIGN)), b"", "pass_through", (bearer(FOREIGN),)),
    ],
)
@pytest.mark.parametrize("directory", [DIRECTORY, Directory(tokens=DIRECTORY.tokens)])
def test_a_server_without_keys_gets_none_but_the_clients(
    headers: Headers, query: bytes, credential: str | None, left: Headers, directory: Directory
) -> None:
    inbound = Inbound(b"POST", PATHS["openai"] + query, headers)
    route = ROUTER.route(inbound)
    assert isinstance(route, Route)
    forward = admit(inbound, replace(route, credential_place=CredentialPlace.NONE), directory, PLANS, now=NOW)
    assert isinstance(forward, Forward)
    assert (forward.caller.credential, forward.wire.headers[1:]) == (credential, left)
    assert forward.wire.target == b"/v1/chat/completions"


@pytest.mark.parametrize(
    ("headers", "query", "left", "left_query"),
    [
        # Untouched, where it came, even where the provider expects another place.
        ((bearer(FOREIGN),), b"", (bearer(FOREIGN),), b""),
        (((b"X-Api-Key", FOREIGN),), b"", ((b"X-Api-Key", FOREIGN),), b""),
        (((b"api-key", b" odd " + FOREIGN),), b"", ((b"api-key", b" odd " + FOREIGN),), b""),
        ((), b"?x=1&key=" + FOREIGN, (), b"?x=1&key=" + FOREIGN),
        (
            ((b"Sec-WebSocket-Protocol", b"realtime,openai-insecure-api-key." + FOREIGN + b" , b"),),
            b"",
            ((b"Sec-WebSocket-Protocol", b"realtime,openai-insecure-api-key." + FOREIGN + b" , b"),),
            b"",
        ),
        # Several of the client's own stay; a Metrion token beside them goes.
        ((bearer(FOREIGN), (b"x-api-key", FOREIGN)), b"", (bearer(FOREIGN), (b"x-api-key", FOREIGN)), b""),
        ((bearer(TOKEN), (b"x-api-key", FOREIGN)), b"", ((b"x-api-key", FOREIGN),), b""),
        ((bearer(FOREIGN),), b"?key=" + TOKEN, (bearer(FOREIGN),), b""),
        ((bearer(FOREIGN),), b"?a&key=" + TOKEN + b"&key=" + FOREIGN, (bearer(FOREIGN),), b"?a&key=" + FOREIGN),
        (
            (bearer(FOREIGN), (b"Sec-WebSocket-Protocol", b"openai-insecure-api-key." + TOKEN + b", realtime")),
            b"",
            (bearer(FOREIGN), (b"Sec-WebSocket-Protocol", b"realtime")),
            b"",
        ),
        ((bearer(FOREIGN), (b"Authorization", b"Token " + TOKEN)), b"", (bearer(FOREIGN),), b""),
    ],
)
def test_pass_through(headers: Headers, query: bytes, left: Headers, left_query: bytes) -> None:
    forward = forwarded(identity(TOKEN), *headers, target=PATHS["openai"] + query)
    assert forward.caller.credential == "pass_through"
    assert forward.wire == Head(b"/v1/chat/completions" + left_query, ((b"host", b"api.openai.com"), *left))
    assert FOREIGN not in repr(forward).encode()


def test_pass_through_needs_no_stored_key() -> None:
    assert forwarded(identity(OTHER), bearer(FOREIGN)).caller == Caller("team", "laptop", "pass_through", 30)


@pytest.mark.parametrize(
    "dropped",
    [
        (b"x-metrion-user", b"ann"),
        (b"X-Metrion-Tag-Job", b"nightly"),
        (b"x-metrion-whatever", b"1"),
        (b"Proxy-Authorization", b"Basic abc"),
        (b"proxy-connection", b"keep-alive"),
        (b"Expect", b"100-continue"),
        (b"x-note", b"my token is " + TOKEN),
        (b"Cookie", b"t=" + OTHER),
    ],
)
def test_what_is_ours_does_not_leave(dropped: tuple[bytes, bytes]) -> None:
    around = (b"A", b"1"), (b"B", b"2")
    headers = forwarded(around[0], dropped, bearer(TOKEN), around[1]).wire.headers
    assert headers == ((b"host", b"api.openai.com"), around[0], bearer(b"stored-openai"), around[1])


@pytest.mark.parametrize(
    "kept",
    [
        (b"OpenAI-Organization", b"org-1"),
        (b"anthropic-beta", b"a, b"),
        (b"Connection", b"Upgrade, keep-alive"),
        (b"Upgrade", b"websocket"),
        (b"TE", b"trailers"),
        (b"Content-Length", b"12"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Accept-Encoding", b"gzip, br"),
        (b"Cookie", b"a=b"),
        (b"X-Latin", b"\xe9\xff"),
        (b"X-Empty", b""),
        (b"Sec-WebSocket-Protocol", b" realtime ,  x "),
        (b"X-Metrion", b"not ours: no dash follows"),
        (b"x-note", b"tokens begin with sk-metrion-"),
    ],
)
def test_everything_else_leaves_as_it_came(kept: tuple[bytes, bytes]) -> None:
    for credentials in ((bearer(TOKEN),), (identity(TOKEN), bearer(FOREIGN))):
        assert forwarded(kept, *credentials, kept).wire.headers.count(kept) == 2


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (b"", b""),
        (b"?", b"?"),
        (b"?key=T", b""),
        (b"?key", b""),
        (b"?key=T&a=1", b"?a=1"),
        (b"?a=1&key=T", b"?a=1"),
        (b"?a=%2F&&b=?&key=T&", b"?a=%2F&&b=?&"),
        (b"?k%65y=T&monkey=1", b"?monkey=1"),
        (b"?Key=1&keys=2&xkey=3", b"?Key=1&keys=2&xkey=3"),
        (b"?a=key=1", b"?a=key=1"),
        (b"?token=" + OTHER + b"&a=1", b"?a=1"),
    ],
)
def test_only_the_key_leaves_the_query(query: bytes, left: bytes) -> None:
    forward = forwarded(bearer(TOKEN), target=b"/openai/v1/x" + query)
    assert forward.wire.target == b"/v1/x" + left


def test_host_goes_where_it_stood_and_once() -> None:
    headers = forwarded((b"A", b"1"), (b"HOST", b"localhost"), bearer(TOKEN), (b"host", b"again")).wire.headers
    assert headers == ((b"A", b"1"), (b"HOST", b"api.openai.com"), bearer(b"stored-openai"))


def test_a_key_that_is_no_ascii_cannot_raise() -> None:
    odd = Directory(DIRECTORY.tokens, {("default", "openai"): "k\udcff\u20ac"})
    decision = decide(bearer(TOKEN), directory=odd)
    assert isinstance(decision, Forward)
    assert decision.wire.headers[-1] == (b"Authorization", "Bearer k?€".encode())


# --- what may be seen -------------------------------------------------------------------------------------------------

SHORT = "sk-metrion-…wxyz".encode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (bearer(TOKEN), b"Bearer " + SHORT),
        (bearer(FOREIGN), b"Bearer ***"),
        ((b"authorization", b"bearer  " + FOREIGN), b"bearer ***"),
        ((b"Authorization", TOKEN), SHORT),
        ((b"Authorization", FOREIGN), b"***"),
        ((b"Authorization", b"Basic " + base64.b64encode(TOKEN + b":")), b"Basic ***"),
        ((b"Authorization", b"AWS4-HMAC-SHA256 Credential=x"), b"***"),
        ((b"Authorization", b""), b""),
        ((b"x-api-key", TOKEN), SHORT),
        ((b"X-API-KEY", FOREIGN), b"***"),
        ((b"api-key", FOREIGN), b"***"),
        ((b"x-goog-api-key", FOREIGN), b"***"),
        ((b"x-metrion-token", TOKEN), SHORT),
        ((b"x-metrion-token", b"anything"), b"***"),
        ((b"Proxy-Authorization", b"Basic " + base64.b64encode(TOKEN + b":")), b"Basic ***"),
        ((b"Cookie", b"session=1"), b"***"),
        (
            (b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key." + FOREIGN + b", x"),
            b"realtime, openai-insecure-api-key.***, x",
        ),
        ((b"sec-websocket-protocol", b"openai-insecure-api-key." + TOKEN), b"openai-insecure-api-key." + SHORT),
        ((b"sec-websocket-protocol", b"xai-client-secret." + FOREIGN), b"xai-client-secret.***"),
        ((b"X-Whatever", b"a" + TOKEN + b", b"), b"a" + SHORT + b", b"),
        ((b"X-Whatever", b"sk-metrion-short and " + OTHER), "*** and sk-metrion-…oooo".encode()),
        ((b"X-Whatever", b"plain \xff"), b"plain \xff"),
    ],
)
def test_shown_header(header: tuple[bytes, bytes], expected: bytes) -> None:
    assert shown(Inbound(b"GET", b"/x", (header,))).headers == ((header[0], expected),)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/openai/v1/x?a=1&&b", b"/openai/v1/x?a=1&&b"),
        (b"/x?", b"/x?"),
        (b"/x?key=" + FOREIGN, b"/x?key=***"),
        (b"/x?a=1&key=" + TOKEN + b"&b=2", b"/x?a=1&key=" + SHORT + b"&b=2"),
        (b"/x?%6bey=" + FOREIGN, b"/x?%6bey=***"),
        (b"/x?KEY=" + FOREIGN + b"&access_token=" + FOREIGN, b"/x?KEY=***&access_token=***"),
        (b"/x?other=" + TOKEN, b"/x?other=" + SHORT),
        (b"/x/" + TOKEN + b"/y?monkey=1", b"/x/" + SHORT + b"/y?monkey=1"),
    ],
)
def test_shown_target(target: bytes, expected: bytes) -> None:
    assert shown(Inbound(b"GET", target, ())).target == expected


def test_a_forwarded_request_is_shown_as_it_came() -> None:
    headers = ((b"Host", b"localhost:8080"), bearer(TOKEN), (b"x-metrion-user", b"ann"))
    assert forwarded(*headers).shown == Head(
        PATHS["openai"], ((b"Host", b"localhost:8080"), (b"Authorization", b"Bearer " + SHORT), headers[2])
    )


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (TOKEN.decode(), "sk-metrion-…wxyz"),
        ("sk-metrion-ab", "***"),
        ("sk-proj-1234", "***"),
        ("", "***"),
        ("\udcff€", "***"),
        (TOKEN.decode() + "\n", "***"),
    ],
)
def test_mask(secret: str, expected: str) -> None:
    assert mask(secret) == expected


def test_a_directory_shows_no_secret() -> None:
    assert "stored-" not in repr(DIRECTORY)
    assert TOKEN.decode() not in repr(DIRECTORY)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "user", "tags"),
    [
        ((), None, None),
        (((b"X-Metrion-User", b" ann "),), "ann", None),
        (((b"x-metrion-user", b""),), None, None),
        (((b"x-metrion-user", "Zoë".encode()),), "Zoë", None),
        (((b"x-metrion-user", b"Zo\xeb"),), "Zoë", None),
        (((b"x-metrion-user", b"u" * 1000),), "u" * 256, None),
        (((b"x-metrion-user", b"me " + TOKEN),), "me sk-metrion-…wxyz", None),
        (((b"X-Metrion-Tag-Job", b"nightly"), (b"x-metrion-tag-env", b"")), None, {"job": "nightly", "env": ""}),
        (((b"x-metrion-tag-job", b"a"), (b"X-METRION-TAG-JOB", b"b")), None, {"job": "b"}),
        (((b"x-metrion-tag-", b"a"), (b"x-metrion-tag", b"b")), None, None),
        (((b"x-metrion-tag-" + b"n" * 99, b"v" * 999),), None, {"n" * 64: "v" * 256}),
        (tuple((b"x-metrion-tag-%d" % n, b"") for n in range(40)), None, {str(n): "" for n in range(32)}),
    ],
)
def test_labels(headers: Headers, user: str | None, tags: Mapping[str, str] | None) -> None:
    assert labels(Inbound(b"POST", b"/x", headers)) == (user, tags)


# --- for any request --------------------------------------------------------------------------------------------------

PLACE_NAMES = (
    b"authorization",
    b"x-api-key",
    b"api-key",
    b"x-goog-api-key",
    b"x-metrion-token",
    b"sec-websocket-protocol",
)
NAMES = st.sampled_from([*PLACE_NAMES, b"X-API-Key", b"Host", b"Cookie", b"Accept", b"x-metrion-user", b"expect"])
SECRETS = st.sampled_from([b"", TOKEN, OTHER, UNKNOWN, REVOKED, EXPIRED, FOREIGN, TOKEN[:-8], TOKEN + b"\xff"])
WRAPPED = st.sampled_from(
    [b"%s", b"Bearer %s", b"bearer %s", b" %s ", b"Basic %s", b"a, openai-insecure-api-key.%s, b", b'"%s"', b"x%sx"]
)
VALUES = st.builds(lambda wrapped, secret: wrapped.replace(b"%s", secret), WRAPPED, SECRETS) | st.binary(max_size=20)
HEADS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple)
QUERIES = st.none() | st.builds(lambda name, secret: name + b"=" + secret, st.sampled_from([b"key", b"a"]), SECRETS)


@given(HEADS, QUERIES, st.sampled_from(sorted(PATHS)))
def test_nobody_without_a_valid_token_gets_in_and_no_credential_is_shown(
    headers: Headers, query: bytes | None, provider: str
) -> None:
    target = PATHS[provider] + (b"?" + query if query is not None else b"")
    inbound = Inbound(b"POST", target, headers)
    route = ROUTER.route(inbound)
    assert isinstance(route, Route)
    decision = admit(inbound, route, DIRECTORY, PLANS, now=NOW)
    if isinstance(decision, Forward):
        places = (query or b"", *(value for name, value in headers if name.lower() in PLACE_NAMES))
        assert any(TOKEN in value or OTHER in value for value in places)
        wire = decision.wire
        sent = b"\n".join((wire.target, *(value for _, value in wire.headers)))
        assert not any(secret in sent for secret in TOKENS)
        assert (b"stored-" in sent) == (decision.caller.credential == "stored")
        if decision.caller.credential == "stored":
            assert b"key=" not in wire.target
            assert not any(FOREIGN in value for name, value in wire.headers if name.lower() in PLACE_NAMES[:4])
    seen = repr(shown(inbound)).encode() + repr(shown(inbound).headers).encode() + repr(decision).encode()
    assert not any(secret in seen for secret in (*TOKENS, UNKNOWN))
    assert b"stored-" not in seen


PLAIN = st.binary(max_size=12).map(lambda raw: b"n" + raw.translate(None, b"\r\n\x00"))


@given(st.lists(st.tuples(PLAIN, st.binary(max_size=30)), max_size=8), st.integers(0, 8), st.booleans())
def test_other_headers_go_out_in_order_byte_for_byte(
    others: list[tuple[bytes, bytes]],
    position: int,
    pass_through: bool,
) -> None:
    own = (identity(TOKEN), bearer(FOREIGN)) if pass_through else (bearer(TOKEN),)
    forward = forwarded(*others[:position], *own, *others[position:])
    key = bearer(FOREIGN) if pass_through else bearer(b"stored-openai")
    assert forward.wire.headers == ((b"host", b"api.openai.com"), *others[:position], key, *others[position:])


def test_a_header_of_blanks_takes_no_time() -> None:
    """Linear in its length: a hostile megabyte costs milliseconds. A quadratic reader would take minutes."""
    blanks = b" \t" * 500_000
    assert refused((b"Authorization", b"Bearer" + blanks + b"x" + blanks)).code == "missing_token"
    assert refused((b"Sec-WebSocket-Protocol", b"," * 100_000)).code == "missing_token"
