"""The type of a provider's error, out of any provider's error body or error event.

It is what names a kind of error: a word such as ``rate_limit_error``, or a few plain words such as xAI's "Client
specified an invalid argument". It is never a message: messages quote prompts and keys.
"""

from __future__ import annotations

import re
from typing import Any

from metrion.parsing.json_values import EACH, Path

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")
_WORDS = re.compile(r"[A-Za-z_]{1,32}(?: [A-Za-z_]{1,32}){0,11}")
_NUMBER = re.compile(r"[0-9]{1,6}")

_PLACES: tuple[tuple[Path, re.Pattern[str]], ...] = (
    (("error", "status"), _WORD),  # Google: INVALID_ARGUMENT
    (("error", "code"), _WORD),  # OpenAI and its kin: model_not_found; more specific than their type
    (("error", "type"), _WORD),  # Anthropic: overloaded_error; OpenAI where it has no code
    (("error", "code"), _NUMBER),  # OpenRouter, Azure: a status
    (("error", "code"), _WORDS),  # Azure's models that are not OpenAI's: Invalid input
    (("code",), _WORDS),  # xAI
    (("type",), _WORD),  # Mistral: invalid_request_prompt
    (("code",), _NUMBER),  # Mistral: 3051
    (("detail", "0", "type"), _WORD),  # Mistral's validation: missing
    (("detail",), _WORDS),  # Mistral's gateway: Invalid API Key
    (("error",), _WORD),  # servers that say no more than this
)
"""Where an error's type may be, the most specific first, and what it must look like there."""

WANTED: tuple[Path, ...] = (("error",), ("code",), ("type",), ("object",), ("detail",), (EACH, "error"))
"""What :func:`error_type` needs of a document. Google's compatible endpoint sends its error in an array."""


def has_error(document: Any) -> bool:
    """Whether a document is an error, whatever the status of its response."""
    document = _unwrapped(document)
    if not isinstance(document, dict):
        return False
    return bool(document.get("error")) or "error" in (document.get("type"), document.get("object"))


def error_type(document: Any) -> str | None:
    """Return the error's type; ``None`` where no place has one."""
    document = _unwrapped(document)
    for path, shape in _PLACES:
        value = _find(document, path)
        text = str(value) if type(value) is int else value
        if isinstance(text, str) and shape.fullmatch(text) and (path, text) != (("type",), "error"):
            return text
    return None


def _unwrapped(document: Any) -> Any:
    return document[0] if isinstance(document, list) and document else document


def _find(value: Any, path: Path) -> Any:
    for name in path:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
