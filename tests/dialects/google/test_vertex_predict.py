"""Predictions of Vertex AI."""

from __future__ import annotations

from typing import Any

import pytest

from metrion.dialects.google.vertex_predict import DIALECT
from tests.dialects.read import read_documents


def embedded(*counts: object) -> dict[str, Any]:
    return {"predictions": [{"embeddings": {"values": [0.5], "statistics": {"token_count": each}}} for each in counts]}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (embedded(12), {"input_tokens": 12}),
        (embedded(12, 22, 0), {"input_tokens": 34}),
        (embedded(12, "22"), {}),
        (embedded(12, None), {}),
        ({"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": "QUJD"}]}, {}),
        ({"predictions": [5, {"embeddings": 7}]}, {}),
        ({"predictions": {}}, {}),
    ],
)
def test_usage(document: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_documents(DIALECT, document) == expected
