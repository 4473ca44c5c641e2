"""Every kind of refusal of the contract, found by its status and code."""

from __future__ import annotations

from metrion.admission.codes import KINDS
from metrion.model import RefusalKind

UNUSED = (
    RefusalKind(429, "budget", "", lasting=True, retry_after=True),
    RefusalKind(504, "upstream_unreachable", ""),
)
"""What the contract has and nothing refuses for yet."""

_KINDS = {(row.status, row.code): row for row in (*KINDS, *UNUSED)}


def kind(status: int, code: str) -> RefusalKind:
    """The row of a status and a code."""
    return _KINDS[status, code]
