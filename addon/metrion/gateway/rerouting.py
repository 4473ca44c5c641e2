"""Where policies have a request go: an admitted one in; the same elsewhere, or with another path, or a refusal, out.

A path may name the model, by an alias of it: that is known with the head. An alias in the body may lead to another
provider: :meth:`Rerouting.elsewhere` is asked once the body is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote, unquote

from metrion.admission.access_snapshot import AccessSnapshot
from metrion.admission.elsewhere import admit_elsewhere, no_such_path, route_elsewhere
from metrion.admission.policy_book import PolicyBook, within
from metrion.admission.routing import Router
from metrion.endpoints import OTHER
from metrion.model import Forward, Head, Inbound, Refusal, Route
from metrion.model.policies import Alias, MemberSetting, Policies

type Admit = Callable[[Inbound, Route], Forward | Refusal]

_MODEL_PATH = re.compile(rb"/([^/?]+)/(chat|stream)(?=\?|$)")
"""What a path that names the model ends with."""
_PATH_DEFAULTS = (("max_tokens", 4096), ("temperature", 0.7))
"""What a request to such a path has where neither it nor a policy says it."""


class Rerouting:
    """See the module."""

    def __init__(self, router: Router, book: PolicyBook) -> None:
        self._router = router
        self._book = book

    def at_head(self, inbound: Inbound, forward: Forward, access: AccessSnapshot, admit: Admit) -> Forward | Refusal:
        """Return an admitted request as policies want it, as far as its head tells."""
        forward = self._book.applied(forward)
        policies = forward.policies
        if policies is None or inbound.method != b"POST" or not (policies.aliases or policies.model_paths):
            return forward
        route = forward.route
        if route.model is not None and (alias := policies.aliases.get(route.model)):
            return self._with_model_in_path(inbound, forward, route.model, alias, access)
        if route.operation is OTHER and (found := _MODEL_PATH.search(route.target)):
            name = unquote(found[1].decode("latin-1"))
            if name in policies.aliases or policies.model_paths:
                return self._chat_with(inbound, forward, name, found[2] == b"stream", access, admit)
        return forward

    def elsewhere(
        self, inbound: Inbound, forward: Forward, name: str, alias: Alias, access: AccessSnapshot
    ) -> Forward | Refusal:
        """Return a request that asks for an alias at the provider to which the alias leads."""
        if alias.provider is None or alias.provider == forward.route.provider:
            return forward
        route = route_elsewhere(self._router, forward.route, alias.provider)
        if route is None:
            return no_such_path(forward, name, alias.provider)
        admitted = admit_elsewhere(inbound, forward, route, access)
        if isinstance(admitted, Refusal):
            return admitted
        before = forward.policies or Policies()
        here = self._book.of(route, admitted.caller) or Policies()
        # What the alias stands for is no alias there: only this one still applies.
        aliases = {name: replace(alias, provider=None)}
        policies = replace(here, aliases=aliases, sets=before.sets, noted=before.noted, model=before.model)
        return replace(admitted, policies=policies)

    def _with_model_in_path(
        self, inbound: Inbound, forward: Forward, name: str, alias: Alias, access: AccessSnapshot
    ) -> Forward | Refusal:
        decision = self.elsewhere(inbound, forward, name, alias, access)
        if isinstance(decision, Refusal):
            return decision
        spelled = rb"(?<=/models/)" + re.escape(name.encode()) + rb"(?=:|%3[aA])"
        model = quote(alias.model, safe="-._~").encode()

        def aimed(target: bytes) -> bytes:
            path, mark, query = target.partition(b"?")
            return re.sub(spelled, lambda _: model, path, count=1) + mark + query

        target = aimed(decision.route.target)
        if target == decision.route.target:
            return forward
        policies = decision.policies or Policies()
        noted = (*policies.noted, (alias.policy, f"alias: {name} → {alias.model}"))
        return replace(
            decision,
            route=replace(decision.route, target=target, model=name),
            wire=Head(aimed(decision.wire.target), decision.wire.headers),
            policies=replace(policies, aliases={}, noted=noted, model=alias.model),
        )

    def _chat_with(
        self, inbound: Inbound, forward: Forward, name: str, stream: bool, access: AccessSnapshot, admit: Admit
    ) -> Forward | Refusal:
        """Return the chat completion for which a path with the name of a model stands."""
        route = self._router.chat_of(forward.route)
        decision = admit(inbound, route)
        if isinstance(decision, Refusal):
            return decision
        decision = self._book.applied(replace(decision, route=replace(route, model=name)))
        policies = decision.policies or Policies()
        alias = policies.aliases.get(name) or Alias(policies.model_paths or "", name)
        words = f"alias: {name} → {alias.model}" if name in policies.aliases else f"path: model {name}"
        sets = [MemberSetting(alias.policy, "model", alias.model, words)]
        if stream:
            sets.append(MemberSetting(alias.policy, "stream", value=True, words="path: stream"))
        decision = self.elsewhere(inbound, replace(decision, policies=policies), name, alias, access)
        if isinstance(decision, Refusal):
            return decision
        here = decision.policies or Policies()
        more = tuple(MemberSetting(alias.policy, member, value) for member, value in _PATH_DEFAULTS)
        defaults = within((*here.defaults, *more), here.caps)
        here = replace(here, aliases={}, sets=tuple(sets), defaults=defaults, model=alias.model)
        return replace(decision, route=replace(decision.route, model=name), policies=here)
