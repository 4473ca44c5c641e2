"""A policy as it is configured: a name, whom it is for, and what it asks for, by kind.

A kind is a field of :class:`Asked`, which says how it is written, and a row of
:data:`metrion.settings.policies.kinds.KINDS`, which says what of it may contradict another policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, override

from pydantic import BeforeValidator, Field, PlainValidator

from metrion.model.policies import Scalar
from metrion.settings.frozen import Frozen
from metrion.settings.policies.members import parse_caps, parse_members

Name = Annotated[str, Field(min_length=1)]


class Scope(Frozen):
    """Whose requests a policy is for: those to which all that is said here applies. Empty: everything."""

    account: Name | None = None
    token: Name | None = None
    provider: Name | None = None
    path: (
        Annotated[str, Field(pattern="^/", description="a path that begins with /", examples=["/v1/chat/completions"])]
        | None
    ) = None
    """As in the column ``path``. What is below it belongs to it."""

    @property
    def rank(self) -> tuple[bool, bool, int, bool]:
        """How particular it is: a token before an account, then the longest path, then a provider."""
        return self.token is not None, self.account is not None, len(self.path or ""), self.provider is not None

    def overlaps(self, other: Scope) -> bool:
        """Whether a request may belong to both."""
        pairs = ((self.account, other.account), (self.token, other.token), (self.provider, other.provider))
        if any(one is not None and two is not None and one != two for one, two in pairs):
            return False
        shorter, longer = sorted((self.path or "/", other.path or "/"), key=len)
        return is_below(longer, shorter)

    @override
    def __str__(self) -> str:
        said = ((name, getattr(self, name)) for name in ("account", "token", "provider", "path"))
        return ", ".join(f"the {name} {value}" for name, value in said if value is not None) or "everything"


def is_below(path: str, parent: str) -> bool:
    """Whether a path is another one, or below it."""
    parent = parent.rstrip("/")
    return path.startswith(parent) and path[len(parent) : len(parent) + 1] in ("", "/")


@dataclass(frozen=True, slots=True)
class AliasTarget:
    """Where an alias leads. ``provider``: to another one than the request's."""

    model: str
    provider: str | None = None


def _parse_aliases(value: object) -> Mapping[str, AliasTarget] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("write a mapping, as in {large: mistral-large-latest}")  # noqa: TRY004 -- pydantic words only a ValueError as an error of this key
    return {name: _parse_target(name, target) for name, target in value.items()}


def _parse_target(name: object, target: object) -> AliasTarget:
    if not isinstance(name, str) or not name:
        raise ValueError("an alias is text")
    if target in (None, "", {}):
        raise ValueError(f"the alias {name} leads to nothing; write the model that it stands for")
    parts = {"model": target} if isinstance(target, str) else target if isinstance(target, dict) else {}
    is_known = "model" in parts and parts.keys() <= {"model", "provider"}
    if not is_known or not all(isinstance(part, str) and part for part in parts.values()):
        raise ValueError(f"write the model that {name} stands for, or {{model: …, provider: …}}")
    return AliasTarget(**parts)


class RetriesAsked(Frozen):
    """How often a request is sent at most, and when; ``true``: as the defaults say."""

    attempts: Annotated[int, Field(strict=True, ge=2, le=20, examples=[3])] = 3
    ambiguous: Annotated[bool, Field(strict=True)] = False
    backoff: Annotated[float, Field(strict=True, gt=0, le=60, allow_inf_nan=False, examples=[0.5])] = 0.5


class ConcurrencyAsked(Frozen):
    """How many requests go out at once with one provider key; ``true``: as the defaults say."""

    at_once: Annotated[int, Field(strict=True, ge=1, le=10_000, examples=[10])] = 10
    queue: Annotated[int, Field(strict=True, ge=0, le=100_000, examples=[100])] = 100
    seconds: Annotated[float, Field(strict=True, gt=0, le=3600, allow_inf_nan=False, examples=[30])] = 30.0


class CacheAsked(Frozen):
    """Which answers are kept, and for how long; ``true``: as the defaults say."""

    seconds: Annotated[float, Field(strict=True, gt=0, le=31_536_000, allow_inf_nan=False, examples=[300])] = 300.0
    megabytes: Annotated[int, Field(strict=True, ge=1, le=1_048_576, examples=[256])] = 256
    always: Annotated[bool, Field(strict=True)] = False


class BatchingAsked(Frozen):
    """Which embeddings go out as one request; ``true``: as the defaults say."""

    milliseconds: Annotated[float, Field(strict=True, gt=0, le=100, allow_inf_nan=False, examples=[5])] = 5.0
    inputs: Annotated[int, Field(strict=True, ge=2, le=100, examples=[100])] = 100


@dataclass(frozen=True, slots=True)
class FallbackStep:
    """Where a request goes that was not answered. ``None``: what it asked for, or where it was sent for."""

    model: str | None = None
    provider: str | None = None


def _parse_fallback(value: object) -> tuple[FallbackStep, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise ValueError("write a list, as in [gpt-4o-mini, {provider: mistral, model: mistral-small-latest}]")
    return tuple(_parse_step(step) for step in value)


def _parse_step(step: object) -> FallbackStep:
    parts = {"model": step} if isinstance(step, str) else step if isinstance(step, dict) else {}
    is_known = bool(parts) and parts.keys() <= {"model", "provider"}
    if not is_known or not all(isinstance(part, str) and part for part in parts.values()):
        raise ValueError("write where it goes then: a model, or {provider: …}, or {model: …, provider: …}")
    return FallbackStep(parts.get("model"), parts.get("provider"))


def _parse_switch(value: object) -> object:
    if isinstance(value, bool):
        return {} if value else None
    return value


class Asked(Frozen):
    """What a policy asks for, as it is written. ``None``: not that."""

    aliases: Annotated[
        Mapping[str, AliasTarget] | None, PlainValidator(_parse_aliases, json_schema_input_type=dict[str, str])
    ] = None
    model_paths: Annotated[bool, Field(strict=True)] | None = None
    defaults: Annotated[dict[str, Scalar] | None, BeforeValidator(parse_members)] = None
    caps: Annotated[dict[str, int | float] | None, BeforeValidator(parse_caps)] = None
    tell: Annotated[tuple[Literal["cost-usd", "event-id"], ...], Field(min_length=1)] | None = None
    retries: Annotated[RetriesAsked | None, BeforeValidator(_parse_switch)] = None
    concurrency: Annotated[ConcurrencyAsked | None, BeforeValidator(_parse_switch)] = None
    cache: Annotated[CacheAsked | None, BeforeValidator(_parse_switch)] = None
    fallback: Annotated[
        tuple[FallbackStep, ...] | None, PlainValidator(_parse_fallback, json_schema_input_type=list[str])
    ] = None
    batching: Annotated[BatchingAsked | None, BeforeValidator(_parse_switch)] = None


def _parse_scope(value: object) -> object:
    if value != "everything" and not isinstance(value, dict):
        raise ValueError("write everything, or whom it is for, as in {provider: mistral}")
    return {} if value == "everything" else value


class Entry(Asked):
    """A policy as written."""

    scope: Annotated[Scope, BeforeValidator(_parse_scope)] = Field(default=Scope(), alias="for")


class Policy(Frozen):
    """See the module."""

    name: str
    scope: Scope = Scope()
    asked: Asked
    source: str | None = None
    """The environment variable that asks for it; ``None``: the configuration file does."""
