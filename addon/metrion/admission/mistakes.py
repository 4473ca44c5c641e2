"""Explains a mistaken base URL: a path that leads nowhere in; what is wrong with it, and the error's shape, out.

Recognises a version that is there twice, a provider's name that is misspelt or hidden behind something else, and an
API's path without a provider. Pure. Never: a part of the path in a message, since it may hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from urllib.parse import unquote

from metrion.admission.paths import FIRST_WORDS
from metrion.model import ErrorShape

_NICKNAMES = {
    "anthropic": ("anthropicai", "claude", "claudeai", "claudecode", "haiku", "opus", "sonnet"),
    "google": (
        *("aistudio", "bard", "gemma", "genai", "generativeai", "generativelanguage", "googleai", "googleaistudio"),
        *("googlegemini", "googlegenai", "googlevertex", "palm", "vertex", "vertexai"),
    ),
    "mistral": ("codestral", "devstral", "lechat", "magistral", "ministral", "mistralai", "mixtral", "pixtral"),
    "openai": ("chatgpt", "codex", "dalle", "gpt", "oai", "openaiapi", "openaicompatible", "whisper"),
    "xai": ("grokai", "twitter", "xaigrok", "xgrok"),
}
"""What else people call a provider, in letters and digits only."""
_BY_NICKNAME = {nickname: name for name, nicknames in _NICKNAMES.items() for nickname in nicknames}
_LONGEST_WORD = 1000
"""Bytes at the beginning and at the end of a path; what is between them says nothing."""
_LONG = 5
"""Names with as many letters are recognised within a longer word, too."""

_GENERATES = re.compile(
    r"/(?:(?P<anthropic>messages)|(?P<openai>chat/completions|responses)"
    r"|[^/]*:(?P<google>(?:stream)?generateContent))/*\Z",
    re.IGNORECASE,
)
"""How a path ends that generates. Clients read a 404 there as "no such model", and hide our words."""
_VERSION = rb"v\d+(?:(?:alpha|beta)\d*)?"
_DOUBLED = re.compile(rb"/+%b/+(?:(openai)/+)?%b(?:/|\Z)" % (_VERSION, _VERSION))
_REPEATED = re.compile(rb"/+(v\d[^/]*)/+\1(?:/|\Z)")

_BROWSERS_OWN = re.compile(r"/(?:favicon\.ico|robots\.txt|sitemap\.xml|apple-touch-icon[\w.-]*|\.well-known/.*)\Z")
"""What browsers and crawlers ask for by themselves."""


def generates(path: bytes) -> ErrorShape | None:
    """Return whose errors the client of a path that generates reads; ``None`` for any other path."""
    found = _GENERATES.search(_read(path[-_LONGEST_WORD:]))
    return ErrorShape(found.lastgroup) if found and found.lastgroup else None


def has_doubled_version(own: bytes, *, is_built_in: bool, has_compatible: bool) -> bool:
    """Whether a provider's own path has its version twice. Of other servers, only the very same one is a mistake."""
    if not is_built_in:
        return _REPEATED.match(own) is not None
    found = _DOUBLED.match(own)
    return found is not None and (found[1] is None or has_compatible)


def probable_provider(path: bytes, names: Collection[str]) -> str | None:
    """Return the provider that a path probably means, one of ``names``."""
    words = [word for word in _read(path).split("/") if word]
    if not words or _is_version_or_first(words[0]):
        return None
    return _meant(words[0], names) or next((word for word in words[1:3] if word in names), None)


def is_an_apis(path: bytes) -> bool:
    """Whether a path without a provider is one of an API."""
    words = [word for word in _read(path).split("/") if word]
    return bool(words) and _is_version_or_first(words[0])


def is_a_mistake(method: bytes, path: bytes) -> bool:
    """Whether somebody meant to reach something with a path that leads nowhere."""
    return method not in (b"GET", b"HEAD") or _BROWSERS_OWN.match(_read(path)) is None


def _is_version_or_first(word: str) -> bool:
    return word in FIRST_WORDS or re.fullmatch(_VERSION.decode(), word) is not None


def _read(path: bytes) -> str:
    return unquote(path[:_LONGEST_WORD].decode("utf-8", "replace"))


def _meant(word: str, names: Collection[str]) -> str | None:
    """Return the name that a word is, or is meant to be."""
    plain = _plain(word)
    spellings = {_plain(name): name for name in names}
    for spelling in (plain, plain.removeprefix("api")):  # of a host, as in api.x.ai
        if spelling in spellings:
            return spellings[spelling]
    if (known := _BY_NICKNAME.get(plain) or _BY_NICKNAME.get(plain.removesuffix("s"))) in names:
        return known
    if len(plain) <= 2:
        return None
    near = [
        (distance, name) for spelling, name in spellings.items() if (distance := _near(plain, spelling)) is not None
    ]
    near += [
        (1, name)
        for nickname, name in _BY_NICKNAME.items()
        if len(nickname) >= _LONG and name in names and _near(plain, nickname) == 1
    ]
    if near:
        return min(near)[1]
    parts = [_plain(part) for part in re.split(r"[^0-9A-Za-z]+", word)]
    within = (name for spelling, name in spellings.items() if spelling in parts or _contains(plain, spelling))
    return next(within, None) or next((name for part in parts if (name := _BY_NICKNAME.get(part)) in names), None)


def _plain(word: str) -> str:
    return re.sub(r"[^0-9a-z]", "", word.lower())


def _contains(word: str, spelling: str) -> bool:
    return len(spelling) >= _LONG and spelling in word


def _near(word: str, spelling: str) -> int | None:
    """Return how many letters are wrong, if it is as few as a slip of the fingers makes."""
    most = 1 if len(spelling) < _LONG else 2 if len(spelling) < 2 * _LONG - 1 else 3
    if abs(len(word) - len(spelling)) > most:
        return None
    distance = _distance(word, spelling)
    return distance if distance <= most else None


def _distance(one: str, other: str) -> int:
    """Count the letters to add, drop, change or exchange with their neighbour (optimal string alignment)."""
    before, row = [0], list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        above, row = row, [at]
        for column, theirs in enumerate(other, 1):
            cost = min(above[column] + 1, row[-1] + 1, above[column - 1] + (letter != theirs))
            if at > 1 and column > 1 and letter == other[column - 2] and one[at - 2] == theirs:
                cost = min(cost, before[column - 2] + 1)
            row.append(cost)
        before = above
    return row[-1]


def words_about(path: bytes, meant: str | None, suggestions: Iterable[str]) -> str:
    """Say what is wrong with a path that leads nowhere. ``suggestions``: segments that may stand before it."""
    if meant is not None:
        return f"No provider has the name that this path begins with. Did you mean /{meant}/…?"
    if is_an_apis(path):
        places = ", ".join(f"/{each}/…" for each in suggestions)
        return f"This path of an API names no provider. Put one before it, in the base URL: {places}."
    if generates(path) or any(map(_is_version_or_first, _read(path).split("/")[2:4])):
        return "No provider has the name that this path begins with. `providers` in metrion.yaml adds another server."
    return "Nothing is served here."
