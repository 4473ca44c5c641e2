"""What an event used, rebuilt from its row: the counts from their columns, the rest from the provider's own usage.

In: a row. Out: the usage as it was when the response was read, and whether all of it is known. A price also depends on
what no column holds: modes, the video and the cached audio among the tokens, what other models did. All this is read
again from the column ``usage``, in the wire format of the response. Never raises: a usage that cannot be read is not
whole.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from decimal import Decimal
from functools import cache
from typing import Any

from metrion.admission.routing import Router
from metrion.dialects import FORMATS
from metrion.dialects.reading.usage_check import check
from metrion.model import EVENT_COLUMNS, CostSource, Inbound, Route, Usage
from metrion.repricing.rows import COUNTED, Row
from metrion.settings import Settings

_WITHOUT_COLUMN = tuple(
    each.name
    for each in fields(Usage)
    if each.name not in EVENT_COLUMNS and each.name not in ("raw", "provider_cost_usd")
)
_VERSIONED = re.compile(r"/v\d[^/]*/.*")


class Usages:
    """Rebuilds the usages of events."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._router = Router(settings)
        self._format_by_path = cache(self._routed_format)

    def rebuilt(self, row: Row) -> tuple[Usage, bool]:
        """Return the usage, and whether all of it is known that a price may depend on."""
        without_column = self._without_column(row)
        counted = {name: row[name] for name in COUNTED}
        charged = row["cost_usd"] if row["cost_source"] == CostSource.PROVIDER else None
        return Usage(**counted, **(without_column or {}), provider_cost_usd=charged), without_column is not None

    def _without_column(self, row: Row) -> dict[str, Any] | None:
        """Return what has no column; ``None``: it cannot be read any more."""
        if row["usage_source"] == "estimated" and row["usage"] is None:
            return {}  # the provider reported nothing that could have been read
        # Rows of before there was the column were read in the format that routing gives their path.
        wire_format = row["wire_format"] or self._format_by_path(row["provider"], row["method"], row["path"])
        usage = _read(wire_format, row["usage"], row["model"])
        return None if usage is None else {name: getattr(usage, name) for name in _WITHOUT_COLUMN}

    def _routed_format(self, provider: str, method: str | None, path: str | None) -> str | None:
        """Return the wire format of what comes back from a path, as routing says today."""
        configured = self._settings.providers.get(provider)
        if configured is None or not method or not path:
            return None
        # Then from its version on: the upstream may have had another prefix when the event was recorded.
        for own in (path.removeprefix(configured.prefix), *_VERSIONED.findall(path)):
            route = self._router.route(Inbound(method.encode(), f"/{provider}{own}".encode(), ()))
            if isinstance(route, Route) and route.dialect in FORMATS:
                return route.dialect
        return None


def _read(wire_format: str | None, text: str | None, model: str | None) -> Usage | None:
    """Read a provider's own usage; ``None``: its format is not known, or a count in it cannot be read."""
    form = FORMATS.get(wire_format or "")
    if form is None or text is None:
        return None
    try:
        document = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    checked = check(document, form, model=model)
    # A count that is missing here is no loss: the counts themselves are in columns.
    return None if checked.is_unreadable else checked.usage
