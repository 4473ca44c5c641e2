"""Where policies have a request go: an admitted one in; the same elsewhere, or with another path, or a refusal, out.

A path may name the model, by an alias of it: that is known with the head. An alias in the body may lead to another
provider: that is known with the body. Whether a token may ask for it is judged by what goes out.
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
from metrion.admission.rules import judge_body
from metrion.endpoints import COUNT_TOKENS, EMBEDDINGS, OTHER
from metrion.model import Asked, Forward, Head, Inbound, Refusal, Route
from metrion.model.policies import Alias, MemberSetting, Policies
from metrion.parsing.json_members import UnreadableError
from metrion.relay.body_policies import asked_alias

type Admit = Callable[[Route], Forward | Refusal]

_MODEL_PATH = re.compile(rb"/([^/?]+)/(chat|stream)(?=\?|$)")
"""What a path that names the model ends with."""
_VERSION = re.compile(rb"v\d[\w.-]*")
"""In the place of a name: the body names the model."""
_PATH_DEFAULTS = (("max_tokens", 4096), ("temperature", 0.7))
"""What a request to such a path has where neither it nor a policy says it."""


class Rerouting:
    """See the module."""

    def __init__(self, router: Router, book: PolicyBook) -> None:
        self.book = book
        self._router = router
        self._model_paths = book.has_model_paths

    def admitted(self, inbound: Inbound, route: Route, admit: Admit, access: AccessSnapshot) -> Forward | Refusal:
        """Admit a routed request as policies want it, as far as its head tells."""
        # What is known by its host has a path of that host's own.
        by_path = self._model_paths and inbound.origin is None and inbound.method == b"POST"
        if by_path and route.operation is OTHER:
            found = _MODEL_PATH.search(route.target)
            chat = self._chat(route, found, admit, access) if found is not None else None
            if chat is not None:
                return chat
        decision = admit(route)
        if isinstance(decision, Refusal):
            return decision
        forward = self.book.applied(decision)
        policies, name = forward.policies, route.model
        if policies is None or name is None or (alias := policies.aliases.get(name)) is None:
            return forward
        return self._with_model_in_path(forward, name, alias, access)

    def with_body(self, forward: Forward, asked: Asked, access: AccessSnapshot) -> tuple[Forward | Refusal, Asked]:
        """Decide about a request whose body is known, at the provider where it goes; return what goes out, too."""
        policies = forward.policies or Policies()
        try:
            found = asked_alias(asked.body, policies.aliases)
        except UnreadableError:
            return judge_body(forward, asked), asked  # it passes as it came
        if found is None:
            put_in = tuple(str(each.value) for each in policies.defaults if each.member == "model")
            asked = asked if asked.models else replace(asked, models=put_in)
            return judge_body(forward, asked), asked
        name, alias = found
        asked = replace(asked, models=tuple(alias.model if model == name else model for model in asked.models))
        leads = alias.provider not in (None, forward.route.provider)  # then no key of this provider's goes out
        decision = judge_body(replace(forward, unless_allowed=None) if leads else forward, asked)
        if isinstance(decision, Forward):
            decision = self._elsewhere(decision, name, alias, access)
        return decision, asked

    def _elsewhere(self, forward: Forward, name: str, alias: Alias, access: AccessSnapshot) -> Forward | Refusal:
        """Return a request that asks for an alias at the provider to which the alias leads."""
        if alias.provider is None or alias.provider == forward.route.provider:
            return forward
        route = route_elsewhere(self._router, forward.route, alias.provider)
        if route is None:
            return no_such_path(forward, name, alias.provider)
        admitted = admit_elsewhere(forward, route, alias.model, access)
        if isinstance(admitted, Refusal):
            return admitted
        before = forward.policies or Policies()
        here = self.book.of(route, admitted.caller) or Policies()
        # What the alias stands for is no alias there: only this one still applies.
        aliases = {name: replace(alias, provider=None)}
        policies = replace(here, aliases=aliases, sets=before.sets, noted=before.noted, model=before.model)
        return replace(admitted, policies=policies)

    def _with_model_in_path(
        self, forward: Forward, name: str, alias: Alias, access: AccessSnapshot
    ) -> Forward | Refusal:
        decision = self._elsewhere(forward, name, alias, access)
        if isinstance(decision, Refusal):
            return decision
        spelled = rb"(?<=/models/)" + re.escape(quote(name, safe="-._~").encode()) + rb"(?=:|%3[aA])"
        model = quote(alias.model, safe="-._~").encode()

        def aimed(target: bytes) -> bytes:
            path, mark, query = target.partition(b"?")
            return re.sub(spelled, lambda _: model, path, count=1) + mark + query

        target = aimed(decision.route.target)
        policies = decision.policies or Policies()
        if target == decision.route.target:
            noted = (*policies.noted, (alias.policy, "untouched: the path names the model in another way"))
            return replace(forward, policies=replace(forward.policies or Policies(), aliases={}, noted=noted))
        noted = (*policies.noted, (alias.policy, f"alias: {name} → {alias.model}"))
        return replace(
            decision,
            route=replace(decision.route, target=target, model=name),
            wire=Head(aimed(decision.wire.target), decision.wire.headers),
            policies=replace(
                policies,
                aliases={},
                noted=noted,
                model=alias.model,
                renamed=(name, alias) if decision.route.operation in (EMBEDDINGS, COUNT_TOKENS) else None,
            ),
        )

    def _chat(
        self, route: Route, found: re.Match[bytes], admit: Admit, access: AccessSnapshot
    ) -> Forward | Refusal | None:
        """Return the chat completion for which a path with the name of a model stands; ``None``: it stands for none."""
        name, is_stream = unquote(found[1].decode("latin-1")), found[2] == b"stream"
        is_nameless = is_stream and _VERSION.fullmatch(found[1]) is not None
        chat = replace(self._router.chat_of(route), model=None if is_nameless else name)
        decision = admit(chat)
        policies = self.book.of(chat, decision.caller) if decision.caller is not None else None
        is_known = policies is not None and not is_nameless and name in policies.aliases
        if policies is None or not (is_known or policies.model_paths):
            return None
        if isinstance(decision, Refusal):
            return decision
        if is_nameless:
            return replace(decision, policies=replace(policies, sets=(_streaming(policies.model_paths or ""),)))
        decision = replace(decision, policies=policies)
        alias = policies.aliases.get(name) or Alias(policies.model_paths or "", name)
        words = f"alias: {name} → {alias.model}" if name in policies.aliases else "path: model"
        sets = [MemberSetting(alias.policy, "model", alias.model, words)]
        if is_stream:
            sets.append(_streaming(alias.policy))
        there = self._elsewhere(decision, name, alias, access)
        if isinstance(there, Refusal):
            return there
        here = there.policies or Policies()
        more = tuple(MemberSetting(alias.policy, member, value) for member, value in _PATH_DEFAULTS)
        defaults = within((*here.defaults, *more), here.caps)
        here = replace(here, aliases={}, sets=tuple(sets), defaults=defaults, model=alias.model)
        return replace(there, route=replace(there.route, model=name), policies=here)


def _streaming(policy: str) -> MemberSetting:
    return MemberSetting(policy, "stream", value=True, words="path: stream")
