"""The values that travel through Metrion, from the request head to the stored event.

Plain frozen dataclasses and records, standard library only. Everywhere ``None`` means *not reported* or *not known*; it
is never a zero. Money is :class:`~decimal.Decimal` in US dollars, times are UTC, sizes are bytes. Heads are bytes, as
on the wire: what is only forwarded is never decoded and encoded again.
"""

from __future__ import annotations

from metrion.model.answer import Cost, CostSource, EndReason, Reading, Usage
from metrion.model.budget import PICODOLLARS, Budget, Reservation, dollars, picodollars
from metrion.model.event import COLUMN_TYPES, EVENT_COLUMNS, MONEY, Event
from metrion.model.guarding import GuardLimits, OwnGuard
from metrion.model.operation import Naming, Operation
from metrion.model.request import (
    Answer,
    Asked,
    Caller,
    CredentialPlace,
    ErrorShape,
    Forward,
    Head,
    Headers,
    Inbound,
    LabelRules,
    Origin,
    Quota,
    Refusal,
    RefusalKind,
    Route,
    TokenRules,
    first_values,
)

__all__ = [
    "COLUMN_TYPES",
    "EVENT_COLUMNS",
    "MONEY",
    "PICODOLLARS",
    "Answer",
    "Asked",
    "Budget",
    "Caller",
    "Cost",
    "CostSource",
    "CredentialPlace",
    "EndReason",
    "ErrorShape",
    "Event",
    "Forward",
    "GuardLimits",
    "Head",
    "Headers",
    "Inbound",
    "LabelRules",
    "Naming",
    "Operation",
    "Origin",
    "OwnGuard",
    "Quota",
    "Reading",
    "Refusal",
    "RefusalKind",
    "Reservation",
    "Route",
    "TokenRules",
    "Usage",
    "dollars",
    "first_values",
    "picodollars",
]
