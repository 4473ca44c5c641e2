"""Which requests are the same, what a request says of the cache, and what of an answer is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.model import Head, Headers
from metrion.model.policies import Cache
from metrion.relay.caching import KeptAnswer, Wish, identity, kept, wish
from tests.relay.ways import WIRE, forward

BODY = b'{"model": "gpt-4o", "temperature": 0}'


def asked(
    *, head: Head = WIRE, body: bytes = BODY, method: bytes = b"POST", account: str = "default", key: bytes = b"k"
) -> bytes:
    decision = forward()
    decision = replace(decision, caller=replace(decision.caller, account=account), credentials=(b"token", key))
    return identity(decision, method, head, body)


def with_headers(*headers: tuple[bytes, bytes]) -> Head:
    return Head(WIRE.target, (*WIRE.headers, *headers))


SAME = asked()


@pytest.mark.parametrize(
    "other",
    [
        asked(body=BODY[:-2] + b"1}"),
        asked(body=BODY + b" "),
        asked(account="acme"),
        asked(key=b"another"),
        asked(method=b"PUT"),
        asked(head=Head(WIRE.target + b"?a=1", WIRE.headers)),
        asked(head=with_headers((b"anthropic-beta", b"x"))),
        asked(head=with_headers((b"accept-encoding", b"gzip"))),
        asked(head=with_headers((b"openai-organization", b"o"))),
    ],
)
def test_what_is_another_request(other: bytes) -> None:
    assert other != SAME


@pytest.mark.parametrize(
    "same",
    [
        asked(head=with_headers((b"User-Agent", b"x"), (b"X-Stainless-Retry-Count", b"1"))),
        asked(
            head=with_headers((b"Cache-Control", b"max-age=5"), (b"traceparent", b"00-1"), (b"Idempotency-Key", b"1"))
        ),
        asked(head=Head(WIRE.target, ((b"Authorization", b"Bearer renewed"), (b"Host", b"x")))),
    ],
)
def test_what_is_the_same_request(same: bytes) -> None:
    assert same == SAME


@pytest.mark.parametrize("credential", ["pass_through", None])
@pytest.mark.parametrize("name", [b"Authorization", b"X-Api-Key", b"Cookie"])
def test_of_a_caller_s_own_credentials_each_makes_a_difference(credential: str | None, name: bytes) -> None:
    """Whichever of them the provider goes by: another caller's answer is not for this one."""
    decision = forward()
    own = replace(decision, caller=replace(decision.caller, credential=credential), credentials=(b"the last",))
    one, two = (identity(own, b"POST", with_headers((name, value)), BODY) for value in (b"right", b"wrong"))
    assert one != two


def test_no_two_ways_to_cut_a_request_are_the_same() -> None:
    """A field that ends where the next begins is not one field."""
    assert asked(head=with_headers((b"a", b"bc"))) != asked(head=with_headers((b"ab", b"c")))
    assert asked(head=with_headers((b"x-a", b"1"), (b"x-b", b"2"))) == asked(
        head=with_headers((b"x-b", b"2"), (b"x-a", b"1"))
    )


@pytest.mark.parametrize(
    ("fields", "always", "wanted"),
    [
        ({}, False, None),
        ({}, True, Wish(True, True, 300.0)),
        ({b"x-metrion-cache": b"true"}, False, Wish(True, True, 300.0)),
        ({b"x-metrion-cache": b" TRUE "}, False, Wish(True, True, 300.0)),
        ({b"x-metrion-cache": b"refresh"}, False, Wish(False, True, 300.0)),
        ({b"x-metrion-cache": b"false"}, True, None),
        ({b"x-metrion-cache": b"maybe"}, False, None),
        ({b"x-metrion-cache": b"true", b"cache-control": b"max-age=5"}, False, Wish(True, True, 5.0)),
        ({b"x-metrion-cache": b"true", b"cache-control": b"private, max-age=99999"}, False, Wish(True, True, 300.0)),
        ({b"x-metrion-cache": b"true", b"cache-control": b"s-maxage=5"}, False, Wish(True, True, 300.0)),
        ({b"x-metrion-cache": b"true", b"cache-control": b"max-age=0"}, False, Wish(True, True, 0.0)),
        ({b"x-metrion-cache": b"true", b"cache-control": b"no-cache"}, False, Wish(False, True, 300.0)),
        ({b"x-metrion-cache": b"true", b"cache-control": b"no-store"}, False, Wish(False, False, 300.0)),
    ],
)  # fmt: skip
def test_what_a_request_says_of_the_cache(fields: dict[bytes, bytes], always: bool, wanted: Wish | None) -> None:
    assert wish(fields, Cache("memory", always=always)) == wanted


def test_what_is_of_one_answer_only_is_not_kept() -> None:
    headers: Headers = (
        (b"Content-Type", b"text/event-stream"), (b"Set-Cookie", b"a=b"), (b"Date", b"now"), (b"X-RateLimit-L", b"1"),
        (b"x-request-id", b"r"), (b"x-metrion-event-id", b"e"), (b"openai-version", b"2020"),
    )  # fmt: skip
    answer = kept(b"OK", headers, [b"a", b"b"], [b"x-request-id"])
    assert answer.headers == ((b"Content-Type", b"text/event-stream"), (b"openai-version", b"2020"))


@given(
    reason=st.binary(max_size=9),
    headers=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9))),
    pieces=st.lists(st.binary(max_size=9)),
)
def test_what_is_kept_comes_back(reason: bytes, headers: list[tuple[bytes, bytes]], pieces: list[bytes]) -> None:
    answer = KeptAnswer(reason, tuple(headers), tuple(pieces))
    assert KeptAnswer.decoded(answer.encoded()) == answer


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xff\xff\xff", b"\2\0\0\0{}", b"\0\0\0\0", b"\3\0\0\0[1]"])
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- whatever it says
        KeptAnswer.decoded(data)
