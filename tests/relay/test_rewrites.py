"""The rewrite that asks for a stream's usage: to whom it applies, and what it does to heads and bodies."""

from __future__ import annotations

import gzip

import pytest

from metrion.model import Head, Headers
from metrion.parsing.content_codings import DecodingError
from metrion.relay.rewrites import REWRITES, InjectedUsage, replaced
from tests.relay.ways import JSON, SSE, forward, inbound

BODY = b'{"stream":true}'
ASKING = b'{"stream":true,"stream_options":{"include_usage":true}}'
CHUNK = b'data: {"choices": [{"index": 0}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\n'


def rewriting() -> InjectedUsage:
    """One that has changed a request."""
    rewrite = InjectedUsage()
    assert rewrite.request(Head(b"/", ()), BODY) is not None
    return rewrite


@pytest.mark.parametrize(
    ("inject", "headers", "applies"),
    [(True, (), True), (False, (), False), (True, ((b"Content-Encoding", b"gzip"),), False)],
    ids=["configured", "not configured", "a body that is not read"],
)
def test_it_applies_where_somebody_asked_for_it(inject: bool, headers: Headers, applies: bool) -> None:
    assert InjectedUsage.suiting in REWRITES
    assert (InjectedUsage.suiting(forward(inject=inject), inbound(b"POST", *headers)) is not None) is applies


def test_the_head_fits_the_new_body() -> None:
    head = Head(b"/v1", ((b"Content-Length", b"15"), (b"Accept-Encoding", b"gzip"), (b"x", b"y")))
    assert InjectedUsage().request(head, BODY) == (
        Head(b"/v1", ((b"Content-Length", b"55"), (b"Accept-Encoding", b"identity"), (b"x", b"y"))),
        ASKING,
    )


def test_a_request_that_is_no_stream_stays() -> None:
    assert InjectedUsage().request(Head(b"/v1", ()), b'{"stream":false}') is None


@pytest.mark.parametrize(
    ("status", "headers", "seen"),
    [
        (200, (*SSE, (b"Content-Length", b"9")), (*SSE, (b"transfer-encoding", b"chunked"))),
        (200, (*SSE, (b"content-encoding", b"gzip")), SSE),
        (200, (*SSE, (b"content-encoding", b"rot13")), (*SSE, (b"content-encoding", b"rot13"))),
        (200, (), ()),
        (200, (*JSON, (b"content-length", b"9")), (*JSON, (b"content-length", b"9"))),
        (500, (*SSE, (b"content-length", b"9")), (*SSE, (b"content-length", b"9"))),
    ],
    ids=["a length", "a coding", "a coding that nobody knows", "no type", "no stream", "an error"],
)
def test_the_head_of_the_response_fits_what_the_client_sees(status: int, headers: Headers, seen: Headers) -> None:
    assert rewriting().response_head(status, headers) == seen


def test_the_client_does_not_see_the_usage() -> None:
    rewrite = rewriting()
    rewrite.response_head(200, SSE)
    pieces = [rewrite.response_data(piece) for piece in (CHUNK, USAGE, b"data: [DO")]
    assert pieces == [CHUNK, b"", b""]
    assert (rewrite.response_end(), rewrite.response_end()) == (b"data: [DO", b"")


@pytest.mark.parametrize("headers", [JSON, (*SSE, (b"content-encoding", b"rot13"))], ids=["no stream", "not readable"])
def test_a_response_that_is_not_filtered_passes_as_it_is(headers: Headers) -> None:
    rewrite = rewriting()
    rewrite.response_head(200, headers)
    assert (rewrite.response_data(USAGE), rewrite.response_end()) == (USAGE, b"")


def test_a_coded_response_is_decoded_and_a_cut_one_as_far_as_it_goes() -> None:
    rewrite = rewriting()
    rewrite.response_head(200, (*SSE, (b"content-encoding", b"gzip")))
    coded = gzip.compress(CHUNK + USAGE + CHUNK)
    assert rewrite.response_data(coded[:-4]) + rewrite.response_end() == CHUNK + CHUNK


def test_a_response_that_is_not_in_its_coding_cannot_be_read() -> None:
    rewrite = rewriting()
    rewrite.response_head(200, (*SSE, (b"content-encoding", b"gzip")))
    with pytest.raises(DecodingError):
        rewrite.response_data(b"no gzip at all, whatever the head says")


@pytest.mark.parametrize(
    ("add", "headers", "changed"),
    [
        (False, ((b"A", b"1"), (b"b", b"2"), (b"a", b"3")), ((b"A", b"0"), (b"b", b"2"), (b"a", b"0"))),
        (False, ((b"b", b"2"),), ((b"b", b"2"),)),
        (True, ((b"b", b"2"),), ((b"b", b"2"), (b"a", b"0"))),
        (True, ((b"a", b"2"),), ((b"a", b"0"),)),
    ],
)
def test_a_field_is_replaced_wherever_it_is(add: bool, headers: Headers, changed: Headers) -> None:
    assert replaced(headers, b"a", b"0", add=add) == changed
