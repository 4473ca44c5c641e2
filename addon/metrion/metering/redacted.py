"""Masks the credentials of a request wherever its event repeats them: an event in, one fit to be stored out.

A provider may repeat the key that it was given, and a client its token, in anything that becomes a text of the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

from metrion.admission.redaction import Redactor
from metrion.model import COLUMN_TYPES, Event

_OURS = frozenset(
    {"request_id", "account", "token_name", "credential", "provider", "operation", "end_reason", "usage_source"}
    | {"cost_source", "price_version", "wire_format"}
)
"""Columns whose texts are Metrion's own."""
_TEXTS = tuple(name for name, kind in COLUMN_TYPES.items() if kind == "VARCHAR" and name not in _OURS)
_JSON = tuple(name for name, kind in COLUMN_TYPES.items() if kind == "JSON")
_MAPS = tuple(name for name, kind in COLUMN_TYPES.items() if kind.startswith("MAP") and name not in _OURS)

_values = attrgetter(*_TEXTS, *_JSON)
_maps = attrgetter(*_MAPS)


def redacted(event: Event, redactor: Redactor) -> Event:
    """Return the event without any credential in it; nearly always the same one."""
    texts = [text for text in _values(event) if text is not None]
    for each in _maps(event):
        if each:
            texts += each
            texts += (value for value in each.values() if isinstance(value, str))
    return _masked(event, redactor) if redactor.repeats("\n".join(texts)) else event


def _masked(event: Event, redactor: Redactor) -> Event:
    found: dict[str, Any] = {name: redactor.text(text) for name in _TEXTS if (text := getattr(event, name)) is not None}
    found |= {name: redactor.json(text) for name in _JSON if (text := getattr(event, name)) is not None}
    found |= {name: _masked_map(each, redactor) for name in _MAPS if (each := getattr(event, name))}
    return replace(event, **found)


def _masked_map(values: Mapping[str, Any], redactor: Redactor) -> Mapping[str, Any]:
    return {
        redactor.text(name): redactor.text(value) if isinstance(value, str) else value for name, value in values.items()
    }
