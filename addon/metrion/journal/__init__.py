"""Events as lines of JSON on their way to the store: segments that survive the death of their writer."""

from __future__ import annotations

from metrion.journal.writer import Journal

__all__ = ["Journal"]
