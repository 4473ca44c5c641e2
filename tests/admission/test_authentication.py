"""Who gets in: the sentences of the contract about credentials, as tables."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.admission import AccessSnapshot, Token, admit, shown, token_digest
from metrion.admission.routing import Router
from metrion.model import Caller, Forward, Headers, Inbound, Quota, Refusal, Route
from metrion.settings import Plan, Settings
from tests.admission.calls import (
    ACCESS,
    EXPIRED,
    FOREIGN,
    NOW,
    OTHER,
    PATHS,
    PLANS,
    REVOKED,
    ROUTER,
    TOKEN,
    TOKENS,
    UNKNOWN,
    bearer,
    decide,
    forwarded,
    identity,
    refused,
)

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
    empty = AccessSnapshot(tokens=ACCESS.tokens)
    refusal = decide(bearer(TOKEN), access=empty)
    assert isinstance(refusal, Refusal)
    assert "`metrion key set openai`" in refusal.message
    assert refusal.caller == Caller("default", "ci", "stored", 600)
    assert "`metrion key set openai --account team`" in refused(bearer(OTHER)).message


def test_a_token_lives_until_the_moment_it_expires() -> None:
    assert isinstance(decide(bearer(EXPIRED), now=NOW - timedelta(microseconds=1)), Forward)
    naive = AccessSnapshot(
        {token_digest(TOKEN.decode()): Token("ci", "default", "pro", expires_at=NOW.replace(tzinfo=None))},
        ACCESS.provider_keys,
    )
    assert isinstance(decide(bearer(TOKEN), access=naive, now=NOW - timedelta(seconds=1)), Forward)
    assert isinstance(decide(bearer(TOKEN), access=naive), Refusal)


def test_without_a_given_time_expiry_is_judged_by_the_clock() -> None:
    inbound = Inbound(b"GET", b"/openai/v1/models", (bearer(EXPIRED),))
    route = ROUTER.route(inbound)
    assert isinstance(route, Route)
    assert isinstance(admit(inbound, route, ACCESS, PLANS), Refusal)


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
    access = AccessSnapshot({token_digest(TOKEN.decode()): token}, ACCESS.provider_keys)
    inbound = Inbound(b"POST", PATHS["openai"], (bearer(TOKEN),))
    route = router.route(inbound)
    assert isinstance(route, Route)
    decision = admit(inbound, route, access, {"pro": Plan(timeout=of_plan)})
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
    access = AccessSnapshot({digest: token}, ACCESS.provider_keys)
    decision = decide(bearer(TOKEN), access=access, plans={"free": plan, "pro": Plan(requests_per_minute=1)})
    assert isinstance(decision, Forward)
    assert decision.quota == Quota(digest, *expected)


def test_a_former_secret_is_counted_with_the_new_one_and_says_why_it_ended() -> None:
    first = token_digest(OTHER.decode())
    token = Token("ci", "default", "pro", expires_at=NOW, rotated=True, counted_as=first)
    access = AccessSnapshot({token_digest(TOKEN.decode()): token}, ACCESS.provider_keys)
    decision = decide(bearer(TOKEN), access=access, now=NOW - timedelta(seconds=1))
    assert isinstance(decision, Forward)
    assert decision.quota is not None
    assert decision.quota.token == first
    refusal = decide(bearer(TOKEN), access=access)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, "ci has a new secret, and this one is no longer valid" in refusal.message) == (
        "invalid_token",
        True,
    )


def test_an_accounts_own_key_goes_before_the_shared_one() -> None:
    access = AccessSnapshot(ACCESS.tokens, {("team", "openai"): "own"}, {"openai": "shared", "xai": "shared"})
    asked = (("team", "openai"), ("default", "openai"), ("team", "xai"), ("team", "mistral"))
    assert [access.provider_key(*each) for each in asked] == ["own", "shared", "shared", None]
    assert "shared" not in repr(access)


def test_a_snapshot_shows_no_secret() -> None:
    assert "stored-" not in repr(ACCESS)
    assert TOKEN.decode() not in repr(ACCESS)


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
    decision = admit(inbound, route, ACCESS, PLANS, now=NOW)
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


def test_a_header_of_blanks_takes_no_time() -> None:
    """Linear in its length: a hostile megabyte costs milliseconds. A quadratic reader would take minutes."""
    blanks = b" \t" * 500_000
    assert refused((b"Authorization", b"Bearer" + blanks + b"x" + blanks)).code == "missing_token"
    assert refused((b"Sec-WebSocket-Protocol", b"," * 100_000)).code == "missing_token"


PLAN = b"sk-ant-oat01-the-clients-own"


@pytest.mark.parametrize(
    ("headers", "stored", "target", "expected"),
    [
        ((bearer(TOKEN),), PLAN.decode(), "anthropic", ("stored", True)),
        ((bearer(TOKEN),), "sk-ant-api03-x", "anthropic", ("stored", False)),
        ((identity(TOKEN), bearer(PLAN)), "sk-ant-api03-x", "anthropic", ("pass_through", True)),
        ((identity(TOKEN), (b"x-api-key", PLAN)), "sk-ant-api03-x", "anthropic", ("pass_through", True)),
        ((identity(TOKEN), (b"x-api-key", b"sk-ant-api03-y")), PLAN.decode(), "anthropic", ("pass_through", False)),
        ((identity(TOKEN), bearer(PLAN)), "x", "openai", ("pass_through", False)),
        ((identity(TOKEN), bearer(PLAN), (b"x-api-key", b"sk-ant-api03-y")), "x", "anthropic", ("pass_through", False)),
        ((identity(TOKEN), bearer(PLAN), (b"x-api-key", TOKEN)), "x", "anthropic", ("pass_through", True)),
    ],
)
def test_a_credential_of_a_flat_rate_plan_is_known_by_its_beginning(
    headers: Headers, stored: str, target: str, expected: tuple[str, bool]
) -> None:
    access = AccessSnapshot(tokens=ACCESS.tokens, provider_keys={("default", target): stored})
    decision = decide(*headers, target=PATHS[target], access=access)
    assert isinstance(decision, Forward)
    assert (decision.caller.credential, decision.caller.in_plan) == expected


def test_so_is_one_of_a_client_that_does_not_know_of_the_proxy() -> None:
    inbound = Inbound(b"POST", PATHS["anthropic"], (bearer(PLAN),))
    found = ROUTER.route(inbound)
    assert isinstance(found, Route)
    decision = admit(inbound, found, ACCESS, PLANS, intercepted="default")
    assert isinstance(decision, Forward)
    assert decision.caller == Caller("default", None, "pass_through", None, in_plan=True)
