"""What may be seen of a request."""

from __future__ import annotations

import base64

import pytest

from metrion.admission import mask, shown, unmasked
from metrion.model import Head, Inbound
from tests.admission.calls import FOREIGN, OTHER, PATHS, TOKEN, bearer, forwarded

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


@pytest.mark.parametrize(
    ("target", "field", "left"),
    [
        (b"/v1/m", bearer(TOKEN), (b"/v1/m", ())),
        (b"/v1/m", bearer(FOREIGN), (b"/v1/m", ())),
        (b"/v1/m", (b"cookie", b"a=b"), (b"/v1/m", ())),
        (b"/v1/m", (b"x-other", TOKEN), (b"/v1/m", ())),
        (b"/v1/m?key=" + TOKEN, None, (b"/v1/m", ())),
        (b"/v1/m?a=1&key=" + FOREIGN + b"&b=2", None, (b"/v1/m?a=1&b=2", ())),
        (b"/v1/m?x=" + TOKEN, None, (b"/v1/m", ())),
    ],
)
def test_what_is_masked_can_be_left_out(
    target: bytes, field: tuple[bytes, bytes] | None, left: tuple[bytes, tuple[object, ...]]
) -> None:
    head, was_masked = unmasked(shown(Inbound(b"POST", target, (field,) if field else ())))
    assert ((head.target, head.headers), was_masked) == (left, True)


@pytest.mark.parametrize("target", [b"/v1/m", b"/v1/m?", b"/v1/m?a=1&&b=***b", b"/v1/m?key"])
def test_a_head_without_credentials_stays_as_it_is(target: bytes) -> None:
    head = shown(Inbound(b"POST", target, ((b"x-stars", b"***"), (b"authorization", b""))))
    assert unmasked(head) == (head, False)
