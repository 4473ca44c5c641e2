"""Single requests and sessions: rows of ``events``, read as narrowly as the sums allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from metrion.store.spans import sums
from metrion.web.blocks import Block, Column, Page
from metrion.web.filters import Filters
from metrion.web.narrowing import LONGEST
from metrion.web.reader import View

PAGE_ROWS = 50
_COLUMNS = [
    Column("started_at", "Time", "moment"),
    Column("event_id", "Request", links="request"),
    Column("status", "Status", links="status"),
    Column("provider", "Provider", links="provider"),
    Column("model", "Model", links="model"),
    Column("user", "User", links="user"),
    Column("token", "Token", links="token"),
    Column("input_tokens", "Input", "count"),
    Column("output_tokens", "Output", "count"),
    Column("cost_usd", "Cost", "small_usd"),
    Column("latency_ms", "Latency", "ms"),
]
_ROW = """started_at, event_id, status, provider, coalesce(model, model_requested) AS model, user_label, token_name,
    input_tokens, output_tokens, cost_usd, latency_ms"""


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of requests, and where the next begins."""

    page: Page
    next: str | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of single requests, the latest first, and where the next ones begin."""

    rows: Sequence[dict[str, Any]]
    next: str | None


def requests(view: View, filters: Filters, before: str | None) -> Listed:
    """List the latest requests; ``before`` is where the page before ended."""
    found = rows(view, filters, before, _ROW, PAGE_ROWS)
    block = Block(
        "list", "Requests", _COLUMNS, [tuple(row.values()) for row in found.rows], wide=True, open=True,
        empty="No request of this period meets the filters. Take one away, or choose a longer period.",
    )  # fmt: skip
    return Listed(Page("Requests", [block]), found.next)


def rows(view: View, filters: Filters, before: str | None, columns: str, limit: int) -> Rows:
    """Return at most so many of the latest requests. ``columns``: what is selected, what orders them included.

    Where only rows answer, a page is of at most 31 days, and the next begins where these do.
    """
    conditions, parameters = filters.conditions(of_rows=True)
    until = filters.until
    keyset = "true"
    if found := position(before):
        keyset = "(started_at, event_id) < ($before_at::TIMESTAMP, $before_id::UUID)"
        parameters |= {"before_at": found[0], "before_id": found[1]}
        until = min(until, found[0] + timedelta(microseconds=1))
    since = filters.whole_since or filters.since
    first = max(since, until - LONGEST) if filters.by_rows else _enough(view, filters, until, limit)
    kept = view.dicts(
        f"""SELECT {columns} FROM events
        WHERE started_at >= $first AND started_at < $until AND {keyset} AND {conditions}
        ORDER BY started_at DESC, event_id DESC LIMIT {limit + 1}""",  # noqa: S608 -- all of it is written here
        {**parameters, "first": first, "until": until},
    )
    shown = kept[:limit]
    following = None
    if len(kept) > limit:
        following = f"{shown[-1]['started_at'].isoformat()}_{shown[-1]['event_id']}"
    elif filters.by_rows and first > since:
        following = f"{first.isoformat()}_{UUID(int=0)}"
    return Rows(shown, following)


def _enough(view: View, filters: Filters, until: datetime, limit: int) -> datetime:
    """Return the latest hour from which on there are enough rows for a page, as the sums have it."""
    conditions, parameters = filters.conditions()
    rows = view.rows(
        f"""SELECT quarter, sum(responses) FROM ({sums(filters.keys(), filters.since, until, timedelta(hours=1))})
        WHERE {conditions} GROUP BY 1 ORDER BY 1 DESC LIMIT 2000""",  # noqa: S608 -- all of it is written here
        parameters,
    )
    counted = 0
    for n, (quarter, responses) in enumerate(rows):
        # The first hour may be cut by the cursor: its rows are not counted on.
        counted += int(responses) if n else 0
        if counted > limit + 1:
            return max(filters.since, datetime.fromisoformat(str(quarter)))
    return filters.since if len(rows) == 2000 or not rows else max(filters.since, rows[-1][0])


def position(text: str | None) -> tuple[datetime, UUID] | None:
    """Read where a page ended; ``None``: it says nothing of the kind."""
    at, _, event = (text or "").partition("_")
    try:
        moment = datetime.fromisoformat(at)
        return (moment.replace(tzinfo=None), UUID(event))
    except ValueError:
        return None


def one(view: View, event_id: UUID) -> dict[str, Any] | None:
    """Return a request with all its columns; ``None``: there is none."""
    span = _span_of(event_id)
    for condition in (["started_at BETWEEN $from_ AND $to_"] if span else []) + ["true"]:
        found = view.dicts(
            f"SELECT * FROM events WHERE event_id = $id AND {condition} LIMIT 1",  # noqa: S608 -- all of it is written here
            {"id": event_id, **(dict(zip(("from_", "to_"), span, strict=True)) if span else {})},
        )
        if found:
            return found[0]
    return None


def _span_of(event_id: UUID) -> tuple[datetime, datetime] | None:
    """Return when a request of this id may have started: a version 7 says when it was made."""
    if event_id.version != 7:
        return None
    try:
        made = datetime(1970, 1, 1) + timedelta(milliseconds=event_id.int >> 80)  # noqa: DTZ001 -- naive UTC
        return made - timedelta(days=1), made + timedelta(minutes=5)
    except OverflowError:
        return None


def siblings(view: View, row: Mapping[str, Any]) -> Block | None:
    """Return the other requests of a request's session, around it in time."""
    if not row["session_id"]:
        return None
    rows = view.rows(
        f"""SELECT {_ROW} FROM events WHERE session_id = $session AND event_id <> $id
            AND started_at BETWEEN $at::TIMESTAMP - INTERVAL 1 DAY AND $at::TIMESTAMP + INTERVAL 1 DAY
        ORDER BY started_at LIMIT 100""",  # noqa: S608 -- all of it is written here
        {"session": row["session_id"], "id": row["event_id"], "at": row["started_at"]},
    )
    return Block("session", "The other requests of its session", _COLUMNS, rows, wide=True, open=True,
                 empty="There are no others within a day.")  # fmt: skip


