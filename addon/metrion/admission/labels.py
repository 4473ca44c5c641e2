"""Reads the labels that a sender gives its request: a head in; the user's label and the tags out."""

from __future__ import annotations

from collections.abc import Mapping

from metrion.admission.credentials import OWN
from metrion.admission.masking import without_tokens
from metrion.model import Inbound

_USER = b"x-metrion-user"
_TAG = b"x-metrion-tag-"
_MAX_LABEL = 256
_MAX_TAG_NAME = 64
_MAX_TAGS = 32


def labels(inbound: Inbound) -> tuple[str | None, Mapping[str, str] | None]:
    """Return the user's label and the tags of a request; ``None`` where it has none.

    Names and values are cut to what an event should hold, tags after the 32nd are left out, tag names are lower case.
    """
    user: str | None = None
    tags: dict[str, str] = {}
    for name, value in inbound.headers:
        lower = name.lower()
        if not lower.startswith(OWN):
            continue
        if lower == _USER:
            user = _label(value, _MAX_LABEL) or user
        elif lower.startswith(_TAG) and len(tags) < _MAX_TAGS and (tag := _label(lower[len(_TAG) :], _MAX_TAG_NAME)):
            tags[tag] = _label(value, _MAX_LABEL)
    return user, tags or None


def _label(raw: bytes, length: int) -> str:
    raw = without_tokens(raw.strip())
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text[:length]
