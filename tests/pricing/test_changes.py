"""What differs between two price files, as a person is shown it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from metrion.pricing.changes import Change, Changes, changes
from metrion.pricing.files import last_checked, read_entries

DAY = date(2026, 11, 20)
CASES = {
    "nothing": ("o: {m: {input: 1}}", "o: {m: {input: 1.0}}", Changes((), (), {})),
    "a model more": ("o: {m: {input: 1}}", "o: {m: {input: 1}, n: {input: 2}}", Changes(("o/n",), (), {})),
    "a model less": ("o: {m: {input: 1}}", "{}", Changes((), ("o/m",), {})),
    "a rate": (
        "o: {m: {input: 2.50, output: 10}}",
        "o: {m: {input: 2, output: 10}}",
        Changes((), (), {"o/m": (Change("input", "2.5", "2"),)}),
    ),
    "a rate more": ("o: {m: {input: 1}}", "o: {m: {input: 1, output: 0}}",
                    Changes((), (), {"o/m": (Change("output", "", "0"),)})),
    "a fee": ("o: {m: {input: 1, fees: {web_search: 10}}}", "o: {m: {input: 1}}",
              Changes((), (), {"o/m": (Change("web_search (per 1,000)", "10", ""),)})),
    "a threshold": (
        "o: {m: {input: 1, above: {200000: {input: 2}}}}",
        "o: {m: {input: 1, above: {200000: {input: 3}}}}",
        Changes((), (), {"o/m": (Change("input", "1, above 200000: 2", "1, above 200000: 3"),)}),
    ),
    "a tier": (
        "o: {m: {input: 1, service_tiers: {batch: {input: 0.5}}}}",
        "o: {m: {input: 1, service_tiers: {batch: {input: 0.4}}}}",
        Changes((), (), {"o/m": (Change("batch input", "0.5", "0.4"),)}),
    ),
    "another name": ("o: {m: {input: 1}}", "o: {m: {input: 1, match: n}}", Changes((), (), {"o/m": ()})),
    "a rate that holds later": (
        "o: {m: {rates: [{input: 1}]}}",
        "o: {m: {rates: [{input: 1, until: 2027-01-01}, {input: 2, from: 2027-01-01}]}}",
        Changes((), (), {"o/m": ()}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_differs(case: str) -> None:
    before, after, found = CASES[case]
    old, new = (read_entries(Path("prices.yaml"), text.encode()) for text in (before, after))
    assert changes(old, new, DAY) == found
    assert bool(found) is (case != "nothing")


@pytest.mark.parametrize(
    ("text", "day"),
    [
        (b"o:\n  m: {input: 1}\n", None),
        (b"o:\n  m:\n    checked: 2026-11-20\n  n:\n    checked: 2026-11-21\n", date(2026, 11, 21)),
        (b"# checked: 2027-01-01\no:\n  m:\n    checked: '2026-02-30'\n", None),
    ],
)
def test_when_a_file_was_checked_last(text: bytes, day: date | None) -> None:
    assert last_checked(text) == day
