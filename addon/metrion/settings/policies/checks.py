"""Finds policies that cannot be meant: two that contradict each other, aliases in a circle or to nothing.

Policies in; the first mistake out, as the places where it is written and what is wrong. Of two policies for different
requests, or of which one is more particular, none contradicts the other: the more particular one holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from metrion.settings.policies.kinds import KINDS
from metrion.settings.policies.values import Policy
from metrion.settings.wording import choice


class Place(NamedTuple):
    """Where something is written: a policy, and the keys below it."""

    policy: Policy
    keys: tuple[str, ...]


class Mistake(NamedTuple):
    """What is wrong, and the way out."""

    places: Sequence[Place]
    words: str


def mistakes(policies: Sequence[Policy], providers: Iterable[str]) -> Iterator[Mistake]:
    """Yield what is wrong with policies."""
    known = list(providers)
    for policy in policies:
        yield from _unknown_providers(policy, known)
    for one, two in combinations(policies, 2):
        if one.scope == two.scope:
            yield from _contradictions(one, two)
    for one in policies:
        for two in policies:
            if one.scope == two.scope:
                yield from _defaults_over_caps(one, two)
    yield from _circles(policies)


def _unknown_providers(policy: Policy, known: Sequence[str]) -> Iterator[Mistake]:
    if (name := policy.scope.provider) is not None and name not in known:
        yield Mistake([Place(policy, ("for", "provider"))], f"no provider is called so; {choice(known, name)}")
    for alias, target in (policy.asked.aliases or {}).items():
        if target.provider is not None and target.provider not in known:
            words = f"the alias leads to nothing: no provider is called so; {choice(known, target.provider)}"
            yield Mistake([Place(policy, ("aliases", alias, "provider"))], words)
    for step in policy.asked.fallback or ():
        if step.provider is not None and step.provider not in known:
            words = f"it leads to nothing: no provider is called so; {choice(known, step.provider)}"
            yield Mistake([Place(policy, ("fallback",))], words)


def _contradictions(one: Policy, two: Policy) -> Iterator[Mistake]:
    for name, kind in KINDS.items():
        ones, twos = getattr(one.asked, name), getattr(two.asked, name)
        if ones is None or twos is None:
            continue
        others = kind.claims(twos)
        for keys, said in kind.claims(ones).items():
            if keys in others and others[keys] != said:
                words = f"contradict each other, and both are for {one.scope}; keep one, or give one a narrower `for`"
                yield Mistake([Place(one, (name, *keys)), Place(two, (name, *keys))], words)


def _defaults_over_caps(one: Policy, two: Policy) -> Iterator[Mistake]:
    """``one`` has the default, ``two`` the cap."""
    for name, most in (two.asked.caps or {}).items():
        default = (one.asked.defaults or {}).get(name)
        if isinstance(default, int | float) and default > most:
            places = [Place(one, ("defaults", name)), Place(two, ("caps", name))]
            yield Mistake(places, "contradict each other: the default is more than the cap; lower it")


def _circles(policies: Sequence[Policy]) -> Iterator[Mistake]:
    """Find aliases that lead back to themselves where all of them may apply to one request."""
    steps = [
        (alias, target.model, policy)
        for policy in policies
        for alias, target in (policy.asked.aliases or {}).items()
        if target.provider is None
    ]
    leaving: dict[str, list[tuple[str, Policy]]] = {}
    for alias, model, policy in steps:
        leaving.setdefault(alias, []).append((model, policy))
    for alias in leaving:
        if way := _way_back(alias, leaving):
            names = " → ".join((*(name for name, _ in way), alias))
            places = [Place(policy, ("aliases", name)) for name, policy in way]
            yield Mistake(places, f"aliases lead in a circle, {names}; have one stand for a model")
            return


def _way_back(start: str, leaving: Mapping[str, Sequence[tuple[str, Policy]]]) -> list[tuple[str, Policy]]:
    """Return the aliases by which one leads back to itself, and their policies."""
    ways: list[list[tuple[str, Policy]]] = [[(start, policy)] for _, policy in leaving[start]]
    ends = [model for model, _ in leaving[start]]
    while ways:
        way, end = ways.pop(), ends.pop()
        if end == start:
            return way
        if any(name == end for name, _ in way):
            continue  # a circle that does not go through the start
        for model, policy in leaving.get(end, ()):
            if all(policy.scope.overlaps(passed.scope) for _, passed in way):
                ways.append([*way, (end, policy)])
                ends.append(model)
    return []
