"""A request head in; where it goes out, or one of Metrion's own endpoints, or a refusal.

Matching and forwarding work on the raw path: what goes out is a slice of what came in behind a fixed prefix, and
nothing is decoded and encoded again. Only the *reading* of a path (its operation, its wire format, a model in it) is
lenient about ``%xx`` and doubled slashes, so that no spelling that an upstream may accept goes unmetered. Nothing here
looks at a credential's value.

Routes are remembered by method, target and host, of which most programs use a few. Never remembered: a refusal, a
target whose query might hold a credential, and a route that the kind of a credential decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from metrion.dialects import DIALECTS, SESSIONS
from metrion.model import CredentialPlace, Inbound, Origin, Refusal, Route
from metrion.operations import GOOGLE_OPERATIONS, OPERATIONS, OTHER, Operation
from metrion.providers import (
    ALIASES,
    PROVIDERS,
    Compatible,
    Provider,
    Surface,
    canonical_name,
)
from metrion.settings import Settings


class Endpoint(StrEnum):
    """What Metrion answers itself."""

    HEALTH = "health"


ENDPOINTS = {(b"GET", b"/health"): Endpoint.HEALTH, (b"HEAD", b"/health"): Endpoint.HEALTH}

OPENAI_ROOT = frozenset(
    {b"assistants", b"audio", b"batches", b"chat", b"completions", b"embeddings", b"fine_tuning", b"images"}
    | {b"moderations", b"realtime", b"responses", b"threads", b"vector_stores"}
)
"""What under ``/v1/`` at the root is no Anthropic path: an OpenAI client whose base URL lacks its provider."""

_OWN_PREFIX = b"/api/proxy"
_FIRST_SEGMENT = re.compile(rb"/([^/]*)(.*)", re.DOTALL)
_VERSIONED = re.compile(rb"/+(?:v\d[^/]*|upload|download|ws)(?:/|$)")
"""A path that goes out as it is: it begins with its version, or with a word that stands where a version would."""
_MAYBE_COMPATIBLE = re.compile(rb"(?:/+v1(?=/))?(/+([^/]+)(?:/.*)?)", re.DOTALL)
"""The path without its ``v1``, and the first segment of that."""
_COMPATIBLE = re.compile(rb"/+v\d[^/]*/+openai(?:/|$)")
_VERB = re.compile(rb":|%3a", re.IGNORECASE)
_VERSION_WORD = re.compile(r"v\d[\w.-]*")
_DEPLOYMENTS = "deployments"
_DOT_SEGMENT = re.compile(rb"(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?=$|[/\\;#]|%2f|%5c|%3b|%23)", re.IGNORECASE)
"""``.`` or ``..`` between anything that some server takes for a separator: a backslash (Windows, browsers) and a
semicolon (parameters, in Java's servers) included."""
_UNSENDABLE = re.compile(rb"[\x00-\x20\x7f]")
_KEY_IN_QUERY = re.compile(rb"(?:^|&)key=")

ROUTES_REMEMBERED = 512
"""So many of the shapes below are 0.5 MB."""
_REMEMBERED_METHODS = frozenset({b"GET", b"POST"})
_REMEMBERED_LENGTH = 256
_HARMLESS_QUERY = re.compile(rb"(?:(?:alt|api-version|beta)=[\w.-]{0,32})?")
"""What SDKs put behind a path at every request: none of it is anybody's secret."""
_TABLE_PATHS = [path.split("/") for path in (*OPERATIONS, *GOOGLE_OPERATIONS)]
_FIRST_WORDS = frozenset(words[0] for words in _TABLE_PATHS)
"""What a path without a version begins with."""
_TABLE_DEPTH = max(map(len, _TABLE_PATHS))
"""How many segments the longest path in a table of operations has."""
_ID_PLACES = sorted({tuple(at for at, word in enumerate(words) if word == "*") for words in _TABLE_PATHS})
"""Where paths in these tables have ids; nowhere comes first."""


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


@dataclass(frozen=True, slots=True)
class _Match:
    """Which provider a request is for, and its path there without the configured prefix."""

    served: _Served
    upstream: Origin
    outgoing: bytes
    own: bytes
    by_credential: bool = False
    """Two APIs of the provider have this path: which one is meant was told by the kind of credential."""


class Router:
    """The routes of one configuration, and a bounded memory of them. One per process."""

    def __init__(self, settings: Settings) -> None:
        served = {
            name: _Served(
                name,
                known := PROVIDERS[entry.like],
                entry.upstream,
                entry.prefix.encode(),
                known.native.prefix if entry.version is None else entry.version.encode(),
                entry.credential or known.native.credential_place,
                entry.timeout,
                entry.inject_usage,
            )
            for name, entry in settings.providers.items()
        }
        self._by_segment = {name.encode(): served[canonical_name(name)] for name in (*served, *ALIASES)}
        self._by_origin = _by_origin(served)
        self._root = served[settings.default_provider] if settings.default_provider else None
        self._anthropic = served["anthropic"]
        self._routes = _listing(served, settings.default_provider)
        self._remembered = dict[tuple[bytes, bytes, Origin | None], Route]()

    def knows(self, origin: Origin) -> bool:
        """Whether a configured provider is there. A reverse mode for any other server routes by path."""
        return origin in self._by_origin

    def route(self, inbound: Inbound) -> Route | Endpoint | Refusal:
        """Decide where a request goes: a path that must not be sent is 400, an unknown one 404, a foreign host 403."""
        key = inbound.method, inbound.target, inbound.origin
        if route := self._remembered.get(key):
            return route
        raw, mark, query = inbound.target.partition(b"?")
        found = self._by_path(inbound, raw) if inbound.origin is None else self._by_host(inbound.origin, raw)
        if trouble := _trouble(inbound.target, raw):
            served = found.served if isinstance(found, _Match) else None
            return _refuse(400, "bad_request", trouble, served)
        if not isinstance(found, _Match):
            return found
        route = _read(found, inbound.method, mark + query)
        if not found.by_credential and _may_be_remembered(inbound, query):
            if len(self._remembered) >= ROUTES_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = route
        return route

    def _by_path(self, inbound: Inbound, raw: bytes) -> _Match | Endpoint | Refusal:
        path = raw
        if path.startswith(_OWN_PREFIX) and path[len(_OWN_PREFIX) : len(_OWN_PREFIX) + 1] in (b"/", b""):
            path = path[len(_OWN_PREFIX) :]
        segments = _FIRST_SEGMENT.fullmatch(path)
        segment, rest = segments.groups() if segments else (b"", b"")
        if served := self._by_segment.get(segment):
            return _addressed(served, rest, inbound)
        if endpoint := ENDPOINTS.get((inbound.method, path)):
            return endpoint
        if self._root:
            return _addressed(self._root, path, inbound)
        if segment == b"messages" or (segment == b"v1" and rest):
            second = _FIRST_SEGMENT.fullmatch(rest)
            if segment == b"v1" and second and second[1] in OPENAI_ROOT:
                name = second[1].decode()
                message = f"/v1/{name} names no provider. Put one before it, as in /openai/v1/{name}. {self._routes}"
                return _refuse(404, "unknown_route", message)
            return _addressed(self._anthropic, path, inbound)
        return _refuse(404, "unknown_route", f"Nothing is served here. {self._routes}")

    def _by_host(self, origin: Origin, raw: bytes) -> _Match | Refusal:
        candidates = self._by_origin.get(origin)
        if not candidates:
            where = f"{origin.scheme}://{origin.host}:{origin.port}"
            message = (
                f"{where} is the host of no configured provider, and Metrion is no open relay. To add it, give a "
                f"provider that `upstream` in metrion.yaml. {self._routes}"
            )
            return _refuse(403, "not_a_provider", message)
        for prefix, served in candidates:
            if raw.startswith(prefix) and raw[len(prefix) : len(prefix) + 1] in (b"/", b""):
                return _Match(served, origin, raw, raw[len(prefix) :])
        return _Match(candidates[0][1], origin, raw, raw)


def _read(found: _Match, method: bytes, query: bytes) -> Route:
    """Say what a path does, and how its answer is to be read. ``query`` begins with its ``?``."""
    entry = found.served.entry
    segments = _split(found.own)
    surface, words = entry.native, _words(segments)
    if entry.compatible and _COMPATIBLE.match(found.own):
        surface, words = entry.compatible.surface, words[1:]
    operation, generation_id = _operation(surface, words)
    if not operation.read_back:
        generation_id = None
    dialect = _dialect(operation, method.upper())
    return Route(
        provider=found.served.name,
        upstream=found.upstream,
        target=found.outgoing + query,
        operation="realtime" if dialect in SESSIONS else operation.name,
        dialect=dialect,
        credential_place=found.served.credential if surface is entry.native else surface.credential_place,
        error_shape=surface.error_shape,
        request_id_headers=entry.request_id_headers,
        model=_model(words) if surface.names_models else _deployment(segments),
        timeout=found.served.timeout,
        inject_usage=found.served.inject_usage and asks_usage(method, operation.name, dialect),
        generation_id=generation_id,
        output=_output(operation, generation_id, query[1:]) if generation_id else None,
    )


def _may_be_remembered(inbound: Inbound, query: bytes) -> bool:
    """Whether a target is short and holds no secret. A path never does: what stands in it is in the event too."""
    return (
        inbound.method in _REMEMBERED_METHODS
        and len(inbound.target) <= _REMEMBERED_LENGTH
        and _HARMLESS_QUERY.fullmatch(query) is not None
    )


def _addressed(served: _Served, rest: bytes, inbound: Inbound) -> _Match:
    """Complete what stands behind a provider's segment to the provider's own path."""
    entry = served.entry
    is_whole = _VERSIONED.match(rest) or (served.name not in PROVIDERS and _has_version_within(rest))
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
    """Whether the credential is of Google's own kind. A Bearer credential means the compatible API, whatever else."""
    native = _KEY_IN_QUERY.search(inbound.query or b"") is not None
    for name, value in inbound.headers:
        match name.lower():
            case b"authorization" if value.lstrip()[:7].lower() == b"bearer ":
                return False
            case b"x-goog-api-key":
                native = True
    return native


def _has_version_within(rest: bytes) -> bool:
    """Whether a path of a server that is not built in is whole, though it does not begin with its version.

    Groq's is ``openai/v1/…``, OpenRouter's ``api/v1/…``; Azure's has a deployment in its place.
    """
    segments = _split(rest)
    return _DEPLOYMENTS in segments[:2] or _behind_version(segments) > 0


def _split(path: bytes) -> list[str]:
    """Split a path for reading, leniently."""
    text = path.decode("utf-8", "replace")
    return [word for word in (unquote(text) if "%" in text else text).split("/") if word]


def _words(segments: list[str]) -> list[str]:
    """Return what a path says behind its version, and what stands before that."""
    if _DEPLOYMENTS in segments[:2]:  # Azure's paths name a deployment before they say what it is to do
        segments = segments[segments.index(_DEPLOYMENTS) + 2 :]
    return segments[_behind_version(segments) :]


def _behind_version(segments: list[str]) -> int:
    """Return the place behind the version of a path, 0 where it has none."""
    if segments and segments[0] in _FIRST_WORDS:
        return 0
    return next((at + 1 for at, word in enumerate(segments[:3]) if _VERSION_WORD.fullmatch(word)), 0)


def _deployment(segments: list[str]) -> str | None:
    """Return the model that a path of Azure's names."""
    if _DEPLOYMENTS not in segments[:2]:
        return None
    return next(iter(segments[segments.index(_DEPLOYMENTS) + 1 :]), None)


def _operation(surface: Surface, words: list[str]) -> tuple[Operation, str | None]:
    """Return what a path does, and the id in it that is the most particular."""
    if surface.names_models and words:
        name, colon, verb = words[-1].rpartition(":")
        publisher = words[words.index("publishers") + 1] if "publishers" in words[:-1] else ""
        for spelling in (f"{publisher}:{verb}", f":{verb}"):
            if colon and (operation := surface.operations.get(spelling)):
                return operation, name
        if colon and _model(words):
            return OTHER, None  # it may generate, unlike what only looks at a model
    for depth in range(min(_TABLE_DEPTH, len(words)), 0, -1):
        for path in _spellings(words[:depth]):
            if operation := surface.operations.get(path):
                if depth < len(words):
                    return Operation(operation.name), None
                ids = [word for word, name in zip(words, path.split("/"), strict=True) if name == "*"]
                return operation, ids[-1] if ids else None
    return OTHER, None


def _output(operation: Operation, generation_id: str, query: bytes) -> str | None:
    """Return the name under which a batch may name what is read back: ``files/ID``, ``batch/ID?PAGE``."""
    if not operation.is_output:
        return None
    page = parameter(query, b"pagination_token")
    return f"{operation.name}/{generation_id}" + (f"?{page}" if page else "")


def parameter(query: bytes, name: bytes) -> str | None:
    """Return the value of the first parameter of this name that has one."""
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == name and value:
            return unquote(value.decode("latin-1"))
    return None


def _spellings(words: list[str]) -> Iterator[str]:
    """Yield how a path may be written in a table: as it is, then with ids left open."""
    for places in _ID_PLACES:
        if not places or places[-1] < len(words):
            yield "/".join("*" if at in places else word for at, word in enumerate(words))


def _dialect(operation: Operation, method: bytes) -> str | None:
    match method:
        case b"POST":
            return operation.dialect
        case b"GET":
            return operation.read_back
    return None


def _model(words: list[str]) -> str | None:
    """``models/M:verb`` is about M; a tuned model keeps its collection in its name, as in the provider's own fields.

    Vertex AI has ``publishers/P/models/M:verb``, in a project and a location.
    """
    if words[:1] in (["projects"], ["publishers"]) and "models" in words:
        words = words[words.index("models") :]
    if len(words) < 2 or words[0] not in ("models", "tunedModels"):
        return None
    model = words[1].partition(":")[0]
    return (model if words[0] == "models" else f"tunedModels/{model}") if model else None


def asks_usage(method: bytes, operation: str, dialect: str | None) -> bool:
    """Whether requests of this kind know ``include_usage``: chat and text completions in OpenAI's shape."""
    row = DIALECTS.get(dialect or "")
    return method.upper() == b"POST" and operation in ("chat", "completions") and row is not None and row.asks_usage


def _trouble(target: bytes, raw: bytes) -> str | None:
    """Say why a path must not be sent; ``None`` if it may be."""
    if not raw.startswith(b"/") or _UNSENDABLE.search(target):
        return "The request target is no path: it begins with / and has no spaces or control characters."
    if (b"." in raw or b"%" in raw) and _DOT_SEGMENT.search(raw):
        return "The path has a dot segment (. or ..), plain or encoded. Send the path that it stands for."
    if b"sk-metrion-" in raw:
        return "A Metrion token stands in the path, where logs would keep it. Send it as Authorization: Bearer instead."
    return None


def _by_origin(served: Mapping[str, _Served]) -> dict[Origin, list[tuple[bytes, _Served]]]:
    """List by host which providers are there, longest path prefix first. A built-in host stays known when moved."""
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
    return f"Routes: {', '.join(f'/{name}/…' for name in names)}; {owner}; GET /health; all also under /api/proxy."


def _refuse(status: int, code: str, message: str, served: _Served | None = None) -> Refusal:
    if served is None:
        return Refusal(status, code, message)
    return Refusal(status, code, message, served.name, served.entry.native.error_shape)
