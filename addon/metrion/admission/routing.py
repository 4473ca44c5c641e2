"""Routes requests: a head in; where it goes, or one of Metrion's own endpoints, or a refusal out.

Matching and forwarding work on the raw path: what goes out is a slice of what came in behind a fixed prefix, and
nothing is decoded and encoded again. What a path asks for is read by :mod:`metrion.admission.paths`. Nothing here looks
at a credential's value, only for a token that stands where none may be.

Routes are remembered by method, target and host, since most programs use few of them. Never remembered: a refusal, a
target whose query may hold a credential, and a route that the kind of a credential decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from metrion.admission.codes import BAD_REQUEST, MISTAKEN_CALL, NOT_A_PROVIDER, UNKNOWN_ROUTE
from metrion.admission.credentials import misplaced_token
from metrion.admission.masking import without_tokens
from metrion.admission.mistakes import generates, has_doubled_version, probable_provider, words_about
from metrion.admission.paths import (
    deployment,
    has_version_within,
    model_in,
    output_name,
    row_of,
    split,
    without_version,
)
from metrion.endpoints import TELEMETRY, Path
from metrion.model import CredentialPlace, ErrorShape, Inbound, Origin, Refusal, RefusalKind, Route
from metrion.providers import (
    ALIASES,
    PROVIDERS,
    Compatible,
    Provider,
    Surface,
    base_segment,
    canonical_name,
)
from metrion.settings import Settings


class Endpoint(StrEnum):
    """What Metrion answers itself."""

    HEALTH = "health"
    METRICS = "metrics"
    WELCOME = "welcome"
    """Says that somebody is there, at ``/`` and at the base URL of a provider."""


_ENDPOINTS = {
    (method, b"/" + endpoint.value.encode()): endpoint
    for method in (b"GET", b"HEAD")
    for endpoint in (Endpoint.HEALTH, Endpoint.METRICS)
}

_LOOKS = frozenset({b"GET", b"HEAD"})

OPENAI_ROOT = frozenset(
    {b"assistants", b"audio", b"batches", b"chat", b"completions", b"embeddings", b"fine_tuning", b"images"}
    | {b"moderations", b"realtime", b"responses", b"threads", b"vector_stores"}
)
"""Under ``/v1/`` at the root, these are the paths of an OpenAI client whose base URL lacks the provider."""

_OPENAI_AT_ROOT = re.compile(rb"/v1(?:/+v\d[^/]*)*+/([^/]*)")
_SUGGESTED: Mapping[ErrorShape | None, tuple[str, ...]] = {
    ErrorShape.ANTHROPIC: ("anthropic",),
    ErrorShape.GOOGLE: ("gemini",),
    ErrorShape.OPENAI: ("openai", "mistral", "grok", "gemini"),
    None: ("openai", "anthropic", "gemini", "mistral", "grok"),
}
"""What may stand before a path of an API, by whose errors its client reads."""

_OWN_PREFIX = b"/api/proxy"
_FIRST_SEGMENT = re.compile(rb"/([^/]*)(.*)", re.DOTALL)
_VERSIONED = re.compile(rb"/+(?:v\d[^/]*|upload|download|ws)(?:/|$)")
"""A path that goes out as it is: it begins with its version, or with a word that stands where a version would."""
_MAYBE_COMPATIBLE = re.compile(rb"(?:/+v1(?=/))?(/+([^/]+)(?:/.*)?)", re.DOTALL)
"""The path without its ``v1``, and the first segment of that."""
_COMPATIBLE = re.compile(rb"/+v\d[^/]*/+openai(?:/|$)")
_VERB = re.compile(rb":|%3a", re.IGNORECASE)
_DOT_SEGMENT = re.compile(rb"(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?=$|[/\\;#]|%2f|%5c|%3b|%23)", re.IGNORECASE)
"""``.`` or ``..`` between anything that some server takes for a separator: a backslash (Windows, browsers) and a
semicolon (parameters, in Java's servers) included."""
_UNSENDABLE = re.compile(rb"[\x00-\x20\x7f]")
_KEY_IN_QUERY = re.compile(rb"(?:^|&)key=")

ROUTES_REMEMBERED = 512
"""That many of the shapes below take 0.5 MB."""
_REMEMBERED_METHODS = frozenset({b"GET", b"POST"})
_REMEMBERED_LENGTH = 256
_HARMLESS_QUERY = re.compile(rb"(?:(?:alt|api-version|beta)=[\w.-]{0,32})?")
"""What SDKs put behind a path at every request. None of it is secret."""


@dataclass(frozen=True, slots=True)
class _Served:
    """A configured provider, with everything that does not depend on the request."""

    name: str
    entry: Provider
    upstream: Origin
    prefix: bytes
    version: bytes
    """Put before a path that has none."""
    credential: CredentialPlace
    """Where the key goes on the native surface."""
    timeout: float | None
    inject_usage: bool
    rewrites_result_urls: bool


@dataclass(frozen=True, slots=True)
class _Match:
    """Which provider a request is for, and its path there without the configured prefix."""

    served: _Served
    upstream: Origin
    outgoing: bytes
    own: bytes
    by_credential: bool = False
    """Two APIs of the provider have this path: the kind of credential decided which one is meant."""


class Router:
    """The routes of one configuration, and a bounded memory of them. One per process."""

    def __init__(self, settings: Settings) -> None:
        served = {
            name: _Served(
                name,
                known := entry.entry,
                entry.upstream,
                entry.prefix.encode(),
                known.native.prefix if entry.version is None else entry.version.encode(),
                entry.credential or known.native.credential_place,
                entry.timeout,
                entry.inject_usage,
                settings.rewrite_result_urls,
            )
            for name, entry in settings.providers.items()
        }
        self._by_segment = {name.encode(): served[canonical_name(name)] for name in (*served, *ALIASES)}
        self._by_origin = _by_origin(served)
        self._root = served[settings.default_provider] if settings.default_provider else None
        self._anthropic = served["anthropic"]
        self._names = frozenset(map(bytes.decode, self._by_segment))
        self._base_paths = frozenset(
            {b"", b"/"}.union(*({b"/" + each, b"/" + each + b"/"} for each in self._by_segment))
        )
        self._routes = _listing(served, settings.default_provider)
        self._remembered = dict[tuple[bytes, bytes, Origin | None], Route]()

    def knows(self, origin: Origin) -> bool:
        """Whether ``origin`` is a configured provider's. A reverse mode for any other server routes by path."""
        return origin in self._by_origin

    @property
    def hosts(self) -> frozenset[str]:
        """Every host of a configured provider."""
        return frozenset(origin.host for origin in self._by_origin)

    def route(self, inbound: Inbound) -> Route | Endpoint | Refusal:
        """Decide where a request goes: a path that must not be sent is 400, an unknown one 404, a foreign host 403."""
        key = inbound.method, inbound.target, inbound.origin
        if route := self._remembered.get(key):
            return route
        raw, mark, query = inbound.target.partition(b"?")
        found = self._by_path(inbound, raw) if inbound.origin is None else self._by_host(inbound.origin, raw)
        if trouble := _trouble(inbound, raw):
            served = found.served if isinstance(found, _Match) else None
            return _refuse(BAD_REQUEST, trouble, served)
        if not isinstance(found, _Match):
            return found
        route = _read(found, inbound.method.upper(), mark + query)
        if not found.by_credential and _may_be_remembered(inbound, query):
            if len(self._remembered) >= ROUTES_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = route
        return route

    def elsewhere(self, route: Route, provider: str) -> Route | None:
        """Return where another provider is asked the same, by its path and its query; ``None``: nowhere."""
        path, mark, query = route.target.partition(b"?")
        served = self._by_segment[route.provider.encode()]
        own = path.removeprefix(served.prefix)
        words = without_version(split(own))
        if served.entry.compatible is not None and _COMPATIBLE.match(own):
            words = words[1:]
        target = b"/".join((b"", provider.encode(), *(quote(word, safe=":@!$&'()*+,;=~").encode() for word in words)))
        found = self.route(Inbound(b"POST", target + mark + query, ()))
        return found if isinstance(found, Route) else None

    def chat_of(self, route: Route) -> Route:
        """Return where the provider of a route is asked for a chat completion; the query stays."""
        query = route.target.partition(b"?")
        target = b"/" + route.provider.encode() + b"/chat/completions" + query[1] + query[2]
        found = self.route(Inbound(b"POST", target, ()))
        return found if isinstance(found, Route) else route

    def _by_path(self, inbound: Inbound, raw: bytes) -> _Match | Endpoint | Refusal:
        path = raw
        if path.startswith(_OWN_PREFIX) and path[len(_OWN_PREFIX) : len(_OWN_PREFIX) + 1] in (b"/", b""):
            path = path[len(_OWN_PREFIX) :]
        segments = _FIRST_SEGMENT.fullmatch(path)
        segment, rest = segments.groups() if segments else (b"", b"")
        if endpoint := _ENDPOINTS.get((inbound.method, path)):
            return endpoint
        if inbound.method in _LOOKS and path in self._base_paths:
            return Endpoint.WELCOME
        if served := self._by_segment.get(segment):
            return self._checked(served, rest, inbound)
        if self._root:
            return self._checked(self._root, path, inbound)
        if segment == b"messages" or (segment == b"v1" and rest):
            found = _OPENAI_AT_ROOT.match(path)
            if found and found[1] in OPENAI_ROOT:
                name = found[1].decode()
                message = f"/v1/{name} names no provider. Put one before it, as in /openai/v1/{name}. {self._routes}"
                shape = ErrorShape.OPENAI if generates(path) else None
                return Refusal(MISTAKEN_CALL if shape else UNKNOWN_ROUTE, message)
            return self._checked(self._anthropic, path, inbound)
        return self._unknown(path)

    def _checked(self, served: _Served, rest: bytes, inbound: Inbound) -> _Match | Refusal:
        """Complete a path, and refuse one that has its version twice: it can only be a mistaken base URL."""
        found = _addressed(served, rest, inbound)
        entry, is_built_in = served.entry, served.name in PROVIDERS
        if not has_doubled_version(found.own, is_built_in=is_built_in, has_compatible=entry.compatible is not None):
            return found
        message = (
            f"The path has its version twice. Leave the version out of the base URL: it is this proxy's address and "
            f"/{base_segment(served.name)}. {self._routes}"
        )
        shape = generates(found.own)
        surface = entry.compatible.surface if entry.compatible and shape is ErrorShape.OPENAI else entry.native
        kind = MISTAKEN_CALL if shape else UNKNOWN_ROUTE
        return Refusal(kind, message, served.name, surface.error_shape)

    def _unknown(self, path: bytes) -> Refusal:
        """Refuse a path that names no provider, and say which it may have meant."""
        meant = probable_provider(path, self._names)
        shape = generates(path)
        kind = MISTAKEN_CALL if shape else UNKNOWN_ROUTE
        message = f"{words_about(path, meant and base_segment(meant), _SUGGESTED[shape])} {self._routes}"
        if meant is None:
            return Refusal(kind, message, error_shape=shape or ErrorShape.OPENAI)
        if shape in (ErrorShape.ANTHROPIC, ErrorShape.GOOGLE):  # only one SDK calls such a path
            return Refusal(kind, message, error_shape=shape)
        entry = self._by_segment[meant.encode()].entry
        surface = entry.compatible.surface if entry.compatible and shape else entry.native
        return Refusal(kind, message, error_shape=surface.error_shape)

    def _by_host(self, origin: Origin, raw: bytes) -> _Match | Refusal:
        candidates = self._by_origin.get(origin)
        if not candidates:
            where = f"{origin.scheme}://{without_tokens(origin.host.encode()).decode()}:{origin.port}"
            message = (
                f"{where} is the host of no configured provider, and Metrion is no open relay. To add it, give a "
                f"provider that `upstream` in metrion.yaml. {self._routes}"
            )
            return _refuse(NOT_A_PROVIDER, message)
        for prefix, served in candidates:
            if raw.startswith(prefix) and raw[len(prefix) : len(prefix) + 1] in (b"/", b""):
                return _Match(served, origin, raw, raw[len(prefix) :])
        return _Match(candidates[0][1], origin, raw, raw)


def _read(found: _Match, method: bytes, query: bytes) -> Route:
    """Make the route of a path: what it asks for, and how its answer is read. ``query`` begins with its ``?``."""
    entry = found.served.entry
    segments = split(found.own)
    surface, words = entry.native, without_version(segments, names_deployments=entry.native.names_deployments)
    if entry.compatible and _COMPATIBLE.match(found.own):
        surface, words = entry.compatible.surface, words[1:]
    row, generation_id = row_of(surface, words)
    if _is_besides(found.served, segments):
        row, generation_id = Path(TELEMETRY), None
    operation, dialect = row.asked_with(method)
    return Route(
        provider=found.served.name,
        upstream=found.upstream,
        target=found.outgoing + query,
        operation=operation,
        dialect=dialect,
        credential_place=found.served.credential if surface is entry.native else surface.credential_place,
        error_shape=surface.error_shape,
        request_id_headers=entry.request_id_headers,
        model=_model(surface, words, segments),
        timeout=found.served.timeout,
        inject_usage=found.served.inject_usage and row.asks_usage(method),
        generation_id=generation_id,
        output=output_name(row, generation_id, query[1:]) if generation_id else None,
        regional=entry.regional_hosts is not None and entry.regional_hosts.fullmatch(found.upstream.host) is not None,
        plan_prefix=entry.plan_prefix,
        rewrites_result_urls=found.served.rewrites_result_urls and row.names_results,
    )


def _model(surface: Surface, words: list[str], segments: list[str]) -> str | None:
    """Return the model, or the deployment that stands for one, where a path names it."""
    if surface.names_models:
        return model_in(words)
    return deployment(segments) if surface.names_deployments else None


def _is_besides(served: _Served, segments: list[str]) -> bool:
    """Whether a path is one of those that the provider's programs send beside their calls."""
    return served.name in PROVIDERS and not served.entry.besides.isdisjoint(segments[:1])


def _may_be_remembered(inbound: Inbound, query: bytes) -> bool:
    """Whether a target is short and holds no secret. A path holds none: events have it too."""
    return (
        inbound.method in _REMEMBERED_METHODS
        and len(inbound.target) <= _REMEMBERED_LENGTH
        and _HARMLESS_QUERY.fullmatch(query) is not None
    )


def _addressed(served: _Served, rest: bytes, inbound: Inbound) -> _Match:
    """Complete what follows a provider's segment to the provider's own path."""
    entry = served.entry
    is_whole = (
        _VERSIONED.match(rest)
        or (served.name not in PROVIDERS and has_version_within(rest))
        or _is_besides(served, split(rest))
    )
    own = rest if is_whole else served.version + rest
    by_credential = False
    if entry.compatible and (path := _compatible_path(entry.compatible, rest)):
        by_credential = path[1] in entry.compatible.shared
        if not (by_credential and _has_native_credential(inbound)):
            own = entry.compatible.surface.prefix + path[0]
    return _Match(served, served.upstream, served.prefix + own, own, by_credential)


def _compatible_path(compatible: Compatible, rest: bytes) -> tuple[bytes, bytes] | None:
    """Return a path behind the compatible prefix and its first segment, or ``None`` for one that is native only."""
    found = _MAYBE_COMPATIBLE.fullmatch(rest)
    if not found or found[2] not in compatible.paths:
        return None
    is_native = found[2] in compatible.shared and _VERB.search(found[1])
    return None if is_native else (found[1], found[2])


def _has_native_credential(inbound: Inbound) -> bool:
    """Whether the credential is of Google's own kind. A Bearer credential always means the compatible API."""
    native = _KEY_IN_QUERY.search(inbound.query or b"") is not None
    for name, value in inbound.headers:
        match name.lower():
            case b"authorization" if value.lstrip()[:7].lower() == b"bearer ":
                return False
            case b"x-goog-api-key":
                native = True
    return native


def _trouble(inbound: Inbound, raw: bytes) -> str | None:
    """Say why a request line must not be sent; ``None`` if it may be."""
    if not raw.startswith(b"/") or _UNSENDABLE.search(inbound.target):
        return "The request target is no path: it begins with / and has no spaces or control characters."
    if (b"." in raw or b"%" in raw) and _DOT_SEGMENT.search(raw):
        return "The path has a dot segment (. or ..), plain or encoded. Send the path that it stands for."
    if where := misplaced_token(inbound.method, inbound.target):
        return f"A Metrion token stands {where}, where logs would keep it. Send it as Authorization: Bearer instead."
    return None


def _by_origin(served: Mapping[str, _Served]) -> dict[Origin, list[tuple[bytes, _Served]]]:
    """List the providers of each host, longest path prefix first. A built-in one also keeps its own host when moved."""
    found = dict[Origin, list[tuple[bytes, _Served]]]()
    for name, provider in served.items():
        found.setdefault(provider.upstream, []).append((provider.prefix, provider))
        if name in PROVIDERS:
            found.setdefault(provider.entry.upstream, []).append((b"", provider))
    for candidates in found.values():
        candidates.sort(key=lambda candidate: -len(candidate[0]))
    return found


def _listing(served: Iterable[str], root: str | None) -> str:
    names = [*served, *ALIASES]
    owner = f"everything else is {root}'s" if root else "/v1/… and /messages… are anthropic's"
    own = "GET /health, GET /metrics"
    return f"Routes: {', '.join(f'/{name}/…' for name in names)}; {owner}; {own}; all also under /api/proxy."


def _refuse(kind: RefusalKind, message: str, served: _Served | None = None) -> Refusal:
    if served is None:
        return Refusal(kind, message)
    return Refusal(kind, message, served.name, served.entry.native.error_shape)
