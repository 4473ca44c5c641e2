"""Preflights are answered for the origins that the configuration names, and for nobody else."""

from __future__ import annotations

import pytest

from metrion.admission.cors import allowed_origin, allowing, preflight
from metrion.model import Headers, Inbound

PAGE = b"https://app.example.com"
ORIGINS = ("https://app.example.com", "https://other.example.com")
ASKING: Headers = (
    (b"Origin", PAGE),
    (b"Access-Control-Request-Method", b"POST"),
    (b"Access-Control-Request-Headers", b"authorization,content-type"),
)
ALLOWING: Headers = (
    (b"access-control-allow-origin", PAGE),
    (b"access-control-expose-headers", b"*"),
    (b"vary", b"origin"),
)


def inbound(method: bytes = b"OPTIONS", headers: Headers = ASKING) -> Inbound:
    return Inbound(method, b"/openai/v1/chat/completions", headers)


@pytest.mark.parametrize(
    ("origin", "origins", "allowed"),
    [
        pytest.param(PAGE, ORIGINS, PAGE, id="named"),
        pytest.param(PAGE, ("*",), PAGE, id="any"),
        pytest.param(PAGE, (), None, id="no origins are configured"),
        pytest.param(b"https://evil.example.com", ORIGINS, None, id="another"),
        pytest.param(b"http://app.example.com", ORIGINS, None, id="another scheme"),
        pytest.param(b"https://app.example.com:8443", ORIGINS, None, id="another port"),
        pytest.param(b"null", ORIGINS, None, id="a page without an origin"),
        pytest.param(b"https://\xff", ORIGINS, None, id="no text"),
    ],
)
def test_allowed_origin(origin: bytes, origins: tuple[str, ...], allowed: bytes | None) -> None:
    assert allowed_origin(inbound(headers=((b"oRiGiN", origin),)), origins) == allowed


def test_a_request_that_names_no_origin_is_no_pages() -> None:
    assert allowed_origin(inbound(headers=()), ("*",)) is None


def test_the_first_origin_decides() -> None:
    headers = ((b"origin", b"https://evil.example.com"), (b"origin", PAGE))
    assert allowed_origin(inbound(headers=headers), ORIGINS) is None


def test_a_preflight_is_answered_with_what_it_asks_for() -> None:
    answer = preflight(inbound(), ORIGINS)
    assert answer is not None
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers == (
        *ALLOWING,
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"authorization,content-type"),
        (b"access-control-max-age", b"7200"),
        (b"content-length", b"0"),
    )


def test_a_preflight_that_asks_for_no_fields_is_allowed_none() -> None:
    answer = preflight(inbound(headers=ASKING[:2]), ORIGINS)
    assert answer is not None
    assert b"access-control-allow-headers" not in dict(answer.headers)


@pytest.mark.parametrize(
    ("method", "headers", "origins"),
    [
        pytest.param(b"POST", ASKING, ORIGINS, id="a request itself"),
        pytest.param(b"OPTIONS", ASKING[:1], ORIGINS, id="OPTIONS that is no preflight"),
        pytest.param(b"OPTIONS", ASKING[1:], ORIGINS, id="of no page"),
        pytest.param(b"OPTIONS", ASKING, ("https://other.example.com",), id="of another page"),
        pytest.param(b"OPTIONS", ASKING, (), id="no origins are configured"),
    ],
)
def test_everything_else_is_not_answered_here(method: bytes, headers: Headers, origins: tuple[str, ...]) -> None:
    assert preflight(inbound(method, headers), origins) is None


@pytest.mark.parametrize(
    ("headers", "added"),
    [
        pytest.param(((b"content-type", b"application/json"),), ALLOWING, id="the provider says nothing of pages"),
        pytest.param(((b"Access-Control-Allow-Origin", b"*"),), (), id="the provider allows every page"),
        pytest.param(((b"access-control-allow-origin", b"https://a.example"),), (), id="the provider allows another"),
    ],
)
def test_what_is_added_to_a_response(headers: Headers, added: Headers) -> None:
    assert allowing(PAGE, headers) == added
