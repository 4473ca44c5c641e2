"""What a token may do, as tables: by provider, model, operation and network, by its head and by its body."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from metrion.admission import AccessSnapshot, admit, token_digest
from metrion.admission.client_address import client_address
from metrion.admission.patterns import matches
from metrion.admission.rules import judge_body
from metrion.model import Asked, Forward, Inbound, Refusal, Route, TokenRules
from tests.admission.calls import ACCESS, FOREIGN, NOW, PLANS, ROUTER, TOKEN, bearer, identity

CHAT = b"/openai/v1/chat/completions"
GENERATE = b"/gemini/v1beta/models/%s:generateContent"
UPGRADE = ((b"Upgrade", b"websocket"), (b"Connection", b"upgrade"))


def access(rules: TokenRules | None, *, keys: bool = True) -> AccessSnapshot:
    token = replace(ACCESS.tokens[token_digest(TOKEN)], rules=rules)
    return AccessSnapshot({token_digest(TOKEN): token}, ACCESS.provider_keys if keys else {})


def decide(
    rules: TokenRules | None,
    target: bytes = CHAT,
    method: bytes = b"POST",
    *headers: tuple[bytes, bytes],
    peer: object = ("127.0.0.1", 4711),
    keys: bool = True,
) -> Forward | Refusal:
    inbound = Inbound(method, target, (*(headers or ()), bearer(TOKEN)), peer=peer)
    route = ROUTER.route(inbound)
    assert isinstance(route, Route), route
    return admit(inbound, route, access(rules, keys=keys), PLANS, now=NOW)


def said(decision: Forward | Refusal) -> str:
    """``goes``, ``waits`` for its body, or the code of the refusal."""
    if isinstance(decision, Refusal):
        assert decision.caller is not None
        return decision.code
    return "goes" if decision.rules is None else "waits"


def rules(**allowed: Any) -> TokenRules:
    return TokenRules(**{name: tuple(values.split()) for name, values in allowed.items()})


ONE = rules(models="gpt-4o")
NAMED = rules(models="gpt-4o", operations="chat files realtime batch")


@pytest.mark.parametrize(
    ("given", "method", "target", "expected"),
    [
        (None, b"POST", CHAT, "goes"),
        (TokenRules(), b"POST", CHAT, "goes"),
        (rules(providers="openai"), b"POST", CHAT, "goes"),
        (rules(providers="anthropic google"), b"POST", CHAT, "not_allowed"),
        (rules(providers="anthropic"), b"GET", b"/openai/v1/models", "not_allowed"),
        (rules(operations="chat"), b"POST", CHAT, "goes"),
        (rules(operations="chat"), b"POST", b"/openai/v1/embeddings", "not_allowed"),
        (rules(operations="chat"), b"GET", b"/openai/v1/models", "not_allowed"),
        (ONE, b"POST", CHAT, "waits"),
        (ONE, b"post", CHAT, "waits"),
        (ONE, b"PUT", CHAT, "waits"),
        (ONE, b"PATCH", CHAT, "waits"),
        (ONE, b"GET", b"/openai/v1/models", "goes"),
        (ONE, b"HEAD", b"/openai/v1/models/gpt-5", "goes"),
        (ONE, b"DELETE", b"/openai/v1/files/file-1", "goes"),
        (ONE, b"GET", b"/openai/v1/responses/resp_1", "goes"),
        (ONE, b"POST", b"/openai/v1/responses/resp_1/cancel", "goes"),
        (ONE, b"POST", b"/anthropic/api/event_logging/batch", "goes"),
        (ONE, b"POST", b"/openai/v1/unheard/of", "waits"),
        (ONE, b"POST", b"/openai/v1/batches", "waits"),
        (ONE, b"POST", b"/anthropic/v1/messages/batches", "waits"),
        (ONE, b"POST", b"/openai/v1/images/generations", "waits"),
        (ONE, b"POST", b"/openai/v1/realtime/client_secrets", "waits"),
        (ONE, b"POST", b"/openai/v1/files", "not_allowed"),
        (ONE, b"POST", b"/gemini/upload/v1beta/files", "not_allowed"),
        (ONE, b"GET", b"/openai/v1/realtime?model=gpt-4o", "not_allowed"),
        (ONE, b"GET", b"/gemini/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
         "not_allowed"),
        (NAMED, b"POST", b"/openai/v1/files", "goes"),
        (NAMED, b"GET", b"/openai/v1/realtime?model=gpt-4o", "goes"),
        (NAMED, b"POST", CHAT, "waits"),
        (rules(models="gemini-2*"), b"POST", GENERATE % b"gemini-2.5-flash", "goes"),
        (rules(models="gemini-2*"), b"POST", GENERATE % b"gemini-1.5-pro", "not_allowed"),
        (rules(models="gemini-2*"), b"POST", GENERATE % b"gemini-1.5-pro%3AgenerateContent/models/gemini-2",
         "not_allowed"),
        (rules(models="models/gemini-2*"), b"POST", GENERATE % b"gemini-2.5-flash", "goes"),
        (rules(models="gemini-2*"), b"GET", GENERATE % b"gemini-1.5-pro", "goes"),
    ],
)  # fmt: skip
def test_what_the_head_decides(given: TokenRules | None, method: bytes, target: bytes, expected: str) -> None:
    assert said(decide(given, target, method)) == expected


def test_a_session_is_one_wherever_it_goes() -> None:
    assert said(decide(ONE, b"/openai/v1/unheard/of", b"GET", *UPGRADE)) == "not_allowed"
    assert said(decide(ONE, b"/openai/v1/models", b"GET", (b"upgrade", b"h2c, WebSocket"))) == "not_allowed"
    assert said(decide(rules(models="gpt-4o", operations="models"), b"/openai/v1/models", b"GET", *UPGRADE)) == "goes"


@pytest.mark.parametrize("name", [b"X-HTTP-Method-Override", b"x-http-method", b"X-Method-Override"])
def test_another_method_in_a_header_is_not_overlooked(name: bytes) -> None:
    only = rules(models="gemini-2*")
    assert said(decide(only, GENERATE % b"gemini-1.5-pro", b"GET", (name, b"POST"))) == "not_allowed"
    assert said(decide(ONE, CHAT, b"GET", (name, b"POST"))) == "waits"


@pytest.mark.parametrize(
    ("networks", "peer", "expected"),
    [
        ("10.0.0.0/8", ("10.200.1.1", 1), "goes"),
        ("10.0.0.0/8", ("11.0.0.1", 1), "not_allowed"),
        ("10.0.0.0/8", ("::ffff:10.1.1.1", 1, 0, 0), "goes"),
        ("192.0.2.7/32 2001:db8::/32", ("2001:db8::5", 1, 0, 0), "goes"),
        ("192.0.2.7/32", ("192.0.2.8", 1), "not_allowed"),
        ("fe80::/10", ("fe80::1%eth0", 1, 0, 2), "goes"),
        ("0.0.0.0/0", ("::1", 1, 0, 0), "not_allowed"),
        ("0.0.0.0/0 ::/0", None, "not_allowed"),
        ("0.0.0.0/0 ::/0", "/run/socket", "not_allowed"),
        ("0.0.0.0/0 ::/0", ("nowhere", 1), "not_allowed"),
        ("0.0.0.0/0 ::/0", (), "not_allowed"),
        ("0.0.0.0/0 ::/0", (4, 4), "not_allowed"),
    ],
)
def test_where_requests_may_come_from(networks: str, peer: object, expected: str) -> None:
    assert said(decide(rules(networks=networks), peer=peer)) == expected


def test_an_address_is_that_of_the_connection_whatever_the_head_says() -> None:
    inbound = Inbound(b"GET", b"/", ((b"X-Forwarded-For", b"10.0.0.1"),), peer=("127.0.0.1", 1))
    assert str(client_address(inbound)) == "127.0.0.1"


def waiting(given: TokenRules, target: bytes = CHAT, *, keys: bool = True) -> Forward:
    decision = decide(given, target, keys=keys)
    assert isinstance(decision, Forward)
    assert decision.rules is not None
    return decision


UNREAD = Asked(unread="its body is compressed")
LARGE = Asked(unread="it is large", too_large=True)
BATCHES = b"/openai/v1/batches"


@pytest.mark.parametrize(
    ("given", "target", "asked", "expected"),
    [
        (ONE, CHAT, Asked(models=("gpt-4o",)), "goes"),
        (ONE, CHAT, Asked(models=("gpt-4o-mini",)), "not_allowed"),
        (ONE, CHAT, Asked(models=("GPT-4o",)), "not_allowed"),
        (ONE, CHAT, Asked(models=("gpt-4o", "gpt-5")), "not_allowed"),
        (ONE, CHAT, Asked(), "not_allowed"),
        (ONE, CHAT, UNREAD, "not_allowed"),
        (ONE, CHAT, LARGE, "body_too_large"),
        (rules(models="gpt-4* claude-*"), CHAT, Asked(models=("gpt-4o", "claude-x")), "goes"),
        (rules(models="*"), CHAT, Asked(models=("anything",)), "goes"),
        (rules(models="gemini-*"), CHAT, Asked(models=("models/gemini-2",)), "goes"),
        (rules(models="gemini-*"), CHAT, Asked(models=("other/gemini-2",)), "not_allowed"),
        # An operation that is allowed by name is not asked for what it cannot say …
        (NAMED, BATCHES, Asked(), "goes"),
        (NAMED, BATCHES, UNREAD, "goes"),
        (NAMED, BATCHES, LARGE, "goes"),
        # … and is held to what it says.
        (NAMED, BATCHES, Asked(models=("gpt-5",)), "not_allowed"),
        # Who allows chat has not allowed every model to whoever packs the body.
        (NAMED, CHAT, UNREAD, "not_allowed"),
        (NAMED, CHAT, LARGE, "body_too_large"),
        (NAMED, CHAT, Asked(), "goes"),
        (NAMED, CHAT, Asked(models=("gpt-5",)), "not_allowed"),
    ],
)
def test_what_the_body_decides(given: TokenRules, target: bytes, asked: Asked, expected: str) -> None:
    forward = waiting(given, target)
    decision = judge_body(forward, asked)
    if expected == "goes":
        assert decision is forward
    else:
        assert said(decision) == expected


def test_rules_come_before_the_key_that_is_missing() -> None:
    assert said(decide(rules(providers="google"), keys=False)) == "not_allowed"
    assert said(decide(rules(providers="openai"), keys=False)) == "no_provider_key"
    forward = waiting(ONE, keys=False)
    assert said(judge_body(forward, Asked(models=("gpt-5",)))) == "not_allowed"
    assert said(judge_body(forward, Asked(models=("gpt-4o",)))) == "no_provider_key"
    assert all(TOKEN not in value for _, value in forward.wire.headers)


def test_what_is_not_checked_by_its_body_is_let_through() -> None:
    plain = decide(None)
    assert isinstance(plain, Forward)
    assert judge_body(plain, UNREAD) is plain


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (
            decide(rules(providers="anthropic")),
            ["the provider openai", "only anthropic", "--allow-provider"],
        ),
        (decide(rules(operations="embeddings")), ["the operation chat", "--allow-operation"]),
        (decide(rules(networks="10.0.0.0/8")), ["not allowed from this address", "10.0.0.0/8"]),
        (decide(ONE, b"/openai/v1/files"), ["only the models gpt-4o", "ci --allow-operation files"]),
        (
            judge_body(waiting(ONE), Asked(models=("gpt-5",))),
            ["the model gpt-5, only gpt-4o", "ci --allow-model"],
        ),
        (judge_body(waiting(ONE), UNREAD), ["its body is compressed."]),
    ],
)
def test_a_refusal_names_what_it_is_and_the_way_out(decision: Forward | Refusal, words: list[str]) -> None:
    assert isinstance(decision, Refusal)
    for word in words:
        assert word in decision.message


@pytest.mark.parametrize("model", ["a\nb", "x" * 101, TOKEN.decode(), FOREIGN.decode(), "<script>", "\ud800"])
def test_what_may_be_a_secret_or_no_name_is_not_repeated(model: str) -> None:
    inbound = Inbound(b"POST", CHAT, (identity(TOKEN), bearer(FOREIGN)))
    route = ROUTER.route(inbound)
    assert isinstance(route, Route)
    forward = admit(inbound, route, access(ONE), PLANS, now=NOW)
    assert isinstance(forward, Forward)
    decision = judge_body(forward, Asked(models=(model,)))
    assert isinstance(decision, Refusal)
    assert "this model, only gpt-4o" in decision.message
    assert model not in decision.message


def test_what_is_allowed_is_shown_in_part_where_it_is_much() -> None:
    many = TokenRules(models=tuple(f"model-{n}" for n in range(50)))
    decision = judge_body(waiting(many), Asked(models=("other",)))
    assert isinstance(decision, Refusal)
    assert "model-9 …" in decision.message
    assert "model-10" not in decision.message


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-*", True),
        ("gpt-4o", "*-4o", True),
        ("gpt-4o", "g*4*", True),
        ("gpt-4o", "*", True),
        ("gpt-4o", "gpt", False),
        ("gpt-4o", "gpt-4o-*", False),
        ("gpt", "gp*pt", False),
        ("a.b", "a?b", False),
        ("a" * 256, "*a" * 100 + "b", False),
    ],
)
def test_patterns(name: str, pattern: str, *, expected: bool) -> None:
    assert matches(name, pattern) is expected
