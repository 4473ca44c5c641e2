"""Mistral's OCR, which is billed by the page.

Sources: ``OCRResponse`` in the mistralai SDK; the prices of pages and annotated pages at
https://docs.mistral.ai/models/ocr-4-1. Whether the pages were annotated shows in the annotations only, of the document
or of an image, beside the usage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, label, mapping
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import EACH, Object

_PAGES = "pages_processed"
_ANNOTATED = "annotated_pages_processed"
"""Our name, after the provider's, for those of the pages that are annotated."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a document that was read says."""
    draft.model = label(document.get("model"), draft.model)
    usage = document.get("usage_info")
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source
        if (pages := UsageReader(usage).count(_PAGES)) and _is_annotated(document):
            draft.unreported_tools[_ANNOTATED] = pages


def _is_annotated(document: Mapping[str, Any]) -> bool:
    if document.get("document_annotation"):
        return True
    pages = document.get("pages")
    images = [mapping(page).get("images") for page in (pages if isinstance(pages, list) else ())]
    return any(mapping(image).get("image_annotation") for each in images if isinstance(each, list) for image in each)


def usage(reader: UsageReader) -> Usage:
    """Read an ``OCRUsageInfo``."""
    pages = reader.count(_PAGES)
    return Usage(server_tools=None if pages is None else {_PAGES: pages} if pages else {})


DIALECT = Dialect(
    name="mistral_ocr",
    wanted=(
        ("model",),
        ("usage_info",),
        ("document_annotation",),
        ("pages", EACH, "images", EACH, "image_annotation"),
    ),
    marks=(b'"usage_info"',),
    read=read,
    usage=usage,
    ends_with_body=True,
)
