"""Where a request goes whose provider does not answer it: an admitted one and a step of its policy in, the same out.

The rule for credentials is that of :mod:`metrion.admission.elsewhere`: a caller's own goes only to the origin that it
was sent for. At another provider the stored key of the account goes out, and the caller's is taken off. What a token
may do is judged anew, by the model that goes out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from metrion.admission.access_snapshot import AccessSnapshot, token_digest
from metrion.admission.credentials import has_prefix
from metrion.admission.elsewhere import admit_elsewhere, route_elsewhere
from metrion.admission.policy_book import PolicyBook
from metrion.admission.routing import Router
from metrion.admission.rules import judge
from metrion.model import Asked, Forward, Inbound
from metrion.model.policies import MemberSetting, Policies, Step
from metrion.parsing.json_members import UnreadableError
from metrion.relay.body_policies import changed
from metrion.relay.rewrites import why_unread


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
    forward: Forward, asked: Asked, *, router: Router, book: PolicyBook, access: AccessSnapshot
) -> Iterator[tuple[Forward, Asked]]:
    """Give an admitted request as it goes out at each step of its policy, and what it asks for there.

    For a budget that has no room for it as it is. Its body is held, and not changed yet: what a step changes in it is
    in the policies. A step that would be put into a body that is not changed with certainty is left out.
    """
    before = forward.policies
    if before is None or (fallback := before.fallback) is None or asked.unread or not asked.body:
        return
    for at, step in enumerate(fallback.steps):
        there = fallen_back(forward, step, router=router, book=book, access=access, model=asked.model)
        words = f"cheaper: {step.words(there.route.provider)}" if there is not None else ""
        sets = (MemberSetting(fallback.policy, "model", step.model, words),) if step.model is not None else ()
        if there is None or (sets and not _takes(sets, forward, asked)):
            continue
        rest = replace(fallback, steps=fallback.steps[at + 1 :])
        # A name that stands for another one does so there, too.
        aliases = {} if sets else {name: replace(alias, provider=None) for name, alias in before.aliases.items()}
        policies = replace(
            there.policies or Policies(),
            aliases=aliases,
            sets=(*before.sets, *sets),
            noted=before.noted if sets else (*before.noted, (fallback.policy, words)),
            model=step.model or before.model,
            fallback=rest if rest.steps else None,
        )
        models = (step.model,) if step.model is not None else asked.models
        yield access.budgets.moved(replace(there, policies=policies)), replace(asked, models=models)


def _takes(sets: tuple[MemberSetting, ...], forward: Forward, asked: Asked) -> bool:
    """Whether the body of a request takes what a step puts into it."""
    if why_unread(forward.wire.headers) is not None:
        return False
    try:
        changed(asked.body, Policies(sets=sets))
    except UnreadableError:
        return False
    return True


def _may_ask(forward: Forward, model: str, access: AccessSnapshot) -> bool:
    """Whether the token of a request may ask for a model where the request goes anyway."""
    secret = next((each for each in forward.credentials if has_prefix(each)), None)
    token = access.tokens.get(token_digest(secret)) if secret is not None else None
    if token is None or token.rules is None:
        return True
    rules = replace(token.rules, networks=())  # the head was judged by it
    inbound = Inbound(b"POST", forward.route.target, ())
    return not isinstance(judge(token.name, rules, replace(forward.route, model=model), inbound), str)
