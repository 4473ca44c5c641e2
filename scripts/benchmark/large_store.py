"""Measure what reports, the dashboard and commands need over a store of many random events.

Makes a home of its own, by default of ten million events of 300 users, 50 tokens and 12 models at random, which is the
worst that sums can be made of; that takes minutes and two gigabytes of disk. With --home it stays, and is used again.
Prints a table, or JSON with --json. CPU seconds of all threads and memory depend little on what else the machine does:
these are what --check holds, beside the ratio of the proxy's times with and without browsers at the dashboard.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tabulate import tabulate

from metrion import reports
from scripts.benchmark import large_pages, large_proxy, store_events
from scripts.benchmark.results import Result
from tests.processes import METRION

COMMANDS = (
    *(("report", name) for name in reports.QUESTIONS),
    *(("report", "costs", "--by", by) for by in ("user", "model", "month", "tag:team")),
    ("report", "costs", "--by", "day", "--by", "user"),
    ("report", "costs", "--since", "7d"),
    ("report", "costs", "--timezone", "Europe/Berlin"),
    ("tail", "-n", "100", "--no-follow"),
    ("today",),
    ("run", "--quiet", "--", "true"),
)
MOST_MEGABYTES = 400
MOST_REPORT_CPU = 3.0
"""Seconds of all threads: two cores need half as long."""
PARTS = ("commands", "pages", "proxy")


def measure(home: Path, only: Iterable[str], rounds: int, seconds: float) -> Iterator[Result]:
    """Measure everything over a store."""
    parts: dict[str, Callable[[], Iterator[Result]]] = {
        "commands": lambda: _commands(home, rounds),
        "pages": lambda: large_pages.measure(home, rounds),
        "proxy": lambda: large_proxy.measure(home, seconds),
    }
    for name in only:
        print(f"{name} …", file=sys.stderr, flush=True)
        yield from parts[name]()


def _commands(home: Path, rounds: int) -> Iterator[Result]:
    for command in COMMANDS:
        ran = [store_events.run([*METRION, *command], home) for _ in range(rounds)]
        name = f"{command[0]}, {{}}"
        target = " ".join(command[1:]) or "-"
        yield Result(name.format("median"), target, statistics.median(one.seconds for one in ran), "s")
        yield Result(name.format("CPU"), target, min(one.cpu for one in ran), "s")
        yield Result(name.format("memory"), target, max(one.megabytes for one in ran), "MB")


def broken(results: Iterable[Result]) -> list[str]:
    """Return what is above its bound."""
    bounds = {"report, CPU": MOST_REPORT_CPU, "report, memory": MOST_MEGABYTES, "tail, CPU": large_pages.MOST_TAB_CPU,
              "tail, memory": MOST_MEGABYTES, "today, CPU": 0.3, "run, CPU": 3.0,
              **large_pages.BOUNDS, **large_proxy.BOUNDS}  # fmt: skip
    return [
        f"{one.measurement}, {one.target}: {one.value:.2f} {one.unit}, at most {bounds[one.measurement]:g}"
        for one in results
        if one.measurement in bounds and (one.value or 0) > bounds[one.measurement]
    ]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="scripts/bench-store", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="how many events (default: 10,000,000)")
    parser.add_argument("--users", type=int, default=300, help="how many users send them (default: 300)")
    parser.add_argument("--home", type=Path, help="keep the store here; what is there already is measured as it is")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="how often each page and command is asked (default: 5)")
    parser.add_argument("--seconds", type=float, default=60, help="how long the proxy has a load (default: 60)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bound is not kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metrion-bench-store-") as folder:
        home = given.home or Path(folder) / "home"
        results = []
        if not (home / "usage.duckdb").exists():
            print(f"A store of {given.events:,} events …", file=sys.stderr, flush=True)
            made = store_events.make(home, given.events, given.users)
            results = [Result("first sums, CPU", f"{given.events:,} events", made.cpu, "s"),
                       Result("first sums, memory", f"{given.events:,} events", made.megabytes, "MB")]  # fmt: skip
        results += measure(home, given.only, given.rounds, given.seconds)
    if given.json:
        print(json.dumps([[one.measurement, one.target, one.value, one.unit] for one in results], indent=1))
    else:
        rows = [(one.measurement, one.target, f"{one.value:.2f}", one.unit) for one in results]
        print(tabulate(rows, disable_numparse=True))
    for line in (problems := broken(results)):
        print(f"NOT KEPT  {line}", file=sys.stderr)
    return int(given.check and bool(problems))


if __name__ == "__main__":
    sys.exit(main())