def attempts(view: View, row: Mapping[str, Any]) -> Block | None:
    """Return all rows of a request, if it has several: its attempts, or the responses of its connection."""
    if not row["request_id"]:
        return None
    rows = view.rows(
        """SELECT attempt, event_id, started_at, provider, coalesce(model, model_requested) AS model, status,
            end_reason, latency_ms, queued_ms, cost_source, cost_usd FROM events
        WHERE request_id = $request AND account IS NOT DISTINCT FROM $account
            AND started_at BETWEEN $at::TIMESTAMP - INTERVAL 1 DAY AND $at::TIMESTAMP + INTERVAL 1 DAY
        ORDER BY attempt, started_at, event_id LIMIT 100""",
        {"request": row["request_id"], "account": row["account"], "at": row["started_at"]},
    )
    if len(rows) < 2:
        return None
    retried = any((attempt or 1) > 1 for attempt, *_ in rows)
    title = "Its attempts" if retried else "The responses of its connection"
    return Block(
        "attempts", title,
        [Column("attempt", "Attempt", "count"), Column("event_id", "Request", links="request"),
         Column("started_at", "Time", "moment"), Column("provider", "Provider"), Column("model", "Model"),
         Column("status", "Status"), Column("end_reason", "Ended as"), Column("latency_ms", "Latency", "ms"),
         Column("queued_ms", "Waited", "ms"), Column("cost_source", "Source"), Column("cost_usd", "Cost", "exact_usd")],
        rows, note=f"This page shows attempt {row['attempt']}." if retried and row["attempt"] else "", wide=True,
        open=True,
    )  # fmt: skip


