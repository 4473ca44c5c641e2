"""What goes out, and what never does: heads and trailers, as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.admission import AccessSnapshot, admit, trailers_out
from metrion.model import Caller, CredentialPlace, Forward, Head, Headers, Inbound, Route
from metrion.providers import PROVIDERS
from tests.admission.calls import (
    ACCESS,
    FOREIGN,
    NOW,
    OTHER,
    PATHS,
    PLANS,
    ROUTER,
    TOKEN,
    bearer,
    decide,
    forwarded,
    identity,
)

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
    forward = admit(inbound, replace(route, credential_place=place), ACCESS, PLANS, now=NOW)
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
@pytest.mark.parametrize("access", [ACCESS, AccessSnapshot(tokens=ACCESS.tokens)])
def test_a_server_without_keys_gets_none_but_the_clients(
    headers: Headers, query: bytes, credential: str | None, left: Headers, access: AccessSnapshot
) -> None:
    inbound = Inbound(b"POST", PATHS["openai"] + query, headers)
    route = ROUTER.route(inbound)
    assert isinstance(route, Route)
    forward = admit(inbound, replace(route, credential_place=CredentialPlace.NONE), access, PLANS, now=NOW)
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
        (b"x-note", b"my token is " + TOKEN.replace(b"-", b"%2d")),
        (b"x-note", b"my token is " + TOKEN.replace(b"-", b"%252D")),
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
        (b"x-note", b"tokens begin with %73k%2Dmetrion-"),
        (b"x-100%", b"50%"),
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
    odd = AccessSnapshot(ACCESS.tokens, {("default", "openai"): "k\udcff\u20ac"})
    decision = decide(bearer(TOKEN), access=odd)
    assert isinstance(decision, Forward)
    assert decision.wire.headers[-1] == (b"Authorization", "Bearer k?€".encode())


PLAIN = (
    st.binary(max_size=12)
    .map(lambda raw: b"n" + raw.translate(None, b"\r\n\x00"))
    .filter(lambda name: b"sk-metrion-" not in name.lower())  # such a name is refused
)


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


# --- trailers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dropped",
    [
        # A credential, whoever's it is: its place is in the head.
        bearer(TOKEN),
        bearer(FOREIGN),
        (b"X-API-Key", FOREIGN),
        (b"api-key", FOREIGN),
        (b"x-goog-api-key", FOREIGN),
        (b"Proxy-Authorization", b"Basic abc"),
        (b"Cookie", b"session=1"),
        (b"Set-Cookie", b"session=1"),
        (b"Sec-WebSocket-Protocol", b"openai-insecure-api-key." + FOREIGN),
        # Metrion's own, and a token anywhere.
        identity(TOKEN),
        (b"X-Metrion-User", b"ann"),
        (b"x-metrion-tag-job", b"nightly"),
        (b"x-checksum", b"of " + TOKEN + b"!"),
        (b"x-" + TOKEN, b"1"),
        # What frames, routes or modifies a message, or says how it is to be read.
        (b"Transfer-Encoding", b"chunked"),
        (b"content-length", b"1"),
        (b"Trailer", b"x"),
        (b"Connection", b"close"),
        (b"keep-alive", b"timeout=5"),
        (b"Upgrade", b"websocket"),
        (b"HOST", b"elsewhere"),
        (b"te", b"trailers"),
        (b"Expect", b"100-continue"),
        (b"Content-Encoding", b"gzip"),
        (b"Content-Type", b"text/plain"),
        (b"content-range", b"bytes 0-1/2"),
        (b"Range", b"bytes=0-1"),
        (b"If-Match", b"*"),
        (b"Cache-Control", b"no-store"),
        (b"Max-Forwards", b"1"),
        (b"proxy-connection", b"close"),
    ],
)
def test_what_never_leaves_in_a_trailer(dropped: tuple[bytes, bytes]) -> None:
    around = (b"X-Checksum", b"abc"), (b"x-checksum", b"def")
    assert trailers_out((around[0], dropped, around[1])) == around


@pytest.mark.parametrize(
    "trailers",
    [
        (),
        ((b"Digest", b"sha-256=abc"), (b"X-Amz-Checksum-Sha256", b""), (b"digest", b"\xff again ")),
        ((b"x-note", b"tokens begin with sk-metrion-"), (b"X-Metrion", b"not ours: no dash follows")),
    ],
)
def test_any_other_trailer_leaves_as_it_came(trailers: Headers) -> None:
    assert trailers_out(trailers) == trailers
