"""Refusals in each provider's shape: the exact bodies, and what the official SDKs make of them."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import mistralai.client
import mistralai.client.errors
import openai
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrion.admission import codes
from metrion.admission.refusals import render
from metrion.model import Answer, ErrorShape, Headers, Refusal
from tests.admission import kinds
from tests.corpus import at_least, exchanges

CODES = [
    (400, "bad_request"),
    (400, "no_provider_key"),
    (400, "unknown_route"),
    (401, "missing_token"),
    (401, "invalid_token"),
    (401, "conflicting_tokens"),
    (403, "not_allowed"),
    (403, "not_a_provider"),
    (404, "unknown_route"),
    (407, "missing_token"),
    (407, "invalid_token"),
    (413, "body_too_large"),
    (429, "rate_limited"),
    (429, "monthly_cap"),
    (429, "budget"),
    (431, "bad_request"),
    (500, "internal"),
    (502, "upstream_unreachable"),
    (504, "timeout"),
]
"""Every status and code that a refusal can have."""

KINDS = {
    400: ("invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT", "invalid_request_error"),
    401: ("invalid_request_error", "authentication_error", "UNAUTHENTICATED", "unauthorized"),
    403: ("invalid_request_error", "permission_error", "PERMISSION_DENIED", "invalid_request_error"),
    404: ("invalid_request_error", "not_found_error", "NOT_FOUND", "invalid_request_error"),
    407: ("invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT", "invalid_request_error"),
    413: ("invalid_request_error", "request_too_large", "INVALID_ARGUMENT", "invalid_request_error"),
    429: ("requests", "rate_limit_error", "RESOURCE_EXHAUSTED", "rate_limited"),
    431: ("invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT", "invalid_request_error"),
    500: ("server_error", "api_error", "INTERNAL", "internal_server_error"),
    502: ("server_error", "api_error", "UNAVAILABLE", "internal_server_error"),
    504: ("server_error", "timeout_error", "DEADLINE_EXCEEDED", "internal_server_error"),
}


def test_every_kind_of_refusal_is_tried_here() -> None:
    rows = [(row.status, row.code) for row in (*codes.KINDS, *kinds.UNUSED)]
    assert len(rows) == len(set(rows))
    assert set(rows) == {*CODES, (504, "upstream_unreachable")}


def rendered(status: int, code: str, shape: ErrorShape, message: str = "No.", headers: Headers = ()) -> Answer:
    return render(Refusal(kinds.kind(status, code), message, error_shape=shape, headers=headers))


NAMED = {
    401: "AuthenticationError", 403: "PermissionError", 404: "NotFoundError", 429: "RateLimitError",
}  # fmt: skip
"""The types of a Mistral proxy's errors; of any other, those of 400 or of 500."""


@pytest.mark.parametrize(("status", "code"), CODES)
def test_body(status: int, code: str) -> None:
    by_openai, by_anthropic, by_google, by_mistral = KINDS[status]
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code.upper(), "domain": "metrion"}
    assert {shape: json.loads(rendered(status, code, shape).body) for shape in ErrorShape} == {
        ErrorShape.OPENAI: {"error": {"message": "No.", "type": by_openai, "param": None, "code": code}},
        ErrorShape.ANTHROPIC: {
            "type": "error",
            "error": {"type": by_anthropic, "message": "No.", "details": {"error_code": code}},
        },
        ErrorShape.GOOGLE: {"error": {"code": status, "message": "No.", "status": by_google, "details": [info]}},
        ErrorShape.MISTRAL: {
            "object": "error",
            "message": "No.",
            "type": by_mistral,
            "param": None,
            "code": code,
        },
        ErrorShape.XAI: {
            "code": code,
            "error": {"message": "No.", "type": by_openai, "param": None, "code": code},
        },
        ErrorShape.MISTRAL_PROXY: {
            "object": "error",
            "message": "No.",
            "type": NAMED.get(status, "BadRequestError" if status < 500 else "InternalServerError"),
            "param": None,
            "code": None,
        },
    }


@pytest.mark.parametrize("shape", ErrorShape)
@pytest.mark.parametrize(("status", "code"), CODES)
def test_head(status: int, code: str, shape: ErrorShape) -> None:
    own = ((b"Retry-After", b"17"), (b"x-ratelimit-limit-requests", b"100"))
    answer = rendered(status, code, shape, headers=own)
    headers = dict(answer.headers)
    assert answer.status == status
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == str(len(answer.body)).encode()
    assert headers[b"x-metrion-error"] == code.encode()
    passes = code in {"rate_limited", "internal", "upstream_unreachable"}
    assert headers.get(b"x-should-retry") == (None if passes else b"false")
    assert answer.headers[-2:] == own
    assert len(headers) == len(answer.headers)


@pytest.mark.parametrize(("status", "code"), [(502, "upstream_unreachable"), (504, "upstream_unreachable")])
@pytest.mark.parametrize(("was_sent", "retry"), [(False, None), (True, b"false")])
def test_what_a_provider_has_whole_is_not_to_be_sent_again(
    status: int, code: str, was_sent: bool, retry: bytes | None
) -> None:
    answer = render(Refusal(kinds.kind(status, code), "No.", was_sent=was_sent))
    assert dict(answer.headers).get(b"x-should-retry") == retry


def test_a_header_is_sent_once_however_often_it_is_given() -> None:
    given_too = ((b"X-Should-Retry", b"true"), (b"Content-Length", b"0"), (b"retry-after", b"1"))
    answer = rendered(429, "budget", ErrorShape.OPENAI, headers=given_too)
    names = [name.lower() for name, _ in answer.headers]
    assert len(names) == len(set(names))
    assert dict(answer.headers)[b"x-should-retry"] == b"false"


