"""Speech that is billed by the character: the request in, its characters out. The answer is nothing but sound.

OpenAI bills ``tts-1`` and ``tts-1-hd`` by the characters of ``input`` (https://developers.openai.com/api/docs/models/tts-1),
and so does Mistral. Neither says what a character is; here it is a code point of Unicode. The characters are billed as
input, however much of the sound was heard.
"""

from __future__ import annotations

import json
from dataclasses import replace

from metrion.dialects import DIALECTS
from metrion.estimates.sample import Kept
from metrion.model import Usage
from metrion.pricing import PER_CHARACTER

BY_CHARACTER = frozenset(name for name, dialect in DIALECTS.items() if dialect.by_character)
"""The wire formats of which this is about."""


def spoken(request: Kept, reported: Usage | None) -> Usage | None:
    """Return the usage with the characters of the text; ``None`` where the request is not here whole, or has none."""
    if not request.whole:
        return None
    try:
        document = json.loads(b"".join(request.pieces()))
    except (ValueError, RecursionError):
        return None
    text = document.get("input") if isinstance(document, dict) else None
    if not isinstance(text, str):
        return None
    return replace(reported or Usage(), unreported_tools={PER_CHARACTER: len(text)})
