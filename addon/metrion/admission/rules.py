"""What a token may do: its rules and a request in; why the request is not allowed out, or nothing.

The head decides wherever it can. Only where rules about models are left, and the model may stand in the body, the body
has to be known: :func:`judge` says so, and :func:`judge_body` decides. Whoever cannot tell which model a request asks
for refuses it, unless its operation is allowed by name; an operation whose requests always name their model in JSON is
no such exception, or a body that nobody can read would open every model. Pure, and nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from metrion.admission.client_address import client_address
from metrion.admission.codes import BODY_TOO_LARGE, NOT_ALLOWED
from metrion.admission.masking import without_tokens
from metrion.admission.patterns import matches
from metrion.model import Asked, Forward, Inbound, Naming, Operation, Refusal, Route, TokenRules

_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"DELETE"})
"""Methods with which nothing is generated."""
_OVERRIDES = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
"""Header fields by which some servers, Google's among them, take another method."""
_MODEL_PREFIX = "models/"
"""What Google puts before the name of a model, and leaves out elsewhere."""
_PLAIN = re.compile(r"[\w./:@+-]{1,100}", re.ASCII)
"""The name of a model that is fit to be shown."""
_REMEMBERED = 4096


def judge(token: str, rules: TokenRules, route: Route, inbound: Inbound) -> str | bool:
    """Say why a request is not allowed; else whether its body decides that. ``token``: its name."""
    operation = route.operation
    if elsewhere := wrong_address(token, rules, inbound):
        return elsewhere
    if rules.providers and route.provider not in rules.providers:
        return _not_allowed(token, f"the provider {route.provider}", rules.providers, "--allow-provider")
    if rules.operations and operation.name not in rules.operations:
        return _not_allowed(token, f"the operation {operation.name}", rules.operations, "--allow-operation")
    if not rules.models:
        return False
    if asks_for_websocket(inbound) or operation.session:
        naming = Naming.ELSEWHERE
    elif inbound.method in _SAFE and not may_be_another_method(inbound):
        return False
    else:
        naming = operation.naming
    if route.model is not None:
        return False if _is_model_allowed(route.model, rules) else _wrong_model(token, route.model, rules)
    if naming is Naming.ELSEWHERE and operation.name not in rules.operations:
        return _unread(
            token, rules, f"a request for {operation.name} names it where nobody can read it", operation.name
        )
    return naming in (Naming.ALWAYS, Naming.MAYBE)


def judge_body(forward: Forward, asked: Asked) -> Forward | Refusal:
    """Decide on a request whose body decides, now that the body is known."""
    rules = forward.rules
    if rules is None:
        return forward.unless_allowed or forward
    token, operation = forward.caller.token_name or "-", forward.route.operation
    is_exempt = may_be_unread(operation, rules)
    wrong = next((model for model in asked.models if not _is_model_allowed(model, rules)), None)
    if wrong is not None:
        why = _wrong_model(token, wrong if is_showable(wrong, forward.credentials) else "", rules)
    elif asked.unread is not None and not is_exempt:
        if asked.too_large:
            return _refuse(forward, f"{_of_models(token, rules)}, and {asked.unread}.", too_large=True)
        why = _unread(token, rules, asked.unread, operation.name if operation.naming is not Naming.ALWAYS else None)
    elif not asked.models and operation.name not in rules.operations and asked.unread is None:
        why = _unread(token, rules, "this request names none", operation.name)
    else:
        return forward.unless_allowed or forward
    return _refuse(forward, why)


def may_be_unread(operation: Operation, rules: TokenRules) -> bool:
    """Whether a request may go out though nobody can tell which model it asks for."""
    return operation.name in rules.operations and operation.naming is not Naming.ALWAYS


def asks_for_websocket(inbound: Inbound) -> bool:
    """Whether a request wants to become a WebSocket session, wherever it goes."""
    return any(name.lower() == b"upgrade" and b"websocket" in value.lower() for name, value in inbound.headers)


def may_be_another_method(inbound: Inbound) -> bool:
    """Whether a server may read a request as one with another method than stands in its first line."""
    return inbound.method != inbound.method.upper() or any(name.lower() in _OVERRIDES for name, _ in inbound.headers)


def wrong_address(token: str, rules: TokenRules | None, inbound: Inbound) -> str | None:
    """Say that a token may not be used from where a request comes; ``None``: it may."""
    if rules is None or not rules.networks or _is_from(inbound, rules.networks):
        return None
    return f"The Metrion token {token} is not allowed from this address, only from {_words(rules.networks)}."


def _is_from(inbound: Inbound, networks: tuple[str, ...]) -> bool:
    address = client_address(inbound)
    return address is not None and any(address in network for network in _networks(networks))


@lru_cache(_REMEMBERED)
def _networks(networks: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(network, strict=False) for network in networks)


@lru_cache(_REMEMBERED)
def _is_model_allowed(model: str, rules: TokenRules) -> bool:
    bare = model.removeprefix(_MODEL_PREFIX)
    return any(matches(bare, pattern.removeprefix(_MODEL_PREFIX)) for pattern in rules.models)


def _refuse(forward: Forward, why: str, *, too_large: bool = False) -> Refusal:
    kind = BODY_TOO_LARGE if too_large else NOT_ALLOWED
    return Refusal.of_routed(forward.route, kind, why, caller=forward.caller)


def _wrong_model(token: str, model: str, rules: TokenRules) -> str:
    what = f"the model {model}" if is_showable(model) else "this model"
    return _not_allowed(token, what, rules.models, "--allow-model")


def is_showable(model: str, secrets: Collection[bytes] = ()) -> bool:
    """Return whether the name of a model is fit to be shown, and repeats no secret."""
    if not _PLAIN.fullmatch(model) or without_tokens(model.encode()) != model.encode():
        return False
    return not any(secret and secret.decode("latin-1") in model for secret in secrets)


def _not_allowed(token: str, what: str, allowed: Collection[str], option: str) -> str:
    return (
        f"The Metrion token {token} is not allowed to use {what}, only {_words(allowed)}. "
        f"`metrion token set {token} {option}` changes that."
    )


def _unread(token: str, rules: TokenRules, why: str, operation: str | None) -> str:
    way_out = f" `metrion token set {token} --allow-operation {operation}` allows it all the same." if operation else ""
    return f"{_of_models(token, rules)}, and {why}.{way_out}"


def _of_models(token: str, rules: TokenRules) -> str:
    return f"The Metrion token {token} may use only the models {_words(rules.models)}"


def _words(allowed: Collection[str]) -> str:
    shown = list(allowed)[:10]
    return ", ".join(shown) + (" …" if len(allowed) > len(shown) else "")