def parts(row: Mapping[str, Any], explanation: Mapping[str, Any]) -> Block:
    """Show each part of a cost as rate times count, where the price files still give both, and its price entry."""
    table = [
        tuple(each[name] for name in ("part", "count", "rate_usd", "per", "usd", "entry"))
        for each in explanation["parts"]
    ]
    why = _WHY.get(row["cost_source"], "")
    return Block(
        "parts", "What it cost",
        [Column("part", "Part"), Column("count", "Count", "count"), Column("rate_usd", "Rate", "exact_usd"),
         Column("per", "Per"), Column("usd", "Cost", "exact_usd"), Column("entry", "Price")],
        table, note=why, open=True, wide=True, empty=why or "It has no parts.",
    )  # fmt: skip


def prices(explanation: Mapping[str, Any]) -> Block | None:
    """Return the price entries that the parts come from, and why these."""
    if not explanation["prices"]:
        return None
    recorded, now = explanation["recorded_price_version"], explanation["price_version"]
    version = f"Price version {now}."
    if recorded != now:
        version = f"It was priced by price version {recorded or 'unknown'}, and the price files are version {now} now."
    names = ("entry", "because", "since", "until", "file", "source", "checked")
    return Block(
        "prices", "Where its prices are from",
        [Column("entry", "Price"), Column("because", "Why this one"), Column("since", "From"), Column("until", "Until"),
         Column("file", "File"), Column("source", "Source"), Column("checked", "Checked")],
        [tuple(each.get(name) for name in names) for each in explanation["prices"]], note=version, open=True, wide=True,
    )  # fmt: skip


_WHY: Mapping[str | None, str] = {
    "provider": "The provider said what it charged.",
    "computed": "Tokens times the price file's rates.",
    "estimated": "Its usage, or a part of its price, is an estimate.",
    "unpriced": "Its usage is known, and the model has no price: give it one, then `metrion reprice`.",
    "unknown": "It was billed, and its usage is not known, or not yet.",
    "not_billed": "There was nothing to bill.",
    "subscription": "A flat-rate plan covers it; what the API would have charged is beside it.",
    None: "It was billed, and its usage is not known, or not yet.",
}


def sessions(view: View, filters: Filters) -> Page:
    """List what runs of agents cost, the latest first."""
    conditions, parameters = filters.conditions(of_rows=True)
    first = filters.since if filters.by_rows else max(filters.since, filters.until - LONGEST)
    model = "coalesce(model, model_requested)"
    rows = view.rows(
        f"""SELECT max(started_at) AS last, session_id, min(client), min(user_label),
            string_agg(DISTINCT {model}, ', ' ORDER BY {model}), count(*), sum(input_tokens), sum(output_tokens),
            sum(cost_usd), date_diff('second', min(started_at), max(started_at)) * 1000.0
        FROM events WHERE started_at >= $first AND started_at < $until AND session_id IS NOT NULL AND {conditions}
        GROUP BY session_id ORDER BY last DESC, session_id LIMIT 100""",  # noqa: S608 -- all of it is written here
        {**parameters, "first": first, "until": filters.until},
    )
    block = Block(
        "list", "Sessions",
        [Column("last", "Last request", "moment"), Column("session", "Session", links="session"),
         Column("client", "Client", links="client"), Column("user", "User", links="user"), Column("models", "Models"),
         Column("requests", "Requests", "count"), Column("input_tokens", "Input", "short"),
         Column("output_tokens", "Output", "short"), Column("cost_usd", "Cost", "usd"),
         Column("lasted", "Lasted", "ms")],
        rows, wide=True, open=True,
        empty="No request of this period has a session. Claude Code and Codex send one by themselves.",
    )  # fmt: skip
    notes = ["Sessions are read from single rows: the last 31 days are shown."] if first > filters.since else []
    return Page("Sessions", [block], notes=notes)
