"""What the ``texts`` of a wire format find, in a form that tests compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.reading.texts import Answered, Asked, Texts

type Said = tuple[dict[Any, str], dict[Any, str], set[str]]


def answer(texts: Texts, *documents: Mapping[str, Any]) -> Said:
    """What an answer says: the text by its place, the names of the tools called, and which flags are set."""
    text = Answered()
    for document in documents:
        texts.answered(document, text)
    flags = {name for name in ("reasoned", "unknown") if getattr(text, name)}
    return {place: "".join(pieces) for place, pieces in text.pieces.items()}, text.names, flags


def request(texts: Texts, document: Mapping[str, Any]) -> Asked:
    """What a request says."""
    text = Asked()
    texts.asked(document, text)
    return text
