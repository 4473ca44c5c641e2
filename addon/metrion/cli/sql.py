"""``metrion sql``: a query in, an answer on standard output. Changes nothing."""

from __future__ import annotations

import codecs
import re
import sys
from contextlib import closing
from itertools import chain

import click

from metrion.cli.options import ANSWER_FORMATS, format_option, settings_option
from metrion.cli.progress import progress
from metrion.errors import StoreError
from metrion.settings import Settings

_SECONDS = 60.0
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_LEAST_BYTES = 200 * 10**6
"""Less than this is not enough for DuckDB and Python themselves."""


class _Size(click.ParamType[int]):
    """An amount of memory, in bytes."""

    name = "size"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read ``500MB``, ``4GB`` or ``2GiB``."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)b?", value.strip(), re.IGNORECASE)
        size = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
        if size < _LEAST_BYTES:
            self.fail(f"{value!r} is not an amount of at least 200 MB; write 500MB or 4GB", param, ctx)
        return size


@click.command()
@click.argument("query", required=False)
@format_option(*ANSWER_FORMATS)
@click.option(
    "--timeout",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=_SECONDS,
    show_default=True,
    help="How long the query may compute; 0 is without end.",
)
@click.option(
    "--memory",
    "memory_bytes",
    metavar="SIZE",
    type=_Size(),
    help="How much memory the query may use: 500MB, 4GB.  [default: 1GiB, at most half of the machine's]",
)
@settings_option
def sql(query: str | None, format_: str, seconds: float, memory_bytes: int | None, settings: Settings) -> None:
    """Ask SQL (DuckDB's) about everything metered so far, while the proxy runs.

    QUERY is one statement. Without it, or with -, standard input is read. Rows are printed as they are found. Ctrl-C
    ends it.

    \b
    Examples, over the view `events`: one row per request, times in UTC.
      metrion sql "SELECT model, sum(cost_usd) FROM events GROUP BY ALL"
      metrion sql "DESCRIBE events"
      metrion sql --format csv - < query.sql
      metrion sql --timeout 600 --memory 4GB - < large.sql
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    if query is None and sys.stdin.isatty():
        raise click.UsageError('no query; try: metrion sql "SELECT * FROM events ORDER BY started_at DESC LIMIT 10"')
    if query in (None, "-"):
        query = sys.stdin.read()

    from metrion.cli import bounded

    job = {
        "journal_dir": str(settings.journal_dir),
        "store_path": str(settings.store_path),
        "query": query or "",
        "format": format_,
    }
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with closing(bounded.answer(job, seconds or None, memory_bytes or bounded.usual_memory())) as pieces:
            with progress("Asking"):
                first = next(pieces, b"")
            for piece in chain((first,), pieces):
                # color: else click cuts out of CSV what looks like one.
                click.echo(decoder.decode(piece), nl=False, color=True)
    except KeyboardInterrupt:
        raise StoreError("the query was ended by Ctrl-C") from None
