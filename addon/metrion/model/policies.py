"""What the policies of a configuration ask for at one request: composed once for a route and a caller, then only read.

Each value names the policy that it comes from, so that the event can say which applied. A field is a kind of policy;
empty, it is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

type Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Alias:
    """What a model's other name stands for."""

    policy: str
    model: str
    provider: str | None = None
    """``None``: wherever the request goes anyway."""


@dataclass(frozen=True, slots=True)
class MemberSetting:
    """A value for one member of a JSON body."""

    policy: str
    member: str
    """Its name; of a nested one with dots: ``generationConfig.temperature``."""
    value: Scalar
    words: str | None = None
    """What the event says of it; ``None``: the member and its value."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the client is told in header fields of the response."""

    policy: str
    headers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Retries:
    """A request goes out again after an answer that says "later", or a failure before all of it was out."""

    policy: str
    attempts: int = 3
    """How often it is sent at most, the first time included."""
    ambiguous: bool = False
    """Also after a failure before the first byte of an answer: the provider may have done the work, and billed it."""
    backoff: float = 0.5
    """Seconds before the second attempt; they double from one to the next."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Only so many requests at once go out with one provider key; the others wait for their turn."""

    policy: str
    at_once: int = 10
    queue: int = 100
    """How many wait at most, in each process."""
    seconds: float = 30.0
    """How long one waits at most."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A request that came before is answered without its provider."""

    policy: str
    seconds: float = 300.0
    """How old an answer may be."""
    megabytes: int = 256
    """How large the file may become."""
    always: bool = False
    """Also where a request does not ask for it."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Embeddings that arrive together go out as one request."""

    policy: str
    milliseconds: float = 5.0
    """How long one waits for the next."""
    inputs: int = 100
    """How many inputs go out together at most."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where a request goes that was not answered."""

    model: str | None = None
    """``None``: the one that it asks for."""
    provider: str | None = None
    """``None``: the one that it was sent for."""

    def words(self, provider: str) -> str:
        """Say where it leads, which is to ``provider``."""
        return f"to {provider}" if self.model is None else f"to {provider} model {self.model}"


@dataclass(frozen=True, slots=True)
class Fallback:
    """A request that is not answered, however often it is sent, goes elsewhere."""

    policy: str
    steps: tuple[Step, ...]
    """In this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """See the module. A kind that is one value has the most particular policy's."""

    aliases: Mapping[str, Alias] = field(default_factory=dict)
    """By what a client asks for. None leads to another alias."""
    model_paths: str | None = None
    """The policy by which a path may name any model, as in ``/mistral/NAME/chat``."""
    sets: tuple[MemberSetting, ...] = ()
    """Put in whatever the body says: what the path asks for."""
    defaults: tuple[MemberSetting, ...] = ()
    """Put into a body that has no such member; those of the most particular policy first."""
    caps: tuple[MemberSetting, ...] = ()
    """The most that a body may ask for."""
    told: Told | None = None
    retries: Retries | None = None
    concurrency: Concurrency | None = None
    cache: Cache | None = None
    fallback: Fallback | None = None
    batching: Batching | None = None
    noted: tuple[tuple[str, str], ...] = ()
    """What was done with the head already, by the policy's name."""
    model: str | None = None
    """What goes out in the place of the model that the path names."""

    renamed: tuple[str, Alias] | None = None
    """The alias that the path named, and what it stands for: the body may name it once more."""

    @property
    def leads_elsewhere(self) -> bool:
        """Whether an alias in a body may lead to another provider."""
        return any(alias.provider is not None for alias in self.aliases.values())

    @property
    def changes_body(self) -> bool:
        """Whether one of them may change the body of a request."""
        return bool(self.aliases or self.sets or self.defaults or self.caps or self.renamed)
