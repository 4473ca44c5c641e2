"""What a budget adds to a request, with no network around it: a program.

    PYTHONPATH=addon:. python -m scripts.benchmark.budgets_program SECONDS

Prints one JSON document: microseconds of this process's CPU for a whole request that no budget binds, and for one that
a budget of its token binds. The body is read for its model beforehand, and is in neither.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from metrion.budgets.changing import open_control
from metrion.model import Asked, Budget, EndReason, picodollars
from metrion.relay.asked import read
from scripts.benchmark.metering_program import BATCH, Case, cases, gateway

FREE, BOUND = "free", "bound"


def run(behind: Any, case: Case, asked: Asked) -> None:
    """Take one request from its head to its event."""
    began = time.perf_counter()
    decision = behind.decide(case.inbound)
    if behind.needs_body(decision):
        decision = behind.within_rules(decision, asked)
    decision = behind.within_limits(decision)
    attempt = behind.begin(id(case), case.inbound, decision, began=began)
    attempt.request_head_sent()
    attempt.request_data(case.body)
    attempt.response_head(decision.route, case.status, case.headers)
    for piece in case.pieces:
        attempt.response_data(piece)
    behind.finish(attempt, EndReason.COMPLETE)
    behind.forget(id(case))


def prepared(home: Path, *, is_bound: bool) -> tuple[Any, Sequence[tuple[Case, Asked]]]:
    """Return a gateway, and the requests that it is to meter."""
    home.mkdir()
    behind, token = gateway(home)
    if is_bound:
        with open_control(behind.settings) as control:
            control.set_budget(Budget(0, "token", "bench", picodollars(Decimal(10**6)), "month"))
    return behind, [(case, read(case.body)) for case in cases(token)["plain"]]


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="metrion-bench-") as folder:
        kinds = {name: prepared(Path(folder) / name, is_bound=name == BOUND) for name in (FREE, BOUND)}
        best: dict[str, float] = {}
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(best) < len(kinds):
            for name, (behind, requests) in kinds.items():
                for batch in itertools.batched(requests, BATCH):
                    started = time.process_time()
                    for case, asked in batch:
                        run(behind, case, asked)
                    took = (time.process_time() - started) / len(batch) * 1e6
                    best[name] = min(best.get(name, took), took)
        print(json.dumps(best))
        for behind, _ in kinds.values():
            behind.close()


if __name__ == "__main__":
    main()
