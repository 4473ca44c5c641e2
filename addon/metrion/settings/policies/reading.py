"""The entries of ``policies:`` → policies, checked; a mistake is an error that names each line that it is in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from metrion.errors import SettingsError
from metrion.providers import canonical_name
from metrion.settings.policies.checks import Place, mistakes
from metrion.settings.policies.lines import line_of
from metrion.settings.policies.values import AliasTarget, Asked, Entry, FallbackStep, Policy


def read_policies(
    path: Path | None, entries: Mapping[str, Entry | None], providers: Iterable[str], others: Sequence[Policy] = ()
) -> tuple[Policy, ...]:
    """Return the policies of a configuration file, and those ``others`` that were asked for in another way.

    :raises SettingsError: one of them cannot be meant.
    """
    written = [_policy(name, entry) for name, entry in entries.items() if entry is not None]
    policies = (*written, *others)
    text: str | None = None
    for mistake in mistakes(policies, providers):
        if text is None:
            text = path.read_text("utf-8") if path is not None else ""
        where = " and ".join(dict.fromkeys(_shown(place, path, text) for place in mistake.places))
        raise SettingsError(f"{where}: {mistake.words}")
    return policies


def _shown(place: Place, path: Path | None, text: str) -> str:
    policy, keys = place
    if policy.source is not None:
        return policy.source
    whole = ("policies", policy.name, *keys)
    return f"{path}, line {line_of(text, whole)}: {'.'.join(whole)}"


def _policy(name: str, entry: Entry) -> Policy:
    """Return a policy as the rest of Metrion reads it, with the names by which providers are known."""
    scope, aliases = entry.scope, entry.aliases
    if scope.provider is not None:
        scope = scope.model_copy(update={"provider": canonical_name(scope.provider)})
    if aliases is not None:
        aliases = {alias: _canonical(target) for alias, target in aliases.items()}
    fallback = entry.fallback and tuple(map(_canonical_step, entry.fallback))
    asked = {**{kind: getattr(entry, kind) for kind in Asked.model_fields}, "aliases": aliases, "fallback": fallback}
    return Policy(name=name, scope=scope, asked=Asked.model_construct(**asked))


def _canonical(target: AliasTarget) -> AliasTarget:
    name = target.provider
    return target if name is None else replace(target, provider=canonical_name(name))


def _canonical_step(step: FallbackStep) -> FallbackStep:
    return step if step.provider is None else replace(step, provider=canonical_name(step.provider))
