"""What commands share: how lists are printed, and which points in time are offered."""

from __future__ import annotations

import pytest

from metrion.cli import options
from metrion.reports import moments
from tests.pages import ROOT, sections

HEADINGS = ("name", "label", "state")
ROWS = [["laptop", "-", "active"], ["ci", "", "revoked"]]
WIDE = "name    label  state\n------  -----  -------\nlaptop  -      active\nci             revoked"


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (None, WIDE),
        (22, WIDE),
        (21, "name    state\n------  -------\nlaptop  active\nci      revoked"),
        (15, "name    state\n------  -------\nlaptop  active\nci      revoked"),
        (14, "name   laptop\nstate  active\n\nname   ci\nstate  revoked"),
    ],
)
def test_a_list_is_no_wider_than_the_terminal(width: int | None, expected: str) -> None:
    assert options._fitting(ROWS, HEADINGS, width) == expected


def test_an_empty_list_has_its_headings() -> None:
    for width in (None, 5):
        assert options._fitting([], HEADINGS, width).splitlines()[0].split() == list(HEADINGS)


def test_every_form_of_a_point_in_time_is_in_the_help_and_on_the_page() -> None:
    page = sections(ROOT / "docs" / "reports.md")["Points in time"]
    for name in moments._NAMED:
        assert name in options._MOMENTS
        assert f"| `{name}` |" in page
    for unit in moments._UNITS:
        assert any(f"{count}{unit}" in options._MOMENTS for count in ("90", "24", "7", "2"))
        assert any(f"`{count}{unit}`" in page for count in ("90", "24", "7", "2"))
