"""Embeddings, as OpenAI makes them and Mistral and xAI after it: each input has a vector of its own.

A vector is made of its input's digest, so that the same input has the same one in every answer.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

from metrion.simulator.answers.bodies import json_answer
from metrion.simulator.answers.openai_compatible import Style
from metrion.simulator.answers.request import Json, Request
from metrion.simulator.delivery import Answer

_DIMENSIONS = 16
_MOST_INPUTS = 2048


def embeddings(style: Style, request: Request) -> Answer | None:
    """Answer ``POST embeddings``."""
    asked = request.json()
    model, inputs = str(asked.get("model", "")), _inputs(asked.get("input"))
    if not model or not inputs or len(inputs) > _MOST_INPUTS or not all(inputs):
        return None
    dimensions, is_packed = asked.get("dimensions", _DIMENSIONS), asked.get("encoding_format") == "base64"
    vectors = [numbers_of(each, dimensions) for each in inputs]
    data: list[Json] = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if is_packed else vector}
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(map(tokens_of, inputs))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    whole = {"object": "list", "data": data, "model": model, "usage": usage}
    return json_answer(200, whole, *style.headers(request))


def numbers_of(one: object, dimensions: int = _DIMENSIONS) -> list[float]:
    """Return the vector of an input."""
    digest = hashlib.shake_128(json.dumps(one).encode()).digest(4 * dimensions)
    return [number / 2**31 for number in struct.unpack(f"<{dimensions}i", digest)]


def _packed(numbers: list[float]) -> str:
    """Return a vector as 32-bit numbers in Base64."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def tokens_of(one: Any) -> int:
    """Return how many tokens an input is counted as."""
    return len(one) if isinstance(one, list) else max(1, len(one) // 4)


def _inputs(value: object) -> list[Any]:
    if not isinstance(value, list):
        return [value] if isinstance(value, str) else []
    return [value] if value and isinstance(value[0], int) else value
