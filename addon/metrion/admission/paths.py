"""A provider's own path in; what it asks for, and the ids and the model in it out.

Lenient about ``%xx`` and doubled slashes, so that no spelling that an upstream may accept goes unmetered. Nothing that
is read here goes out: a path is forwarded as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from metrion.endpoints import GOOGLE_PATHS, OTHER, PATHS, Path
from metrion.providers import Surface

_OTHER = Path(OTHER)
_VERSION_WORD = re.compile(r"v\d[\w.-]*")
_DEPLOYMENTS = "deployments"
_TABLE_PATHS = [path.split("/") for path in (*PATHS, *GOOGLE_PATHS)]
FIRST_WORDS = frozenset(words[0] for words in _TABLE_PATHS)
"""What a path without a version begins with."""
_TABLE_DEPTH = max(map(len, _TABLE_PATHS))
"""How many segments the longest path in these tables has."""
_ID_PLACES = sorted({tuple(at for at, word in enumerate(words) if word == "*") for words in _TABLE_PATHS})
"""Where paths in these tables have ids; nowhere comes first."""


def split(path: bytes) -> list[str]:
    """Split a path for reading, leniently."""
    text = path.decode("utf-8", "replace")
    return [word for word in (unquote(text) if "%" in text else text).split("/") if word]


def without_version(segments: list[str], *, names_deployments: bool = True) -> list[str]:
    """Return the segments behind a path's version, and behind a deployment of Azure's."""
    if names_deployments and _DEPLOYMENTS in segments[:2]:  # Azure's paths name it before they say what it is to do
        segments = segments[segments.index(_DEPLOYMENTS) + 2 :]
    return segments[_behind_version(segments) :]


def has_version_within(rest: bytes) -> bool:
    """Whether a path of a server that is not built in is whole, though it does not begin with its version.

    Groq's is ``openai/v1/…``, OpenRouter's ``api/v1/…``; Azure's has a deployment in its place.
    """
    segments = split(rest)
    return _DEPLOYMENTS in segments[:2] or _behind_version(segments) > 0


def deployment(segments: list[str]) -> str | None:
    """Return the deployment that a path of Azure's names, which stands for a model."""
    if _DEPLOYMENTS not in segments[:2]:
        return None
    return next(iter(segments[segments.index(_DEPLOYMENTS) + 1 :]), None)


def row_of(surface: Surface, words: list[str]) -> tuple[Path, str | None]:
    """Return the row of a path, and the id of what it reads back: the most particular one in it."""
    if surface.names_models and words:
        name, colon, verb = words[-1].rpartition(":")
        publisher = words[words.index("publishers") + 1] if "publishers" in words[:-1] else ""
        for spelling in (f"{publisher}:{verb}", f":{verb}"):
            if colon and (row := surface.paths.get(spelling)):
                return row, name if row.names_generation else None
        if colon and model_in(words):
            return _OTHER, None  # it may generate, unlike what only looks at a model
    for depth in range(min(_TABLE_DEPTH, len(words)), 0, -1):
        for path in _spellings(words[:depth]):
            if row := surface.paths.get(path):
                if depth < len(words):
                    return Path(row.operation), None
                ids = [word for word, name in zip(words, path.split("/"), strict=True) if name == "*"]
                return row, ids[-1] if ids and row.names_generation else None
    return _OTHER, None


def model_in(words: list[str]) -> str | None:
    """Return M of ``models/M:verb``, and of Vertex AI's ``projects/…/publishers/P/models/M:verb``.

    A tuned model keeps its collection in its name, as in the provider's own fields.
    """
    if words[:1] in (["projects"], ["publishers"]) and "models" in words:
        words = words[words.index("models") :]
    if len(words) < 2 or words[0] not in ("models", "tunedModels"):
        return None
    model = words[1].partition(":")[0]
    return (model if words[0] == "models" else f"tunedModels/{model}") if model else None


def output_name(row: Path, generation_id: str, query: bytes) -> str | None:
    """Return the name under which a batch may name what is read back: ``files/ID``, ``batch/ID?PAGE``."""
    if not row.is_output:
        return None
    page = parameter(query, b"pagination_token")
    return f"{row.operation.name}/{generation_id}" + (f"?{page}" if page else "")


def parameter(query: bytes, name: bytes) -> str | None:
    """Return the value of the first parameter of this name that has one."""
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == name and value:
            return unquote(value.decode("latin-1"))
    return None


def _behind_version(segments: list[str]) -> int:
    """Return the place behind the version of a path, 0 where it has none."""
    if segments and segments[0] in FIRST_WORDS:
        return 0
    return next((at + 1 for at, word in enumerate(segments[:3]) if _VERSION_WORD.fullmatch(word)), 0)


def _spellings(words: list[str]) -> Iterator[str]:
    """Yield how a path may be written in a table: as it is, then with ids left open."""
    for places in _ID_PLACES:
        if not places or places[-1] < len(words):
            yield "/".join("*" if at in places else word for at, word in enumerate(words))
