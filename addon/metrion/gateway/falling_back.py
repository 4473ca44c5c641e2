"""Where a request goes whose provider does not answer it: an admitted one and a step of its policy in, the same out.

The rule for credentials is that of :mod:`metrion.admission.elsewhere`: a caller's own goes only to the origin that it
was sent for. At another provider the stored key of the account goes out, and the caller's is taken off. What a token
may do is judged anew, by the model that goes out.
"""

from __future__ import annotations

from dataclasses import replace

from metrion.admission.access_snapshot import AccessSnapshot, token_digest
from metrion.admission.credentials import has_prefix
from metrion.admission.elsewhere import admit_elsewhere, route_elsewhere
from metrion.admission.policy_book import PolicyBook
from metrion.admission.routing import Router
from metrion.admission.rules import judge
from metrion.model import Forward, Inbound
from metrion.model.policies import MemberSetting, Policies, Step


def fallen_back(
    forward: Forward, step: Step, *, router: Router, book: PolicyBook, access: AccessSnapshot, model: str | None
) -> Forward | None:
    """Return an admitted request as it goes out at a step; ``None``: it cannot go there.

    ``model``: what it asks for, as far as that is known.
    """
    if forward.route.model is not None:
        return None  # a path that names the model is not changed
    asked = step.model or model or ""
    if step.provider is None or step.provider == forward.route.provider:
        return forward if _may_ask(forward, asked, access) else None
    route = route_elsewhere(router, forward.route, step.provider)
    admitted = admit_elsewhere(forward, route, asked, access) if route is not None else None
    if route is None or not isinstance(admitted, Forward):
        return None
    return replace(admitted, policies=book.of(route, admitted.caller))


def cheaper(
    forward: Forward, *, router: Router, book: PolicyBook, access: AccessSnapshot, model: str | None
) -> Forward | None:
    """Return an admitted request as it goes out at the first step of its policy; ``None``: it has none.

    For a budget that is spent, and goes on with what is cheaper. To be called before the body is let go: what the step
    changes in it is in the policies.
    """
    fallback = forward.policies.fallback if forward.policies is not None else None
    for at, step in enumerate(fallback.steps if fallback is not None else ()):
        there = fallen_back(forward, step, router=router, book=book, access=access, model=model)
        if there is not None and fallback is not None:
            policies, rest = there.policies or Policies(), replace(fallback, steps=fallback.steps[at + 1 :])
            sets = (*policies.sets, *settings_of(step, fallback.policy, "cheaper"))
            return replace(there, policies=replace(policies, sets=sets, fallback=rest if rest.steps else None))
    return None


def settings_of(step: Step, policy: str, why: str) -> tuple[MemberSetting, ...]:
    """Return what a step changes in the body of a request."""
    model = step.model
    return (MemberSetting(policy, "model", model, f"{why}: model {model}"),) if model is not None else ()


def _may_ask(forward: Forward, model: str, access: AccessSnapshot) -> bool:
    """Whether the token of a request may ask for a model where the request goes anyway."""
    secret = next((each for each in forward.credentials if has_prefix(each)), None)
    token = access.tokens.get(token_digest(secret)) if secret is not None else None
    if token is None or token.rules is None:
        return True
    rules = replace(token.rules, networks=())  # the head was judged by it
    inbound = Inbound(b"POST", forward.route.target, ())
    return not isinstance(judge(token.name, rules, replace(forward.route, model=model), inbound), str)
