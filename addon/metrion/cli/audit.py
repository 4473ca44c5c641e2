"""``metrion audit``: who changed what in the control data, and when. Changes nothing, and shows no secret."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC

import click

from metrion.cli.options import format_option, note, print_records, read_span, settings_option, span_options
from metrion.cli.printable import printable
from metrion.control import AuditEntry, ControlStore
from metrion.control.audit import described
from metrion.settings import Settings
from metrion.settings.timezones import zone

_HEADINGS = {"at": "at", "who": "who", "way": "by", "what": "what", "subject": "of", "details": "details"}


@click.command()
@span_options
@click.option("--who", metavar="NAME", help="Only changes of this admin, or user of the operating system.")
@click.option("--what", metavar="KIND", help="Only changes of this kind: token, token.create, key.set ….")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many, latest first.")
@format_option("table", "json", "csv")
@settings_option
def audit(
    since: str | None,
    until: str | None,
    who: str | None,
    what: str | None,
    limit: int,
    format_: str,
    settings: Settings,
) -> None:
    """Show who changed accounts, tokens, keys and more, and when.

    Each change is recorded as it is made, by the command line, the dashboard and the API. No entry can be changed or
    removed by Metrion, and none has a secret.

    \b
    Examples:
      metrion audit
      metrion audit --since 7d --what token
      metrion audit --who ann --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    span = read_span(since, until, zone(settings.timezone))
    start, end = (each and each.replace(tzinfo=UTC) for each in (span.since, span.until))
    with closing(ControlStore.open(settings)) as store:
        found = store.audit(since=start, until=end, who=who, what=what, limit=limit)
    records: list[Mapping[str, object]] = [_record(each) for each in found]
    if format_ == "table":
        records = [{**_record(each), "details": printable(described(each))} for each in found]
    print_records(records, _HEADINGS, format_)
    if not found and format_ == "table":
        note("No change is recorded that meets this.")


def _record(entry: AuditEntry) -> dict[str, object]:
    return {
        "id": entry.id,
        "at": entry.at,
        "who": entry.who,
        "way": entry.way,
        "what": entry.what,
        "subject": entry.subject,
        "details": dict(entry.details),
    }
