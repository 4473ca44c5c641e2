"""The words of a request and of its answer: parsed JSON in, an :class:`Asked` or an :class:`Answered` out.

Which of them are tokens is said by the wire format itself, in the ``texts`` of its row in ``DIALECTS``. Documents come
from strangers. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from metrion.dialects import DIALECTS
from metrion.dialects.dialect import mapping
from metrion.dialects.reading.texts import Answered, Asked, Texts


def texts_of(dialect: str | None) -> Texts | None:
    """Return where a wire format has its words; ``None``: nothing is estimated from them."""
    entry = DIALECTS.get(dialect or "")
    return entry.texts if entry is not None else None


def answered(texts: Texts, documents: Iterable[Any]) -> Answered:
    """Return what is said after the last document that reports a usage; all of it where none does."""
    text = Answered()
    for document in map(mapping, documents):
        texts.answered(document, text)
        if _reports_usage(document):
            text.restart()
    return text


def asked(texts: Texts, document: Mapping[str, Any]) -> Asked:
    """Return what a request says."""
    text = Asked()
    texts.asked(document, text)
    return text


def _reports_usage(document: Mapping[str, Any]) -> bool:
    for name in ("message", "response", "x_groq"):
        if mapping(document.get(name)).get("usage"):
            return True
    return bool(mapping(document.get("usage")) or mapping(document.get("usageMetadata")))
