"""``metrion sql``: a query in, an answer on standard output. Changes nothing."""

from __future__ import annotations

import sys

import click

from metrion.cli.options import ANSWER_FORMATS, format_option, settings_option
from metrion.settings import Settings


@click.command()
@click.argument("query", required=False)
@format_option(*ANSWER_FORMATS)
@settings_option
def sql(query: str | None, format_: str, settings: Settings) -> None:
    """Ask SQL (DuckDB's) about everything metered so far, while the proxy runs.

    QUERY is one statement. Without it, or with -, standard input is read.

    \b
    Examples, over the view `events`: one row per request, times in UTC.
      metrion sql "SELECT model, sum(cost_usd) FROM events GROUP BY ALL"
      metrion sql "DESCRIBE events"
      metrion sql --format csv - < query.sql
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    if query is None and sys.stdin.isatty():
        raise click.UsageError('no query; try: metrion sql "SELECT * FROM events ORDER BY started_at DESC LIMIT 10"')
    if query in (None, "-"):
        query = sys.stdin.read()

    from metrion import store
    from metrion.cli.tables import FORMATS  # it imports DuckDB, which --help need not load

    table = store.ask(settings.journal_dir, settings.store_path, query or "")
    click.echo(FORMATS[format_](table), nl=False)
