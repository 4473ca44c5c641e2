"""What questions read: the rows of a span as SQL, and their sums by the columns that a question needs.

In: the text of a question. Out: the same text, in which ``rows_asked()`` and ``sums_by(COLUMN, …)`` have become
subqueries between ``$since`` and ``$until``. Pure.

A question groups rows by a few columns and so reads a few: ten million rows are added up in less time than the sums of
each quarter by every key, of which there are nearly as many where callers are many. Only rows whose cost is not known
are compared with what settles them, and only rows of which a request may have several keep their ``request_id``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from metrion.store import rollups

_SPAN = (
    "started_at >= coalesce($since::TIMESTAMP, '-infinity') AND started_at < coalesce($until::TIMESTAMP, 'infinity')"
)
_IS_APART = f"(cost_source = 'unknown' OR coalesce({rollups.SHARED}, false))"
_ROWS = f"""(
    SELECT * REPLACE (NULL::VARCHAR AS request_id), false AS settled_later,
        cost_source NOT IN ('not_billed', 'subscription') AS billed
    FROM events WHERE cost_source <> 'unknown' AND NOT coalesce({rollups.SHARED}, false) AND {_SPAN}
    UNION ALL SELECT * FROM billing WHERE {_IS_APART} AND {_SPAN}
)"""  # noqa: S608 -- all of it is written here

_KEYS_OF: Mapping[str, str] = {
    "month": "quarter",
    "day": "quarter",
    "user": "user_label",
    "token": "token_name",
}
"""The column of the sums that has what to group by, where its name is another."""


def expanded(question: str, by: Sequence[str]) -> str:
    """Return a question's SQL with its rows and sums in it; ``by`` is what ``sums_by($by, …)`` is by."""

    def sums(found: re.Match[str]) -> str:
        names = [name.strip() for name in found[1].split(",")]
        if "$by" in names:
            names += [_KEYS_OF.get(kind, kind) for kind in by]
        keys = [name for name in rollups.KEYS if name in names]
        others = ", ".join(f"NULL::{kind} AS {name}" for name, (kind, _) in rollups.KEYS.items() if name not in keys)
        tags = ["tags"] if any(kind.startswith("tag:") for kind in by) else []
        return f"(SELECT *, {others} FROM ({rollups.rolled_up(f'FROM {_ROWS}', *tags, keys=keys)}))"  # noqa: S608 -- as above

    return re.sub(r"sums_by\(([^)]*)\)", sums, question).replace("rows_asked()", _ROWS)
