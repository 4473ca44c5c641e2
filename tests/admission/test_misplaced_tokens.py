"""A Metrion token where none may be: refused in the caller's words, and shown nowhere."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from metrion.admission import admit, labels, shown
from metrion.admission.masking import shown_method
from metrion.model import ErrorShape, Forward, Headers, Inbound, Origin, Refusal, Route
from tests.admission.calls import ACCESS, NOW, OTHER, PATHS, PLANS, ROUTER, TOKEN, bearer, decide, identity


def encoded(text: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        text = b"".join(b"%%%02X" % byte for byte in text) if times == 1 else quote(text, safe="").encode()
        text = text.replace(b"s", b"%73").replace(b"-", b"%2d")
    return text


ENCODED = [TOKEN.replace(b"-", b"%2D"), b"%73" + TOKEN[1:], encoded(TOKEN), encoded(TOKEN, 2), encoded(TOKEN, 3)]


def refuse(inbound: Inbound) -> Refusal:
    decision: object = ROUTER.route(inbound)
    if not isinstance(decision, Refusal):
        assert isinstance(decision, Route)
        decision = admit(inbound, decision, ACCESS, PLANS, now=NOW)
    assert isinstance(decision, Refusal), decision
    return decision


def is_shown(inbound: Inbound, token: bytes) -> bool:
    head = shown(inbound)
    texts = b"\n".join((shown_method(inbound.method), head.target, *(b": ".join(each) for each in head.headers)))
    return token[-20:].lower() in texts.lower()


@pytest.mark.parametrize("method", [TOKEN, TOKEN.upper(), b"GET-" + TOKEN, b"sk-metrion-x"])
@pytest.mark.parametrize(("provider", "shape"), [("openai", ErrorShape.OPENAI), ("anthropic", ErrorShape.ANTHROPIC)])
def test_a_token_as_the_method(method: bytes, provider: str, shape: ErrorShape) -> None:
    inbound = Inbound(method, PATHS[provider], (bearer(TOKEN),))
    refused = refuse(inbound)
    assert (refused.status, refused.code, refused.provider) == (400, "bad_request", provider)
    assert refused.error_shape is shape
    assert not is_shown(inbound, method)


@pytest.mark.parametrize("token", [TOKEN, *ENCODED])
@pytest.mark.parametrize("path", [b"/openai/v1/models/%s", b"/openai/%s/v1/models", b"/openai/v1/a%%2Fb%s?x=1"])
def test_a_token_in_the_path(path: bytes, token: bytes) -> None:
    inbound = Inbound(b"GET", path.replace(b"%%", b"%").replace(b"%s", token), (bearer(TOKEN),))
    refused = refuse(inbound)
    assert (refused.status, refused.code, refused.provider) == (400, "bad_request", "openai")
    assert not is_shown(inbound, token)


@pytest.mark.parametrize(
    ("query", "token"),
    [
        *((query, token) for query in (b"a=%s", b"a=1&%s", b"%s=1&b") for token in ENCODED),
        *((b"key=%s", token) for token in ENCODED[3:]),  # a key may be encoded once
    ],
)
def test_an_encoded_token_in_the_query(query: bytes, token: bytes) -> None:
    inbound = Inbound(b"GET", b"/openai/v1/models?" + query.replace(b"%s", token), (bearer(TOKEN),))
    refused = refuse(inbound)
    assert (refused.status, refused.code, refused.provider) == (400, "bad_request", "openai")
    assert not is_shown(inbound, token)


@pytest.mark.parametrize("name", [b"x-%s", b"%s", b"x-metrion-tag-%s", b"X-Metrion-%s", b"anthropic-%s"])
@pytest.mark.parametrize("token", [TOKEN, TOKEN.lower(), TOKEN.upper(), *ENCODED])
def test_a_token_in_the_name_of_a_field(name: bytes, token: bytes) -> None:
    field = name.replace(b"%s", token), b"1"
    for credential in (bearer(TOKEN), identity(TOKEN)):
        refused = decide(credential, field)
        assert isinstance(refused, Refusal)
        assert (refused.status, refused.code, refused.provider) == (400, "bad_request", "openai")
        assert "header" in refused.message
    inbound = Inbound(b"POST", PATHS["openai"], (bearer(TOKEN), field))
    assert not is_shown(inbound, token)
    tags = repr(labels(inbound)[1]).encode()
    assert token[-20:].lower() not in tags.lower()


@pytest.mark.parametrize("token", [OTHER, *ENCODED])
def test_a_token_in_a_label_or_a_tag_is_masked(token: bytes) -> None:
    headers: Headers = ((b"x-metrion-user", b"me " + token), (b"x-metrion-tag-job", token + b"/1"))
    inbound = Inbound(b"POST", PATHS["openai"], (bearer(TOKEN), *headers))
    assert token[-20:] not in repr(labels(inbound)).encode()
    assert not is_shown(inbound, token)
    assert isinstance(decide(*inbound.headers), Forward)


@pytest.mark.parametrize(
    "target",
    [
        b"/openai/v1/files/a%20b%2Fc",
        b"/openai/v1/files/100%",
        b"/openai/v1/files/task-metri%6fn",
        b"/openai/v1/files?q=tokens%20begin%20with%20sk%2Dmetrion%2D",
        b"/openai/v1/files?name=%73k-proj-x&q=%25%32%35",
        b"/openai/v1/models?key=%73k-metrion-" + TOKEN[11:],
    ],
)
def test_other_encodings_pass(target: bytes) -> None:
    assert not isinstance(ROUTER.route(Inbound(b"GET", target, ())), Refusal)


def test_the_message_about_a_foreign_host_does_not_repeat_a_token() -> None:
    refused = refuse(Inbound(b"GET", b"/", (), Origin("https", TOKEN.decode().lower() + ".example", 443)))
    assert (refused.status, refused.code) == (403, "not_a_provider")
    assert TOKEN[-12:].decode().lower() not in refused.message