@given(st.text(max_size=40), st.sampled_from(ErrorShape))
@example("lone \ud800", ErrorShape.OPENAI)
@example('"}\r\n\x00', ErrorShape.XAI)
def test_any_message_makes_valid_json(message: str, shape: ErrorShape) -> None:
    """Lone surrogates included, which JSON cannot carry."""
    answer = rendered(400, "bad_request", shape, message)
    sent = message.encode("utf-8", "replace").decode()
    assert sent in list(strings(json.loads(answer.body.decode("utf-8"))))
    assert dict(answer.headers)[b"content-length"] == str(len(answer.body)).encode()


def strings(document: object) -> list[str]:
    """Every string value in a JSON document."""
    if isinstance(document, dict):
        return [text for value in document.values() for text in strings(value)]
    if isinstance(document, list):
        return [text for value in document for text in strings(value)]
    return [document] if isinstance(document, str) else []


def transport(answer: Answer) -> httpx2.MockTransport:
    headers = [(name.decode(), value.decode()) for name, value in answer.headers]
    return httpx2.MockTransport(lambda _: httpx2.Response(answer.status, headers=headers, content=answer.body))


EXCEPTIONS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
    502: "InternalServerError",
}


@pytest.mark.parametrize("shape", [ErrorShape.OPENAI, ErrorShape.XAI, ErrorShape.MISTRAL])
@pytest.mark.parametrize(("status", "code"), CODES)
def test_the_openai_sdk_raises_its_own_exception(status: int, code: str, shape: ErrorShape) -> None:
    client = openai.OpenAI(
        api_key="x", max_retries=0, http_client=httpx2.Client(transport=transport(rendered(status, code, shape)))
    )
    with pytest.raises(openai.APIStatusError) as raised:
        client.models.list()
    expected = getattr(openai, EXCEPTIONS.get(status, "InternalServerError" if status >= 500 else "APIStatusError"))
    assert type(raised.value) is expected
    assert "No." in raised.value.message
    assert raised.value.code == code
    assert raised.value.response.headers["x-metrion-error"] == code


@pytest.mark.parametrize(("status", "code"), CODES)
def test_the_anthropic_sdk_raises_its_own_exception(status: int, code: str) -> None:
    answer = rendered(status, code, ErrorShape.ANTHROPIC)
    client = anthropic.Anthropic(api_key="x", max_retries=0, http_client=httpx2.Client(transport=transport(answer)))
    with pytest.raises(anthropic.APIStatusError) as raised:
        client.models.list()
    if status in EXCEPTIONS:
        assert type(raised.value) is getattr(anthropic, EXCEPTIONS[status])
    assert raised.value.error_code == code
    assert "No." in str(raised.value)


@pytest.mark.parametrize(("status", "code"), CODES)
def test_the_mistral_sdk_raises_its_own_exception(status: int, code: str) -> None:
    answer = rendered(status, code, ErrorShape.MISTRAL)
    client = mistralai.client.Mistral(api_key="x", client=httpx2.Client(transport=transport(answer)))
    with pytest.raises(mistralai.client.errors.MistralError, match=r"No\.") as raised:
        client.models.list(retries=None)
    assert raised.value.status_code == status
    assert json.loads(raised.value.body)["code"] == code


@pytest.mark.parametrize(
    ("status", "code", "was_sent", "tries"),
    [
        (504, "timeout", True, 1),
        (429, "budget", False, 1),
        (429, "monthly_cap", False, 1),
        (429, "rate_limited", False, 3),
        (502, "upstream_unreachable", False, 3),
        (502, "upstream_unreachable", True, 1),
    ],
)
def test_a_retry_that_is_pointless_or_billed_again_is_not_made(
    status: int, code: str, was_sent: bool, tries: int
) -> None:
    headers = ((b"retry-after", b"0.001"),)
    answering = transport(render(Refusal(kinds.kind(status, code), "No.", headers=headers, was_sent=was_sent)))
    seen: list[httpx2.Request] = []
    client = openai.OpenAI(
        api_key="x", http_client=httpx2.Client(transport=answering, event_hooks={"request": [seen.append]})
    )
    with pytest.raises(openai.APIStatusError):
        client.models.list()
    assert len(seen) == tries


def shape_of(document: Any) -> Any:
    """Keys and the types of values, nulls and details left open."""
    if isinstance(document, dict):
        return {key: shape_of(value) for key, value in document.items() if value is not None and key != "details"}
    return type(document).__name__


@pytest.mark.parametrize(
    ("provider", "shape"),
    [("openai", ErrorShape.OPENAI), ("anthropic", ErrorShape.ANTHROPIC), ("google", ErrorShape.GOOGLE)],
)
def test_recorded_errors_have_our_shape(provider: str, shape: ErrorShape) -> None:
    """What a recording leaves out, such as a code that is null, is left out of ours for the comparison."""
    ours = shape_of(json.loads(rendered(400, "bad_request", shape).body))
    seen = 0
    for exchange in exchanges(providers=[provider]):
        if exchange.status < 400 or not exchange.response_body.lstrip().startswith(b"{"):
            continue
        error = json.loads(exchange.response_body)
        if not isinstance(error.get("error"), dict):
            continue
        theirs = shape_of(error)
        for key, kind in ours.items():
            if isinstance(kind, dict):
                shared = kind.keys() & theirs[key].keys()
                assert {"message"} <= shared, exchange.id
                assert {name: kind[name] for name in shared} == {name: theirs[key][name] for name in shared}
            else:
                assert theirs[key] == kind, exchange.id
        seen += 1
    assert seen > at_least(5, 0)
