"""Measure what the proxy costs, against a direct call to the provider and against mitmdump without Metrion.

Everything is a difference or a ratio within one run: the targets take turns, so that whatever else the machine does
meets all of them. Prints a table, or one JSON document with --json. With --check the promises of docs/performance.md
are asserted, and the exit status is 1 where one is not kept, or where a request was not answered or has no event. Needs
no network, and ends by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from scripts.benchmark import (
    budgets,
    first_call,
    flows,
    latency,
    memory,
    metering,
    paced,
    sendings,
    streams,
    taps,
    throughput,
)
from scripts.benchmark.promises import Check, check
from scripts.benchmark.results import DEFAULT_SECONDS, Extent, Result
from scripts.benchmark.system import BenchError, allow_open_files, machine
from scripts.benchmark.targets import Fleet

MEASUREMENTS = (
    "requests", "latency", "streams", "paced", "first-call", "memory", "metering", "taps", "budgets", "sendings",
    "mitmweb",
)  # fmt: skip


def run(extent: Extent, only: Sequence[str], against: str | None) -> list[Result]:
    """Run the chosen measurements."""
    results: list[Result] = []
    allow_open_files()
    with (
        tempfile.TemporaryDirectory(prefix="metrion-bench-", ignore_cleanup_errors=True) as folder,
        Fleet(Path(folder), _say) as fleet,
    ):
        measurements: dict[str, Callable[[], Iterable[Result]]] = {
            "requests": lambda: throughput.measure(fleet, extent),
            "latency": lambda: latency.measure(fleet, extent),
            "streams": lambda: streams.measure(fleet, extent),
            "paced": lambda: paced.measure(fleet, extent),
            "first-call": lambda: first_call.measure(fleet, extent),
            "memory": lambda: memory.measure(fleet, extent),
            "metering": lambda: metering.measure(extent, against),
            "taps": lambda: taps.measure(extent),
            "budgets": lambda: budgets.measure(extent),
            "sendings": lambda: sendings.measure(extent),
            "mitmweb": lambda: flows.measure(fleet, extent),
        }
        for name in MEASUREMENTS:
            if name in only:
                _say(f"{name} …")
                results += measurements[name]()
                fleet.check()
    return results


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _show(results: Sequence[Result], checks: Sequence[Check]) -> None:
    rows = [(one.measurement, one.target, _shown(one.value), one.unit, one.against) for one in results]
    print(tabulate(rows, ("", "", "", "", "against"), disable_numparse=True, colalign=("left", "left", "right")))
    print()
    for one in checks:
        print(f"{'kept    ' if one.kept else 'NOT KEPT'}  {_shown(one.value):>7}  {one.promise}")


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a promise is not kept")
    parser.add_argument(
        "--seconds",
        type=float,
        default=DEFAULT_SECONDS,
        metavar="N",
        help=f"measure for about N seconds (default: {DEFAULT_SECONDS:g})",
    )
    parser.add_argument("--full", action="store_true", help="the long counts: many minutes more")
    parser.add_argument(
        "--only", nargs="+", choices=MEASUREMENTS, default=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS)
    )
    parser.add_argument("--against", metavar="COMMIT", help="measure the metering of this commit too")
    given = parser.parse_args()
    if given.seconds <= 0:
        parser.error("--seconds must be more than 0")
    return given


def main() -> int:
    """Run the command."""
    given = _given()
    try:
        results = run(Extent(given.seconds, given.full), given.only, given.against)
    except (BenchError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    checks = check(results)
    if given.json:
        document = {
            "machine": machine(),
            "seconds": given.seconds,
            "results": [asdict(result) for result in results],
            "checks": [asdict(one) for one in checks],
        }
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _show(results, checks)
    return int(given.check and not all(one.kept for one in checks))


if __name__ == "__main__":
    sys.exit(main())
