"""What the rows of refusals say: no status and code twice, and where a retry may help."""

from __future__ import annotations

import pytest

from metrion.admission import codes
from metrion.admission.codes import KINDS
from metrion.admission.limits import SECOND, WINDOW, Excess, refusal
from metrion.model import RefusalKind
from tests.admission.test_limits import forward


def test_all_rows_are_listed_by_their_status() -> None:
    rows = [row for row in vars(codes).values() if isinstance(row, RefusalKind)]
    assert list(KINDS) == rows
    assert [row.status for row in KINDS] == sorted(row.status for row in KINDS)
    assert len({(row.status, row.code) for row in KINDS}) == len(KINDS)


def test_a_retry_may_help_where_the_request_did_not_fail_by_its_own_fault_and_is_not_billed_again() -> None:
    assert [row.code for row in KINDS if not row.lasting] == ["rate_limited", "internal", "upstream_unreachable"]
    assert all(row.lasting for row in KINDS if row.status < 500 and row.status != 429)


@pytest.mark.parametrize("kind", [row for row in KINDS if row.retry_after], ids=lambda row: row.code)
def test_a_limit_that_is_used_up_says_when_it_passes(kind: RefusalKind) -> None:
    refused = refusal(forward(), Excess(kind, 3, SECOND, WINDOW))
    assert dict(refused.headers)[b"retry-after"] == b"1"


def test_only_limits_say_when_they_pass() -> None:
    assert [row.code for row in KINDS if row.retry_after] == ["rate_limited", "monthly_cap", "budget"]
