"""A request, from its head as it arrived to the head that goes out, or to a refusal.

Heads are bytes, as on the wire: what is only forwarded is never decoded and encoded again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from metrion.model.budget import Reservation
from metrion.model.operation import Operation
from metrion.model.policies import Policies

type Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in wire order, repeated names and their case kept."""


def first_values(headers: Headers) -> dict[bytes, bytes]:
    """Return the first value of each header field, by its name in lower case."""
    return {name.lower(): value for name, value in reversed(headers)}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a server listens. ``host`` is lower case; IPv6 without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> bytes:
        """The value of a ``Host`` header: with the port only where it is not the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"http": 80, "https": 443}.get(self.scheme)
        return (host if self.port == default else f"{host}:{self.port}").encode(
            "idna" if not host.isascii() else "ascii"
        )


@dataclass(frozen=True, slots=True)
class Inbound:
    """A request head as it arrived.

    ``target`` is the raw path with its query. ``origin`` is the server that the request is for when it was not
    addressed to the proxy itself (absolute form, reverse or transparent mode), else ``None``.
    """

    method: bytes
    target: bytes = field(repr=False)
    headers: Headers = field(repr=False)
    origin: Origin | None = None
    secure: bool = False
    """It came over TLS."""
    peer: object = field(default=None, repr=False)
    """The other end of the connection, as its socket names it."""
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = field(default=(), repr=False)
    """Whose ``X-Forwarded-For`` is believed."""

    @property
    def path(self) -> bytes:
        """The raw path, without the query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes | None:
        """The raw query without its ``?``; ``None`` when there is no ``?`` at all."""
        _, mark, query = self.target.partition(b"?")
        return query if mark else None


class CredentialPlace(StrEnum):
    """Where a provider expects its key."""

    BEARER = "authorization"
    """As ``Bearer KEY``."""
    X_API_KEY = "x-api-key"
    API_KEY = "api-key"
    X_GOOG_API_KEY = "x-goog-api-key"
    NONE = "none"
    """It expects none, as a server of your own may."""


class ErrorShape(StrEnum):
    """Whose JSON a refusal imitates, so that the provider's SDK raises its own typed exception."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    GOOGLE = "google"
    MISTRAL = "mistral"
    XAI = "xai"
    MISTRAL_PROXY = "mistral-proxy"
    """Mistral's, with the types that a common guide to a proxy for it has."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes and how its answer is to be read."""

    provider: str
    """The configured name, as in the ``provider`` column: ``openai``, ``my-vllm``."""
    upstream: Origin
    target: bytes = field(repr=False)
    """The raw path and query that go out, before a credential is taken out of the query."""
    operation: Operation
    dialect: str | None
    """The wire format of the answer, a key of ``dialects.DIALECTS``; ``None``: pass through unread."""
    credential_place: CredentialPlace
    error_shape: ErrorShape
    request_id_headers: tuple[bytes, ...] = ()
    """Response headers that may hold the provider's request id, lower case, best first."""
    model: str | None = None
    """The model, where it stands in the path."""
    timeout: float | None = None
    """The provider's own timeout in seconds, where one is configured."""
    generation_id: str | None = None
    """The id of what was generated before, where the path reads it back."""
    output: str | None = None
    """The name by which a batch may have named what this path reads back, such as ``files/ID``; if none has, the answer
    passes unread."""
    inject_usage: bool = False
    """Ask for the usage of a stream, and hide it from the client: :mod:`metrion.relay.include_usage`."""
    regional: bool = False
    """It goes to an endpoint that keeps to one region, where the provider has prices of its own."""
    plan_prefix: bytes | None = None
    """How the credentials of the provider's flat-rate plans begin; ``None``: nobody can tell."""
    rewrites_result_urls: bool = False
    """The answer may say where a batch's results are, and its client is to read them through the proxy:
    :mod:`metrion.relay.result_urls`."""


