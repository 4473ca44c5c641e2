"""``metrion doctor``: what is well, what is not, and the way out, a line each; exit status 1 where something fails."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metrion.cli.options import format_option
from metrion.cli.progress import progress

if TYPE_CHECKING:  # DuckDB and more, which --help need not load
    from metrion.doctor import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


@click.command()
@click.option("--network", is_flag=True, help="See whether the providers can be reached, too; sends no key.")
@format_option("table", "json")
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration to use instead of $METRION_CONFIG or metrion.yaml in $METRION_HOME.",
)
def doctor(config: Path | None, network: bool, format_: str) -> int:
    """Check configuration, keys, prices, journal, store and proxy, each finding with its way out.

    Exit status 1 where something FAILs. Shows no secret, changes nothing, and works while the proxy runs.

    \b
    Examples:
      metrion doctor
      metrion doctor --network
      metrion doctor --format json
    """  # noqa: D301 (\b is click's mark for text that keeps its lines)
    from metrion.doctor import Level, examine

    findings = []
    checks = examine(config, os.environ, network=network)
    while (finding := _next(checks)) is not None:
        findings.append(finding)
        if format_ == "table":
            click.echo(_line(finding))
    if format_ == "json":
        records = [{"level": each.level, "what": each.what, "way_out": each.way_out} for each in findings]
        click.echo(json.dumps(records, indent=2, ensure_ascii=False))
    return int(any(finding.level is Level.FAIL for finding in findings))


def _next(checks: Iterator[Finding]) -> Finding | None:
    with progress("Checking"):
        return next(checks, None)


def _line(finding: Finding) -> str:
    level = click.style(f"{finding.level:<4}", fg=_COLOURS[finding.level])
    return f"{level}  {finding.what}" + (f"  — {finding.way_out}" if finding.way_out else "")
