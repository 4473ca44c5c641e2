"""Whatever is sent: nothing reaches a provider that the token's rules do not allow, by any reader's reading of it.

``METRION_TEST_EXAMPLES`` says how many requests are generated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metrion.admission import AccessSnapshot, Token, admit, token_digest
from metrion.admission.rules import judge_body
from metrion.model import Answer, Asked, Forward, Inbound, Refusal, Route, TokenRules
from metrion.relay.effects import Effects, SendRequest, SendRequestData, SendResponse, SendResponseData
from tests.admission.calls import ACCESS, FOREIGN, NOW, PLANS, ROUTER, TOKEN, UNKNOWN, bearer, identity
from tests.relay.ways import Gate

PATTERNS = ("gpt-4*", "claude-*", "models/gemini-2*", "good")
OPERATIONS = ("chat", "messages", "files", "batch", "realtime", "audio", "models", "generate_content")
NETWORKS = ("10.0.0.0/8", "127.0.0.0/8", "2001:db8::/32")
RULES = st.builds(
    TokenRules,
    providers=st.lists(st.sampled_from(["openai", "anthropic", "google"]), max_size=2).map(tuple),
    models=st.lists(st.sampled_from(PATTERNS), max_size=2).map(tuple),
    operations=st.lists(st.sampled_from(OPERATIONS), max_size=4).map(tuple),
    networks=st.lists(st.sampled_from(NETWORKS), max_size=2).map(tuple),
)
TARGETS = st.sampled_from(
    [
        b"/openai/v1/chat/completions",
        b"/anthropic/v1/messages",
        b"/anthropic/v1/messages/batches",
        b"/openai/v1/audio/transcriptions",
        b"/openai/v1/files",
        b"/openai/v1/batches",
        b"/openai/v1/realtime?model=gpt-4o",
        b"/openai/v1/models",
        b"/openai/v1/what/is/this",
        b"/gemini/v1beta/models/gemini-2.5-pro:generateContent",
        b"/gemini/v1beta/models/gemini-1.5-pro:generateContent",
        b"/gemini/v1beta/openai/chat/completions",
    ]
)
METHODS = st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"post", b"PUT", b"DELETE", b"HEAD"])
PEERS = st.sampled_from(
    [("127.0.0.1", 1), ("10.1.1.1", 1), ("::ffff:10.1.1.1", 1, 0, 0), ("2001:db8::1", 1, 0, 0), None]
)
CREDENTIALS = st.sampled_from(
    [(bearer(TOKEN),), (identity(TOKEN), bearer(FOREIGN)), (bearer(UNKNOWN),), (bearer(FOREIGN),), ()]
)
HEADERS = st.lists(
    st.sampled_from(
        [
            (b"Content-Type", b"application/json"),
            (b"Content-Type", b"multipart/form-data; boundary=x"),
            (b"Content-Type", b"text/plain"),
            (b"Content-Encoding", b"gzip"),
            (b"Content-Encoding", b"identity"),
            (b"Upgrade", b"websocket"),
            (b"X-HTTP-Method-Override", b"POST"),
            (b"Expect", b"100-continue"),
        ]
    ),
    max_size=2,
).map(tuple)
NAMES = st.sampled_from(
    [
        '"model"',
        '"Model"',
        '"MODEL"',
        '"mod\\u0065l"',
        '"\\u006dodel"',
        '"models"',
        '"requests"',
        '"params"',
        '"x"',
        '"n"',
    ]
)
MODELS = st.sampled_from(["gpt-4o", "claude-x", "gemini-2.5", "models/gemini-2.5", "good", "evil", TOKEN.decode(), ""])
VALUES = st.recursive(
    MODELS.map(json.dumps) | st.sampled_from(["null", "1", "true", "{}", "[]", '"\\ud800"', "NaN", "1e999"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: "[" + ",".join(values) + "]")
        | st.lists(st.tuples(NAMES, inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{name}:{value}" for name, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)
OBJECTS = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(
    lambda pairs: "{" + ",".join(f"{name} : {value}" for name, value in pairs) + "}"
)
BODIES = OBJECTS.map(str.encode) | st.builds(
    lambda text, at, junk: text.encode()[:at] + junk + text.encode()[at:],
    OBJECTS,
    st.integers(0, 40),
    st.binary(max_size=2),
)


@dataclass
class RealGate(Gate):
    """Decides as the gateway does, about one token with these rules."""

    rules: TokenRules | None = None

    def decide(self, inbound: Inbound, *, intercepted: bool = False) -> Forward | Refusal | Answer:  # noqa: ARG002 -- no mode
        route = ROUTER.route(inbound)
        assert isinstance(route, Route)
        access = AccessSnapshot(
            {token_digest(TOKEN): Token("ci", "default", "pro", rules=self.rules)}, ACCESS.provider_keys
        )
        return admit(inbound, route, access, PLANS, now=NOW)

    def within_rules(self, forward: Forward, asked: Asked) -> Forward | Refusal:
        return judge_body(forward, asked)


def named(body: bytes) -> set[str] | None:
    """Every model that any reader may find in a body; ``None``: it is no JSON."""
    found = set[str]()

    def keep(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return pairs

    try:
        pairs = json.loads(body, object_pairs_hook=keep)
    except (ValueError, RecursionError):
        return None
    if not body.lstrip().startswith(b"{"):
        return found

    def of(members: list[tuple[str, Any]]) -> None:
        found.update(value for name, value in members if name.lower() == "model" and isinstance(value, str) and value)

    of(pairs)
    for name, value in pairs:
        if name == "requests" and isinstance(value, list):
            for each in value:
                for inner_name, inner in each if isinstance(each, list) else ():
                    if inner_name == "params" and isinstance(inner, list):
                        of([pair for pair in inner if isinstance(pair, tuple)])
    return found


def allowed(model: str, rules: TokenRules) -> bool:
    return any(fnmatchcase(model.removeprefix("models/"), each.removeprefix("models/")) for each in rules.models)


@given(RULES, TARGETS, METHODS, PEERS, CREDENTIALS, HEADERS, BODIES, st.integers(1, 30))
def test_nothing_reaches_a_provider_that_the_rules_do_not_allow(
    rules: TokenRules,
    target: bytes,
    method: bytes,
    peer: object,
    credentials: tuple[tuple[bytes, bytes], ...],
    headers: tuple[tuple[bytes, bytes], ...],
    body: bytes,
    size: int,
) -> None:
    gate = RealGate(rules=rules)
    relay = gate.relay()
    inbound = Inbound(method, target, (*headers, *credentials), peer=peer)
    effects: Effects = relay.request_head(inbound, ends=not body, began=0.0)
    for at in range(0, len(body), size):
        effects += relay.request_data(body[at : at + size])
    if body:
        effects += relay.request_end()
    effects += relay.connected()
    sent = [effect for effect in effects if isinstance(effect, SendRequest)]
    said = b"".join(effect.data for effect in effects if isinstance(effect, SendResponseData))
    shown = said + repr([effect for effect in effects if isinstance(effect, SendResponse)]).encode()
    assert not any(secret in shown for secret in (TOKEN, FOREIGN, UNKNOWN, b"stored-"))
    if not sent:
        assert not any(isinstance(effect, SendRequestData) for effect in effects)
        assert any(isinstance(effect, SendResponse) for effect in effects)
        return
    assert bearer(TOKEN) in credentials or identity(TOKEN) in credentials
    assert b"".join(effect.data for effect in effects if isinstance(effect, SendRequestData)) == body
    route = ROUTER.route(inbound)
    assert isinstance(route, Route)
    operation = route.operation.name
    assert not rules.providers or route.provider in rules.providers
    assert not rules.operations or operation in rules.operations
    if rules.networks:
        assert isinstance(peer, tuple)
        address = peer[0].removeprefix("::ffff:")
        assert any(
            address.startswith(start) for start in (each.split(".")[0].split("::")[0] for each in rules.networks)
        )
    if not rules.models:
        return
    overridden = any(name == b"X-HTTP-Method-Override" for name, _ in headers)
    is_session = operation == "realtime" or any(name == b"Upgrade" for name, _ in headers)
    if route.model is not None:
        assert (method in (b"GET", b"HEAD", b"DELETE") and not overridden) or allowed(route.model, rules)
    elif is_session:
        assert operation in rules.operations
    elif method in (b"GET", b"HEAD", b"DELETE") and not overridden:
        pass
    elif operation in rules.operations:
        models = named(body)
        if operation in ("chat", "messages"):
            assert models is not None or not body
            assert not any(name == b"Content-Encoding" and value == b"gzip" for name, value in headers)
            assert all(allowed(model, rules) for model in models or ())
    elif operation != "models":
        models = named(body)
        assert models
        assert all(allowed(model, rules) for model in models)


def test_the_property_sees_requests_that_pass() -> None:
    """Else it would show nothing."""
    gate = RealGate(rules=TokenRules(models=("gpt-4*",)))
    relay = gate.relay()
    inbound = Inbound(b"POST", b"/openai/v1/chat/completions", (bearer(TOKEN),))
    relay.request_head(inbound, ends=False, began=0.0)
    relay.request_data(b'{"model": "gpt-4o"}')
    relay.request_end()
    assert any(isinstance(effect, SendRequest) for effect in relay.connected())
