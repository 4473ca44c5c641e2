"""Which policies apply to a request: its route and its caller in; what they ask for, composed, out.

What is composed for a route and a caller is remembered: a request costs one look-up, and none where there are no
policies. Of two that say something of the same thing, the more particular one holds: a token's before an account's, a
longer path's before a shorter one's, a provider's before everybody's. A default is never more than the cap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from metrion.model import Caller, Forward, Route
from metrion.model.policies import (
    Alias,
    Batching,
    Cache,
    Concurrency,
    Fallback,
    MemberSetting,
    Policies,
    Retries,
    Step,
    Told,
)
from metrion.settings.policies import Policy, is_below
from metrion.settings.policies.members import MEMBERS
from metrion.settings.policies.values import FallbackStep

_MOST_REMEMBERED = 512


class PolicyBook:
    """The policies of one configuration. One per process."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = sorted(policies, key=lambda policy: policy.scope.rank, reverse=True)
        self._go_by_path = any(policy.scope.path is not None for policy in policies)
        self._remembered = dict[tuple[object, ...], Policies | None]()

    def applied(self, forward: Forward) -> Forward:
        """Return an admitted request with what the policies ask for at it."""
        found = self.of(forward.route, forward.caller) if self._policies else None
        return forward if found is None else replace(forward, policies=found)

    def meant(self, route: Route, caller: Caller) -> Route:
        """Return a route with the model that goes out in the place of the one that its path names."""
        policies = self.of(route, caller) if route.model is not None else None
        alias = policies.aliases.get(route.model or "") if policies is not None else None
        if alias is None:
            return route
        return replace(route, model=alias.model, provider=alias.provider or route.provider)

    @property
    def has_model_paths(self) -> bool:
        """Whether a path may name a model, for somebody."""
        return any(policy.asked.aliases or policy.asked.model_paths for policy in self._policies)

    def of(self, route: Route, caller: Caller) -> Policies | None:
        """Return what the policies ask for at a request; ``None``: nothing."""
        path = route.target.partition(b"?")[0] if self._go_by_path else b""
        key = route.provider, route.error_shape, route.operation.name, path, caller.account, caller.token_name
        try:
            return self._remembered[key]
        except KeyError:
            pass
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        found = self._remembered[key] = self._composed(route, path.decode("utf-8", "replace"), caller)
        return found

    def _composed(self, route: Route, path: str, caller: Caller) -> Policies | None:
        fitting = [policy for policy in self._policies if _is_for(policy, route, path, caller)]
        aliases = _aliases(fitting)
        caps = _members(fitting, "caps", route)
        paths = next((policy.name for policy in fitting if policy.asked.model_paths is not None), None)
        is_on = next((policy.asked.model_paths for policy in fitting if policy.asked.model_paths is not None), False)
        found = Policies(
            aliases=aliases,
            model_paths=paths if is_on else None,
            defaults=within(_members(fitting, "defaults", route), caps),
            caps=caps,
            retries=_first(fitting, "retries", Retries),
            concurrency=_first(fitting, "concurrency", Concurrency),
            cache=_first(fitting, "cache", Cache),
            batching=_first(fitting, "batching", Batching),
            fallback=next((_fallback(each.name, steps) for each in fitting if (steps := each.asked.fallback)), None),
            told=next((Told(each.name, frozenset(each.asked.tell)) for each in fitting if each.asked.tell), None),
        )
        return None if found == Policies() else found


def _is_for(policy: Policy, route: Route, path: str, caller: Caller) -> bool:
    scope = policy.scope
    return (
        scope.account in (None, caller.account)
        and scope.token in (None, caller.token_name)
        and scope.provider in (None, route.provider)
        and (scope.path is None or is_below(path, scope.path))
    )


def _aliases(policies: Sequence[Policy]) -> Mapping[str, Alias]:
    """Return where each alias leads in the end."""
    steps: dict[str, Alias] = {}
    for policy in policies:
        for name, target in (policy.asked.aliases or {}).items():
            steps.setdefault(name, Alias(policy.name, target.model, target.provider))
    return {name: _followed(step, steps) for name, step in steps.items()}


def _followed(alias: Alias, steps: Mapping[str, Alias]) -> Alias:
    """Follow an alias that stands for another one. There are no circles: the settings refuse them."""
    while alias.provider is None and (following := steps.get(alias.model)) is not None:
        alias = replace(following, policy=alias.policy)
    return alias


def _members(policies: Sequence[Policy], kind: str, route: Route) -> tuple[MemberSetting, ...]:
    """Return the members that a request to a route can have, the most particular policy's first."""
    found: dict[str, MemberSetting] = {}
    for policy in policies:
        for name, value in (getattr(policy.asked, kind) or {}).items():
            member = MEMBERS[name]
            if route.operation.name in member.operations and route.error_shape in member.shapes:
                found.setdefault(name, MemberSetting(policy.name, name, value))
    return tuple(found.values())


def _fallback(policy: str, steps: Sequence[FallbackStep]) -> Fallback:
    return Fallback(policy, tuple(Step(step.model, step.provider) for step in steps))


def _first[T](policies: Sequence[Policy], kind: str, make: Callable[..., T]) -> T | None:
    """Return what the most particular policy of a kind says, with the policy's name before it; ``None``: none does."""
    found = ((policy.name, getattr(policy.asked, kind)) for policy in policies)
    return next((make(name, **dict(asked)) for name, asked in found if asked is not None), None)


def within(defaults: Sequence[MemberSetting], caps: Sequence[MemberSetting]) -> tuple[MemberSetting, ...]:
    """Return defaults of which none is more than its cap."""
    most = {cap.member: cap.value for cap in caps}

    def cut(default: MemberSetting) -> MemberSetting:
        limit, value = most.get(default.member), default.value
        is_over = isinstance(limit, int | float) and isinstance(value, int | float) and value > limit
        return replace(default, value=limit) if is_over and limit is not None else default

    return tuple(map(cut, defaults))
