"""What a budget adds to a request: to find it, to hold what the request may cost, and to count what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterator

from scripts.benchmark.budgets_program import BOUND, FREE
from scripts.benchmark.results import Extent, Result
from scripts.benchmark.system import ROOT, running_program

COST = "metering with a budget, CPU per request"
ADDED = "a budget, CPU added to a request"
TARGET, WITHOUT = "now", "without one"


def measure(extent: Extent) -> Iterator[Result]:
    """See the module."""
    with running_program(
        "scripts.benchmark.budgets_program", str(extent.part(0.05)), path=f"{ROOT / 'addon'}:{ROOT}"
    ) as program:
        measured: dict[str, float] = json.loads(program.read_line())
    yield Result(COST, TARGET, measured[BOUND], "µs")
    yield Result(COST, TARGET, measured[BOUND] / measured[FREE], "ratio", WITHOUT)
    yield Result(ADDED, TARGET, measured[BOUND] - measured[FREE], "µs")
