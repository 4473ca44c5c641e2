"""Mistral's OCR."""

from __future__ import annotations

from typing import Any

import pytest

from metrion.dialects.mistral.ocr import DIALECT
from tests.dialects.read import drafted, read_documents, read_usage


@pytest.mark.parametrize(
    ("raw", "expected", "warnings"),
    [
        ({"pages_processed": 29, "doc_size_bytes": 3002783}, {"server_tools": {"pages_processed": 29}}, []),
        ({"pages_processed": 0, "doc_size_bytes": None}, {"server_tools": {}}, []),
        ({"doc_size_bytes": 5}, {}, []),
        ({"pages_processed": "2"}, {}, ["usage.pages_processed is no count"]),
    ],
)
def test_pages_are_what_is_billed(raw: dict[str, Any], expected: dict[str, Any], warnings: list[str]) -> None:
    assert read_usage(DIALECT, raw) == (expected, warnings)


def test_usage_stands_beside_the_pages() -> None:
    usage = {"pages_processed": 1, "doc_size_bytes": 9}
    pages = [{"index": 0, "markdown": "usage_info", "images": [{"image_base64": "QUJD"}]}]
    draft = drafted(DIALECT, {"pages": pages, "model": "mistral-ocr-2505-completion", "usage_info": usage})
    assert (draft.model, draft.usage) == ("mistral-ocr-2505-completion", usage)


IMAGE: dict[str, Any] = {"id": "img-0.jpeg", "image_base64": None}


@pytest.mark.parametrize(
    ("images", "document_annotation", "annotated"),
    [
        ([], None, {}),
        ([IMAGE, {**IMAGE, "image_annotation": None}], None, {}),
        ([], '{"language": "English"}', {"annotated_pages_processed": 2}),
        ([IMAGE, {**IMAGE, "image_annotation": '{"kind": "chart"}'}], None, {"annotated_pages_processed": 2}),
    ],
)
def test_that_pages_were_annotated_shows_in_the_answer_only(
    images: list[dict[str, Any]], document_annotation: str | None, annotated: dict[str, int]
) -> None:
    answer = {
        "pages": [{"index": 0, "images": []}, {"index": 1, "images": images}],
        "model": "mistral-ocr-4-1",
        "document_annotation": document_annotation,
        "usage_info": {"pages_processed": 2, "doc_size_bytes": 9},
    }
    assert read_documents(DIALECT, answer) == {"server_tools": {"pages_processed": 2}}
    assert drafted(DIALECT, answer).unreported_tools == annotated