@dataclass(frozen=True, slots=True)
class RefusalKind:
    """One way to refuse a request. Its rows are those of :mod:`metrion.admission.codes`."""

    status: int
    code: str
    """Sent as ``x-metrion-error``, and stored as ``error_type``."""
    because: str
    """Why, in the words that follow "because" in the documentation."""
    lasting: bool = False
    """The same request, sent again, would be refused again, or billed twice: the refusal asks for no retry."""
    retry_after: bool = False
    """The refusal says after how many seconds a request would pass."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that goes no further.

    ``message`` says what is wrong and the way out; it never contains a credential. ``provider`` is ``None`` when the
    request named none: then there is no event.
    """

    kind: RefusalKind
    message: str
    provider: str | None = None
    error_shape: ErrorShape = ErrorShape.OPENAI
    headers: Headers = ()
    route: Route | None = None
    """Where it would have gone, where that is known."""
    caller: Caller | None = None
    """Who asked, where that is known."""
    was_sent: bool = False
    """The provider has the whole request: it may have done the work, and billed it."""

    @classmethod
    def of_routed(
        cls,
        route: Route,
        kind: RefusalKind,
        message: str,
        *,
        caller: Caller | None = None,
        headers: Headers = (),
        was_sent: bool = False,
    ) -> Refusal:
        """Refuse a request whose route is known."""
        return cls(kind, message, route.provider, route.error_shape, headers, route, caller, was_sent)

    @property
    def status(self) -> int:
        """What the client gets."""
        return self.kind.status

    @property
    def code(self) -> str:
        """What the client gets as ``x-metrion-error``."""
        return self.kind.code


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of Metrion's own, such as that of ``/health`` or a refusal as it is sent."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class LabelRules:
    """What the requests of a token are labelled with, and which labels of their own are believed."""

    user: str | None = None
    """The label of a request that sends none, or none that is believed."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """The tags of every request. A request that sends one of the same name replaces its value."""
    fixed: bool = False
    """``user`` and ``tags`` hold whatever a request sends. It may still add tags of other names."""
    allowed: tuple[str, ...] = ()
    """The labels that are believed, beside ``user``; ``*`` in them is anything. Empty: every label is."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token may be used for. Of each of the four, empty means that everything is allowed."""

    providers: tuple[str, ...] = ()
    """Configured names."""
    models: tuple[str, ...] = ()
    """As requests name them; ``*`` in one is anything."""
    operations: tuple[str, ...] = ()
    """As in the ``operation`` column."""
    networks: tuple[str, ...] = ()
    """Where its requests may come from: ``10.0.0.0/8``, ``2001:db8::/32``."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the body of a request asks for, as far as limits and rules need to know. Read before any of it goes out.

    A member that the body lacks, or has in a form that nobody reads, is ``None``.
    """

    body: bytes = field(default=b"", repr=False)
    """As the client sent it; empty where it was not held."""
    models: tuple[str, ...] = ()
    """Every model that it names: of a batch there may be many."""
    most_output_tokens: int | None = None
    """The bound that it sets on the output of one answer, by whatever name."""
    answers: int | None = None
    """How many answers it asks for (``n``, ``candidateCount``)."""
    streamed: bool | None = None
    unread: str | None = None
    """Why nobody can tell what it asks for; ``None``: it was read, and names no other models than ``models``."""
    too_large: bool = False
    """It is unread because it is larger than what is held."""

    @property
    def model(self) -> str | None:
        """The model, where it names exactly one."""
        return self.models[0] if len(self.models) == 1 else None


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request belongs to. Holds no secret."""

    account: str
    token_name: str | None
    """``None``: intercepted traffic, which belongs to an account without a token."""
    credential: str | None
    """``stored`` or ``pass_through``; ``None``: the provider needs none."""
    timeout: float | None = None
    """Seconds to the first byte and between bytes; ``None``: none."""
    in_plan: bool = False
    """The credential that goes out is one of a flat-rate plan of the provider's."""
    labels: LabelRules | None = None
    """``None``: whatever label and tags a request sends are believed."""
    models: tuple[str, ...] = ()
    """The models that it may ask for, as in :class:`TokenRules`; empty: all."""
    takes_unpriced: bool = False
    """A model without a price is let through, also where it counts for a budget."""
    takes_unread: bool = False
    """Its operation is allowed by name: on a budget it may go out though nobody can read which model it asks for."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How many requests a token may have forwarded; ``None``: as many as it likes."""

    token: bytes = field(repr=False)
    """The token's digest. Not its name: a name that is used again is another token."""
    requests_per_minute: int | None = None
    """In any 60 seconds."""
    requests_per_month: int | None = None
    """In a calendar month, UTC."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request target and its header fields."""

    target: bytes
    headers: Headers = field(repr=False)


@dataclass(frozen=True, slots=True)
class Forward:
    """A request that may go out.

    ``wire`` is what the provider gets, key included, and must reach nothing but the upstream socket. ``shown`` is the
    head as the client sent it with every credential masked: what flows, dumps and logs hold.
    """

    route: Route
    caller: Caller
    wire: Head = field(repr=False)
    shown: Head
    quota: Quota | None = None
    """``None``: it belongs to no token."""
    credentials: tuple[bytes, ...] = field(default=(), repr=False)
    """Every credential that came in or goes out: no text of the event may repeat one."""
    rules: TokenRules | None = None
    """Set where its body decides whether the token may do this: see :mod:`metrion.admission.rules`."""
    unless_allowed: Refusal | None = None
    """What refuses it even if its body is allowed: no key is stored. Nothing of it goes out then."""
    policies: Policies | None = None
    """What policies ask for at this request; ``None``: nothing."""
    key_id: str | None = None
    """What the stored key that goes out is called where it must not be known; ``None``: none of ours goes out."""
    reservation: Reservation | None = None
    """Which budgets bind it, and what is held of them; ``None``: none does."""
    may_cost: bool = False
    """Set where somebody has to know that its provider may charge for it."""
    adds: Headers = ()
    """Fields of Metrion's own that somebody asked for on its answer."""
