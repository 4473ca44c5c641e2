"""Mistral's OCR, which is billed by the page.

Source: ``OCRResponse`` in the mistralai SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, label
from metrion.dialects.figures import Figures
from metrion.documents import Object
from metrion.model import Usage

PAGES = "pages_processed"


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what a document that was read says."""
    draft.model = label(document.get("model"), draft.model)
    usage = document.get("usage_info")
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source


def usage(figures: Figures) -> Usage:
    """Read an ``OCRUsageInfo``."""
    pages = figures.count(PAGES)
    return Usage(server_tools=None if pages is None else {PAGES: pages} if pages else {})


DIALECT = Dialect(wanted=(("model",), ("usage_info",)), marks=(b'"usage_info"',), read=read, usage=usage)
