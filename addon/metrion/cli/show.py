"""``metrion show``: an event's id in, the event and why it cost what it did on standard output. Changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from metrion.cli.dollars import dollars
from metrion.cli.options import format_option, settings_option
from metrion.cli.printable import printable
from metrion.cli.progress import progress
from metrion.errors import StoreError

if TYPE_CHECKING:  # they import DuckDB and pydantic, which --help need not load
    from metrion.settings import Settings

_SOURCES: Mapping[str, str] = {
    "provider": "The provider said what it charged.",
    "computed": "Metrion computed it: the reported usage at the rates of that day.",
    "estimated": "Metrion computed it, and the usage or a part of the price is an estimate.",
    "unpriced": "The usage is known, and the price files have no price for it. `metrion report unpriced` says more.",
    "unknown": "Something was billed, and its usage is not known. `metrion report unpriced` says the way out.",
    "not_billed": "There was nothing to bill.",
    "subscription": "A flat-rate plan covers it; computed_cost_usd is what the API would have charged.",
}
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "request": (
        *("event_id", "request_id", "attempt", "started_at", "account", "token_name", "user_label", "credential"),
        *("client", "session_id", "provider", "operation", "method", "path", "model_requested", "streamed"),
    ),
    "answer": (
        *("model", "service_tier", "status", "end_reason", "error_type", "finish_reason", "generation_id"),
        *("provider_request_id", "client_retry", "wire_format"),
    ),
    "tokens": (
        *("usage_source", "input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
        *("input_audio_tokens", "input_image_tokens", "output_tokens", "reasoning_tokens", "output_audio_tokens"),
        *("output_image_tokens", "audio_seconds", "server_tools", "unreported_tools"),
    ),
    "times": ("latency_ms", "first_byte_ms", "overhead_ms", "queued_ms", "request_bytes", "response_bytes"),
    "more": ("tags", "policy", "provider_limits"),
}
"""What is shown under which heading. A column that is NULL is left out."""

_TIMES = "\N{MULTIPLICATION SIGN}"
_LAST = "FROM events WHERE started_at >= (SELECT max(started_at) FROM events) ORDER BY event_id DESC LIMIT 1"
_BY_ID = "FROM events WHERE event_id BETWEEN $low::UUID AND $high::UUID LIMIT 2"
_NEIGHBOURS = """
SELECT event_id, started_at, coalesce(model, model_requested) AS model, status, input_tokens, output_tokens, cost_usd
FROM events WHERE session_id = $session AND account IS NOT DISTINCT FROM $account
    AND started_at BETWEEN $at::TIMESTAMP - INTERVAL 31 DAYS AND $at::TIMESTAMP + INTERVAL 31 DAYS
ORDER BY abs(epoch_us(started_at) - epoch_us($at::TIMESTAMP)), event_id LIMIT 11"""


@click.command()
@click.argument("event")
@format_option("text", "json")
@settings_option
def show(settings: Settings, event: str, format_: str) -> None:
    """Show one request, and why it cost what it did.

    EVENT is an event_id (`metrion sql` and `metrion tail --format json` have it), its beginning, or `last`.

    \b
    Examples:
      metrion show last
      metrion show 019b2f0c-7
      metrion show last --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.repricing.explanation import explained

    with progress("Looking for the event"):
        row = _found(settings, event)
        explanation = explained(settings, row)
        session = _session(settings, row)
    if format_ == "json":
        from metrion.cli.tables import as_json
        from metrion.store import schema
        from metrion.store.query import Table

        (record,) = json.loads(as_json(Table(tuple(row), tuple(schema.COLUMN_TYPES.values()), [tuple(row.values())])))
        record |= {"why": _why(row), "cost_explained": explanation, "session": session}
        click.echo(json.dumps(record, indent=2, ensure_ascii=True, default=_plain))
        return
    for line in _lines(row, explanation, session):
        click.echo(line)


