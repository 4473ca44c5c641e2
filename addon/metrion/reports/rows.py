"""What questions read: the rows of a span as SQL, and their sums by the columns that a question needs.

In: the text of a question. Out: the same text, in which ``rows_asked()``, ``sums_by(COLUMN, …)`` and
``failures_by(COLUMN, …)``, the sums of what failed, have become subqueries for the span. Pure.

Sums come from the coarsest of the store's tables that has the columns (:mod:`metrion.store.spans`); those by a tag from
the rows. Of the rows, only those whose cost is not known are compared with what settles them, and only those of which a
request may have several keep their ``request_id``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from metrion.store import rollups, spans
from metrion.store.schema import literal
from metrion.store.spans import Moment

_SPAN = (
    "started_at >= coalesce($since::TIMESTAMP, '-infinity') AND started_at < coalesce($until::TIMESTAMP, 'infinity')"
)
_NO_TAG = "ELSE NULL  -- tag:NAME"
"""What a query has in place of tags: only sums by tags have them."""
_IS_APART = f"(cost_source = 'unknown' OR coalesce({rollups.SHARED}, false))"
_OLDEST, _NEWEST = datetime(2020, 1, 1), datetime(2040, 1, 1)  # noqa: DTZ001 -- naive UTC, as in the store

_KEYS_OF: Mapping[str, str] = {"user": "user_label", "token": "token_name"}
"""The column of the sums that has what to group by, where its name is another."""
_DAYS = ("day", "month")

_MEASURES = ", ".join(f"{made} AS {name}" for name, made in rollups.ADDED_UP.items())


def expanded(question: str, by: Sequence[str], since: Moment, until: Moment, timezone: str, only: str = "") -> str:
    """Return a question's SQL with its rows and sums in it; ``by`` is what ``sums_by($by, …)`` is by.

    Its sums have each of :data:`~metrion.store.rollups.KEYS`, which is NULL where it was not asked for, and beside it
    ``local_day``, as the zone has it, and ``tag_1`` and so on, of each tag in ``by``. ``only`` is SQL that rows of
    ``events`` must meet: then rows answer, and no sums.
    """
    tags = [kind.removeprefix("tag:") for kind in by if kind.startswith("tag:")]
    first, last = since or _OLDEST, until or _NEWEST

    def sums(found: re.Match[str]) -> str:
        names = [name.strip() for name in found[2].split(",")]
        kinds = by if "$by" in names else ()
        condition, needed = ("failed", ("failed",)) if found[1] == "failures" else ("true", ())
        wanted = {*names, *needed, *(_KEYS_OF.get(kind, kind) for kind in kinds)}
        keys = [name for name in rollups.KEYS if name in wanted]
        by_day = any(kind in _DAYS for kind in kinds)
        if only or (kinds and tags):
            day = rollups.KEYS["quarter"][1] if by_day else "NULL::TIMESTAMP"
            named = [f"tags[{literal(tag)}] AS tag_{n + 1}" for n, tag in enumerate(tags)] if kinds else []
            picked = [f"{day} AS quarter", *named]
            source = rollups.rolled_up(f"FROM {_rows(only)}", *picked, keys=keys)
        else:
            picked = []
            source = spans.sums(keys, since, until, spans.within(first, last, timezone) if by_day else None)
        day = f"date_trunc('day', {spans.local('quarter', first, last, timezone)})" if by_day else "NULL::TIMESTAMP"
        listed = ", ".join([*keys, "local_day", *(f"tag_{n + 1}" for n in range(len(picked) - 1))])
        others = ", ".join(f"NULL::{kind} AS {name}" for name, (kind, _) in rollups.KEYS.items() if name not in keys)
        return f"""(
    SELECT {listed}, {_MEASURES}, {others}
    FROM (SELECT *, {day} AS local_day FROM ({source}) WHERE {condition}) GROUP BY {listed}
)"""  # noqa: S608 -- all of it is written here, or a literal

    case = " ".join(f"WHEN {literal(f'tag:{tag}')} THEN tag_{n + 1}" for n, tag in enumerate(tags))
    if case:
        question = question.replace(_NO_TAG, f"{case} ELSE NULL")
    return re.sub(r"(sums|failures)_by\(([^)]*)\)", sums, question).replace("rows_asked()", _rows(only))


def _rows(only: str) -> str:
    """Return a query for the rows of the span that meet a condition."""
    asked = f"{_SPAN} AND {only}" if only else _SPAN
    return f"""(
    SELECT * REPLACE (NULL::VARCHAR AS request_id), false AS settled_later,
        cost_source NOT IN ('not_billed', 'subscription') AS billed
    FROM events WHERE cost_source <> 'unknown' AND NOT coalesce({rollups.SHARED}, false) AND {asked}
    UNION ALL SELECT * FROM billing WHERE {_IS_APART} AND {asked}
)"""  # noqa: S608 -- all of it is written here
