"""What goes onto the wire of mitmproxy's road: the key to the provider only, and each effect as its event."""

from __future__ import annotations

import pytest
from mitmproxy import http
from mitmproxy.proxy.layers.http import (
    HttpEvent,
    RequestData,
    RequestEndOfMessage,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseTrailers,
)

from metrion.model import Head, Headers, Origin
from metrion.proxy.messages import Messages
from metrion.relay.effects import (
    Effects,
    EndRequest,
    EndResponse,
    SendInterim,
    SendRequestData,
    SendResponse,
    SendResponseData,
)

UPSTREAM = Origin("https", "api.openai.com", 443)
WIRE = Head(b"/v1/chat", ((b"host", b"api.openai.com"), (b"authorization", b"Bearer stored")))
CHUNKED: Headers = ((b"transfer-encoding", b"chunked"), (b"connection", b"keep-alive"), (b"x", b"y"))


def shown(version: str = "HTTP/1.1") -> http.Request:
    """A request as its flow shows it."""
    request = http.Request.make(
        "POST", "https://proxy/openai/v1/chat", b"kept", http.Headers(authorization="Bearer ***")
    )
    request.http_version = version
    return request


def messages(version: str = "HTTP/1.1") -> Messages:
    made = Messages(1)
    made.request = shown(version)
    return made


def kinds(events: list[HttpEvent]) -> list[type[HttpEvent]]:
    return [type(event) for event in events]


def test_the_key_is_on_the_wire_and_not_in_the_flow() -> None:
    flow = shown()
    head = messages().request_head(WIRE, flow, UPSTREAM, ends=False, server_alpn=None)
    assert (head.request.data.path, head.request.headers["authorization"]) == (b"/v1/chat", "Bearer stored")
    assert (head.request.data.content, head.request.data.authority, head.end_stream) == (None, b"", False)
    assert (flow.path, flow.headers["authorization"], flow.content) == ("/openai/v1/chat", "Bearer ***", b"kept")


@pytest.mark.parametrize(
    ("ends", "alpn", "length", "chunked"),
    [(False, None, False, True), (False, None, True, False), (False, b"h2", False, False), (True, None, False, False)],
    ids=["a body of unknown length", "a length", "HTTP/2 on both sides", "no body"],
)
def test_a_request_of_http2_is_framed_for_its_provider(
    ends: bool, alpn: bytes | None, length: bool, chunked: bool
) -> None:
    wire = Head(WIRE.target, (*WIRE.headers, (b"content-length", b"9"))) if length else WIRE
    head = messages("HTTP/2.0").request_head(wire, shown("HTTP/2.0"), UPSTREAM, ends=ends, server_alpn=alpn)
    assert head.request.data.authority == UPSTREAM.authority
    assert "host" not in head.request.headers
    assert ("transfer-encoding" in head.request.headers) is chunked


@pytest.mark.parametrize(
    ("effect", "events"),
    [
        (SendRequestData(b"x"), [RequestData]),
        (EndRequest(), [RequestEndOfMessage]),
        (EndRequest(((b"a", b"b"),)), [RequestTrailers, RequestEndOfMessage]),
    ],
)
def test_what_follows_the_head_of_a_request(
    effect: SendRequestData | EndRequest, events: list[type[HttpEvent]]
) -> None:
    assert kinds(list(messages().to_server(effect))) == events


@pytest.mark.parametrize(
    ("effect", "events"),
    [
        (SendInterim(103, b"Early Hints", ()), [ResponseHeaders]),
        (SendResponse(200, b"OK", ()), [ResponseHeaders]),
        (SendResponseData(b"x"), [ResponseData]),
        (EndResponse(), [ResponseEndOfMessage]),
        (EndResponse(((b"a", b"b"),)), [ResponseTrailers, ResponseEndOfMessage]),
    ],
)
def test_the_parts_of_a_response(
    effect: SendInterim | SendResponse | SendResponseData | EndResponse, events: list[type[HttpEvent]]
) -> None:
    assert kinds(list(messages().to_client(effect))) == events


@pytest.mark.parametrize(
    ("version", "left"),
    [
        ("HTTP/1.1", CHUNKED),
        ("HTTP/1.0", ((b"connection", b"keep-alive"), (b"x", b"y"))),
        ("HTTP/2.0", ((b"x", b"y"),)),
    ],
)
def test_a_client_gets_the_framing_that_it_understands(version: str, left: Headers) -> None:
    (head,) = messages(version).to_client(SendResponse(200, b"OK", CHUNKED))
    assert isinstance(head, ResponseHeaders)
    assert head.response.headers.fields == left


def test_a_response_that_nobody_changed_is_the_one_that_came() -> None:
    made = messages()
    came = made.came = http.Response.make(200, b"", {"x": "y"})
    same, changed = (
        next(iter(made.to_client(SendResponse(200, b"OK", headers)))) for headers in (came.headers.fields, ())
    )
    assert isinstance(same, ResponseHeaders)
    assert isinstance(changed, ResponseHeaders)
    assert same.response is came
    assert changed.response is not came


def test_an_answer_of_ones_own_is_shown_whole() -> None:
    effects: Effects = [SendResponse(401, b"Unauthorized", ((b"x", b"y"),)), SendResponseData(b"no"), EndResponse()]
    response = messages().whole_response(effects)
    assert (response.status_code, response.content, response.headers["x"]) == (401, b"no", "y")