def _found(settings: Settings, event: str) -> dict[str, Any]:
    from metrion import store

    if event == "last":
        query, parameters = _LAST, {}
    else:
        digits = event.replace("-", "").lower()
        if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
            raise click.BadParameter(
                f"{event!r} is not an event_id, nor the beginning of one; it may also be `last`", param_hint="EVENT"
            )
        query, parameters = _BY_ID, {"low": digits.ljust(32, "0"), "high": digits.ljust(32, "f")}
    table = store.ask(settings.journal_dir, settings.store_path, query, parameters)
    if not table.rows:
        what = "no event yet" if event == "last" else f"no event {event}"
        raise StoreError(
            f"there is {what} in {settings.home}; `metrion tail --format json` shows the ids of the latest"
        )
    if len(table.rows) > 1:
        raise StoreError(f"several events begin with {event}; write more of the id")
    return dict(zip(table.columns, table.rows[0], strict=True))


def _why(row: Mapping[str, Any]) -> str:
    return _SOURCES.get(row["cost_source"] or "unknown", "")


def _session(settings: Settings, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what was asked around it in the same session, at most ten others, in the order of time."""
    from metrion import store

    if not row["session_id"]:
        return []
    parameters = {"session": row["session_id"], "account": row["account"], "at": row["started_at"]}
    table = store.ask(settings.journal_dir, settings.store_path, _NEIGHBOURS, parameters)
    rows = [dict(zip(table.columns, each, strict=True)) for each in table.rows]
    return sorted(rows, key=lambda each: (each["started_at"], str(each["event_id"])))


def _lines(row: Mapping[str, Any], explanation: Mapping[str, Any], session: list[dict[str, Any]]) -> Iterator[str]:
    for heading, columns in _GROUPS.items():
        known = {name: _text(row[name]) for name in columns if row[name] not in (None, {}, "")}
        if known:
            yield from (click.style(heading, bold=True), *(f"  {name:<22}{text}" for name, text in known.items()), "")
    yield click.style("cost", bold=True)
    yield f"  {_amount(row)}  {_why(row)}"
    for name in ("computed_cost_usd", "cost_at_least_usd"):
        if row[name] is not None and row[name] != row["cost_usd"]:
            yield f"  {name:<22}{row[name]:f}"
    for part in explanation["parts"]:
        product = f"{part['count']:,} {_TIMES} ${part['rate_usd']:f} per {part['per']} = " if part["per"] else ""
        yield f"  {printable(part['part']):<22}{product}${part['usd']:f}"
    for price in explanation["prices"]:
        yield f"  price of {printable(_price(price))}"
    recorded, now = explanation["recorded_price_version"], explanation["price_version"]
    if explanation["parts"] and recorded != now:
        yield f"  It was priced by price version {recorded}, and the price files are version {now} now."
    if session:
        yield from ("", click.style("session", bold=True))
        for each in session:
            mark = ">" if each["event_id"] == row["event_id"] else " "
            cost = "-" if each["cost_usd"] is None else f"${dollars(each['cost_usd'])}"
            model = printable(str(each["model"] or "-"))
            started = f"{each['started_at']:%Y-%m-%d %H:%M:%S}"
            yield f"{mark} {started}  {each['event_id']}  {model}  {each['status']}  {cost}"


def _amount(row: Mapping[str, Any]) -> str:
    return f"{row['cost_source'] or 'unknown'}" if row["cost_usd"] is None else f"${row['cost_usd']:f}"


def _price(price: Mapping[str, Any]) -> str:
    days = [f"{word} {price[name]}" for word, name in (("from", "since"), ("until", "until")) if price.get(name)]
    where = [f"in {price['file']}"] if price["file"] else []
    source = [f"source {price['source']}"] if price["source"] else []
    checked = [f"checked {price['checked']}"] if price["checked"] else []
    why = [price["because"]] if price["because"] else []
    return ", ".join([f"{price['entry']} {' '.join(days)}".rstrip(), *where, *source, *checked, *why])


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return printable(", ".join(f"{name}={each}" for name, each in value.items()))
    if isinstance(value, bool):
        return str(value).lower()
    return printable(f"{value:,}" if isinstance(value, int | float) and abs(value) >= 1000 else str(value))


def _plain(value: object) -> str:
    from datetime import datetime

    if isinstance(value, datetime):
        return value.isoformat() + "Z"
    return format(value, "f") if isinstance(value, Decimal) else str(value)
