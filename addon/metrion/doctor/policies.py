"""Policies that do not do what they say: one for nobody, or one that cannot work where its requests go.

A kind that needs something has its row in :data:`NEEDS`: what it lacks is said here, and not at each request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

from metrion.admission.budgets import shown
from metrion.control import ControlStore
from metrion.doctor.findings import Finding, Subject, ok, warn
from metrion.endpoints import EMBEDDINGS
from metrion.errors import ControlError
from metrion.model import Budget, ErrorShape
from metrion.providers import PROVIDERS
from metrion.relay.batch_bodies import FORMAT
from metrion.settings import Settings
from metrion.settings.policies import Policy
from metrion.settings.policies.members import MEMBERS

type Need = Callable[[Settings, Policy], Iterator[Finding]]


def policies(subject: Subject) -> Iterator[Finding]:
    """Report how many policies are on, and each that does not do what it says."""
    settings = subject.settings
    yield from _without_fallback(settings)
    if not settings.policies:
        return
    yield ok(f"policies: {len(settings.policies)} on: {', '.join(each.name for each in settings.policies)}")
    accounts, tokens = _known(settings)
    for policy in settings.policies:
        scope = policy.scope
        for kind, name, known in (("account", scope.account, accounts), ("token", scope.token, tokens)):
            if name is not None and name not in known:
                yield warn(
                    f"policies.{policy.name}: is for the {kind} {name}, which does not exist",
                    f"`metrion {kind} create {name}`, or correct its `for`",
                )
        for name, need in NEEDS.items():
            if getattr(policy.asked, name):
                yield from need(settings, policy)


def goes_cheaper(settings: Settings, budget: Budget) -> bool:
    """Whether a policy says where requests go for which a budget has no room."""
    scopes = (policy.scope for policy in settings.policies if policy.asked.fallback)
    return any(getattr(scope, budget.scope, None) in (None, budget.name) for scope in scopes)


def _without_fallback(settings: Settings) -> Iterator[Finding]:
    """Report budgets that go on with what is cheaper, where nothing says what that is."""
    if not settings.control_db.exists():
        return
    try:
        with closing(ControlStore.open(settings)) as control:
            budgets = control.budgets()
    except ControlError:
        return  # another check says what is wrong with it
    for budget in budgets:
        if budget.then == "cheaper" and not goes_cheaper(settings, budget):
            yield warn(
                f"the budget of {shown(budget)} goes on with what is cheaper, and no policy says what that is",
                "write a `fallback` below `policies` in metrion.yaml (docs/policies.md); until then it refuses",
            )


def _known(settings: Settings) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of all accounts and of all tokens."""
    if not settings.control_db.exists():
        return frozenset(), frozenset()
    try:
        with closing(ControlStore.open(settings)) as control:
            accounts = frozenset(account.name for account in control.accounts())
            return accounts, frozenset(token.name for token in control.tokens())
    except ControlError:
        return frozenset(), frozenset()  # another check says what is wrong with it


def _leads_to_keys(settings: Settings, policy: Policy) -> Iterator[Finding]:
    """Report what leads to a provider without a key: only a stored one may go there."""
    named = [target.provider for target in (policy.asked.aliases or {}).values()]
    named += [step.provider for step in policy.asked.fallback or ()]
    targets = {name for name in named if name is not None}
    needy = sorted(name for name in targets if settings.providers[name].needs_key)
    if not needy:
        return
    stored = set(settings.environment_keys)
    if settings.control_db.exists():
        try:
            with closing(ControlStore.open(settings)) as control:
                keys = control.keys()
            stored |= {key.provider for key in keys}
        except ControlError:
            return
    for name in needy:
        if name not in stored:
            yield warn(
                f"policies.{policy.name}: it leads to {name}, for which no key is stored",
                f"`metrion key set {name}`: a key that a client sends goes only where it was sent",
            )


def _members_are_known(settings: Settings, policy: Policy) -> Iterator[Finding]:
    """Report members that no request to the policy's provider has."""
    if (provider := policy.scope.provider) is None:
        return
    like = PROVIDERS[settings.providers[provider].like]
    shapes: set[ErrorShape] = {like.native.error_shape}
    if like.compatible is not None:
        shapes.add(like.compatible.surface.error_shape)
    operations = {path.operation.name for path in like.native.paths.values()}
    if like.compatible is not None:
        operations |= {path.operation.name for path in like.compatible.surface.paths.values()}
    for name in dict.fromkeys((*(policy.asked.defaults or ()), *(policy.asked.caps or ()))):
        if MEMBERS[name].shapes.isdisjoint(shapes) or MEMBERS[name].operations.isdisjoint(operations):
            yield warn(
                f"policies.{policy.name}: no request to {provider} has a member {name}",
                "take it out, or write the one that this provider knows (docs/policies.md)",
            )


def _has_embeddings(settings: Settings, policy: Policy) -> Iterator[Finding]:
    """Report a policy for embeddings where there are none that can go out together."""
    if (provider := policy.scope.provider) is not None:
        like = PROVIDERS[settings.providers[provider].like]
        surfaces = [like.native, *([like.compatible.surface] if like.compatible is not None else [])]
        paths = [path for surface in surfaces for path in surface.paths.values()]
        if not any(path.operation is EMBEDDINGS and path.post == FORMAT for path in paths):
            yield warn(
                f"policies.{policy.name}: {provider} has no embeddings that can go out as one request",
                "take `batching` out, or have the policy for another provider (docs/policies.md)",
            )


NEEDS: Mapping[str, Need] = {
    "aliases": _leads_to_keys,
    "fallback": _leads_to_keys,
    "defaults": _members_are_known,
    "caps": _members_are_known,
    "batching": _has_embeddings,
}
"""By kind, what is looked at where a policy asks for it."""
