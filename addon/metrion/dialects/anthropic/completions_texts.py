"""Where the words are in Anthropic's text completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.reading.texts import Answered, Asked, Texts


def answered(document: Mapping[str, Any], text: Answered) -> None:
    """Record what a document of an answer says."""
    text.say("completion", document.get("completion"))


def asked(document: Mapping[str, Any], text: Asked) -> None:
    """Record what a request says."""
    text.say(document.get("prompt"))


TEXTS = Texts(asked=asked, answered=answered)
