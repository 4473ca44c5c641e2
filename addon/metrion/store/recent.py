"""What was metered since yesterday, added up: what a prompt asks at each turn, answered without DuckDB.

The sums of what is in the store are in a small file beside it, by quarter of an hour, account and token; every zone's
midnight begins a quarter. The ingester adds each batch to it, and a reader adds the journal's lines above the
watermarks. The file says of which state of the store it is, and is believed only while the store is as it was then:
after a repricing, or where an older Metrion ingested, the first reader writes it anew, with DuckDB.

In: where journal and store are, and since when. Out: :class:`Spent`, the figures of ``metrion report costs``. Nothing
is lost with the file.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metrion.errors import StoreError
from metrion.store import locks

if TYPE_CHECKING:
    import duckdb

KEPT_SECONDS = 26 * 3600
"""How far back the file goes: the longest day has 25 hours."""
_QUARTER = 15 * 60
_VERSION = 2
_MOST_ROWS = 50_000
"""Of a longer file the reading would take longer than DuckDB does."""
NEVER_DEFERRED = ("chat", "messages", "responses", "generate_content", "embeddings")
"""What nearly all operations are. What knows of the others takes a while to import."""
_SENTINEL = "0-sentinel.ndjson"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- events have naive UTC times

type _State = list[int]


@dataclass(frozen=True, slots=True)
class Spent:
    """Figures as those of ``metrion report costs``: what has no cost is in no sum, and counted beside it."""

    requests: int = 0
    cost_usd: Decimal | None = Decimal(0)
    """``None``: something was billed, and the cost of nothing is known."""
    unpriced: int = 0
    unknown: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def without_cost(self) -> int:
        """How many requests are in no sum."""
        return self.unpriced + self.unknown


def spent(
    journal_dir: Path,
    store_path: Path,
    since: datetime,
    *,
    account: str | None = None,
    token: str | None = None,
    patience: float = 2.0,
) -> Spent:
    """Add up what was metered from ``since`` on, which is naive UTC and the start of a quarter; filters are names.

    Where the file beside the store is of another state, or does not go back far enough, it is written anew.

    :raises StoreError: the store cannot be read, or others write into it for longer than ``patience``, in seconds.
    """
    if not store_path.parent.is_dir():
        return Spent()
    began = int(since.replace(tzinfo=UTC).timestamp())
    try:
        # The lock, so that no line moves from the journal into the store in between.
        with locks.reading(store_path, patience):
            found = load(store_path)
            if found is None or found["since"] > began:
                found = _from_store(store_path, began, patience)
                with suppress(OSError):  # then the next reader does the same
                    write(store_path, found)
            lines = list(_lines(journal_dir, found["watermarks"]))
    except locks.Busy:
        raise StoreError(f"{store_path} is being written for unusually long; try again") from None
    except OSError as error:
        raise StoreError(f"{error.filename or store_path}: cannot be read: {error.strerror or error}") from error

    def is_wanted(quarter: int, its_account: str | None, its_token: str | None) -> bool:
        return quarter * _QUARTER >= began and account in (None, its_account) and token in (None, its_token)

    return _sum(found, lines, is_wanted)


def _from_store(store_path: Path, since: int, patience: float) -> dict[str, Any]:
    import duckdb

    from metrion.store import schema

    deadline = time.monotonic() + patience
    while True:
        try:
            with closing(duckdb.connect(str(store_path), read_only=True, config=schema.CONFIG)) as connection:
                quarter = min(since, int(time.time()) - KEPT_SECONDS) // _QUARTER
                sums = _added_up(connection, "ingested", quarter)
                marks = dict(connection.execute("SELECT writer, seq FROM watermarks").fetchall())
                return {**_nothing(), "since": quarter * _QUARTER, "watermarks": marks, **sums}
        except duckdb.Error as error:
            locked = isinstance(error, duckdb.IOException) and "lock on file" in str(error)
            if not locked or time.monotonic() >= deadline:
                why = "is open for writing in another process" if locked else f"cannot be read: {error}"
                raise StoreError(f"{store_path} {why}") from error
            time.sleep(0.05)  # DuckDB gives no way to wait for a file


# --- the file ---------------------------------------------------------------------------------------------------------


def load(store_path: Path) -> dict[str, Any] | None:
    """Read the file. ``None``: there is none of the store's present state. The caller holds a lock of the store."""
    state = _state(store_path)
    if not state:  # there is no store yet
        return _nothing()
    try:
        found: dict[str, Any] = json.loads(_path(store_path).read_bytes())
    except (OSError, ValueError):
        return None
    return found if found.get("version") == _VERSION and found.get("state") == state else None


def with_batch(
    found: Mapping[str, Any] | None, connection: duckdb.DuckDBPyConnection, batch: str, table: str, watermarks: str
) -> dict[str, Any] | None:
    """Return the sums as they will be once the rows of ``batch`` above their watermarks are in ``table``.

    ``None`` where there is nothing to add to: then a reader adds everything up, if one ever asks.
    """
    if found is None and connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is None:  # noqa: S608 -- ours
        found = _nothing()
    if found is None:
        return None
    from metrion.store.schema import above_watermark

    earliest = (int(time.time()) - KEPT_SECONDS) // _QUARTER
    added = _added_up(connection, f"({above_watermark(batch, watermarks)})", earliest)
    marks = dict(found["watermarks"])
    for writer, seq in connection.execute(f"SELECT writer, max(seq) FROM {batch} GROUP BY writer").fetchall():  # noqa: S608 -- ours
        marks[writer] = max(seq, marks.get(writer, 0))
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for quarter, account, token, *figures in (*found["groups"], *added["groups"]):
        if quarter >= earliest:
            known = groups.setdefault((quarter, account, token), figures)
            if known is not figures:
                known[:] = map(_plus, known, figures)
    lists: dict[str, list[Any]] = {name: [] for name in ("repeated", "unsettled", "settling")}
    for name, kept in lists.items():
        both = (*map(tuple, found[name]), *map(tuple, added[name]))
        # Every row whose usage is not known counts, of the others each id once.
        kept += [each for each in (both if name == "unsettled" else dict.fromkeys(both)) if each[0] >= earliest]
    return {
        "version": _VERSION,
        "since": max(found["since"], earliest * _QUARTER),
        "watermarks": marks,
        "groups": [[*who, *figures] for who, figures in groups.items()],
        **lists,
    }


def _plus(one: Any, other: Any) -> Any:
    """Add two figures. An amount is a decimal or its text, and ``None`` adds nothing."""
    if one is None or other is None:
        return other if one is None else one
    return one + other if isinstance(one, int) else Decimal(one) + Decimal(other)


def write(store_path: Path, found: Mapping[str, Any]) -> None:
    """Write the file. The caller holds a lock of the store, so that it is in the state which was added up."""
    path = _path(store_path)
    if sum(len(found[name]) for name in _QUERIES) > _MOST_ROWS:
        path.unlink(missing_ok=True)
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({**found, "state": _state(store_path)}, file, default=str)
        os.replace(temporary, path)  # noqa: PTH105 -- both are paths of the same folder
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 -- as above
        raise


def _added_up(connection: duckdb.DuckDBPyConnection, rows: str, quarter: int) -> dict[str, list[Any]]:
    from metrion.store.rollups import DEFERRED_OPERATIONS
    from metrion.store.schema import literal

    deferred = ", ".join(map(literal, DEFERRED_OPERATIONS))
    since = {"since": quarter * _QUARTER * 1_000_000}
    return {
        name: connection.execute(query.format(rows=rows, deferred=deferred), since).fetchall()
        for name, query in _QUERIES.items()
    }


def _nothing() -> dict[str, Any]:
    return {"version": _VERSION, "since": 0, "watermarks": {}, **{name: [] for name in _QUERIES}}


def _state(store_path: Path) -> _State:
    """Return a value that changes whenever the store does; empty: there is none."""
    with suppress(FileNotFoundError):
        stat = store_path.stat()
        state = [stat.st_ino, stat.st_mtime_ns, stat.st_size]
        with suppress(FileNotFoundError):  # a killed writer's changes are in its write-ahead log
            log = store_path.with_name(f"{store_path.name}.wal").stat()
            state += [log.st_mtime_ns, log.st_size]
        return state
    return []


def _path(store_path: Path) -> Path:
    return store_path.with_name(f".{store_path.name}.recent")


_RECENT = "FROM {rows} WHERE started_at >= make_timestamp($since)"
_QUARTER_OF = f"CAST(floor(epoch(started_at) / {_QUARTER}) AS BIGINT) AS quarter"
_WHO = f"{_QUARTER_OF}, account, token_name"
_SOURCE = "coalesce(cost_source, 'unknown')"
_BILLED = f"{_SOURCE} NOT IN ('not_billed', 'subscription')"
_REPEATS = "(status = 101 OR attempt > 1 OR coalesce(end_reason, '') = 'retried')"
"""Rows of which a request may have several: those of sessions and of attempts."""

_QUERIES: Mapping[str, str] = {
    "groups": f"""SELECT {_WHO}, count(*) FILTER ({_REPEATS} IS NOT true), sum(cost_usd) FILTER ({_BILLED}),
        count(cost_usd) FILTER ({_BILLED}), count(*) FILTER ({_SOURCE} = 'unpriced'),
        count(*) FILTER ({_SOURCE} = 'unknown' AND generation_id IS NULL),
        CAST(sum(input_tokens) AS BIGINT), CAST(sum(output_tokens) AS BIGINT) {_RECENT} GROUP BY ALL""",
    "repeated": f"SELECT DISTINCT {_WHO}, request_id {_RECENT} AND {_REPEATS}",
    "unsettled": f"""SELECT {_WHO}, provider, generation_id, epoch_us(started_at) {_RECENT}
        AND {_SOURCE} = 'unknown' AND generation_id IS NOT NULL""",
    "settling": f"""SELECT DISTINCT {_QUARTER_OF}, provider, unnest([generation_id, split_part(path, '/', -1)]),
        epoch_us(started_at) {_RECENT} AND {_SOURCE} NOT IN ('not_billed', 'unknown')
        AND (method <> 'POST' OR operation IN ({{deferred}}))""",
}
"""What the file holds. An unknown cost that a later request settles is not counted, as in the view ``billing``."""


# --- the journal ------------------------------------------------------------------------------------------------------


def _lines(journal_dir: Path, watermarks: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Give the journal's lines that are not in the store yet, as the view ``events`` does."""
    for path in sorted(journal_dir.glob("*.ndjson")):
        if path.name == _SENTINEL:
            continue
        with suppress(FileNotFoundError):
            for line in path.read_bytes().split(b"\n")[:-1]:
                with suppress(ValueError, KeyError, TypeError):
                    event = json.loads(line)
                    if event["event_id"] and event["seq"] > watermarks.get(event["writer"], 0):
                        yield event


# --- the sums ---------------------------------------------------------------------------------------------------------


def _sum(found: Mapping[str, Any], lines: list[dict[str, Any]], is_wanted: Callable[..., bool]) -> Spent:
    total = _Total()
    for quarter, account, token, *figures in found["groups"]:
        if is_wanted(quarter, account, token):
            total.add(*figures)
    repeated = {request for *who, request in found["repeated"] if is_wanted(*who)}
    unsettled = [(provider, made, at) for *who, provider, made, at in found["unsettled"] if is_wanted(*who)]
    settled = dict[tuple[str | None, str], int]()
    for provider, made, at in (*((each[1], each[2], each[3]) for each in found["settling"]), *_settling(lines)):
        settled[provider, made] = max(at, settled.get((provider, made), at))
    for event in lines:
        moment = _microseconds(event)
        if not is_wanted(moment // (_QUARTER * 1_000_000), event.get("account"), event.get("token_name")):
            continue
        source, cost = event.get("cost_source") or "unknown", event.get("cost_usd")
        repeats = event.get("status") == 101 or event.get("attempt", 1) > 1 or event.get("end_reason") == "retried"
        made = event.get("generation_id")
        if repeats:
            repeated.add(event["request_id"])
        if source == "unknown" and made is not None:
            unsettled.append((event.get("provider"), made, moment))
        known = cost is not None and source not in ("not_billed", "subscription")
        total.add(
            not repeats,
            cost if known else None,
            known,
            source == "unpriced",
            source == "unknown" and made is None,
            event.get("input_tokens"),
            event.get("output_tokens"),
        )
    return total.spent(len(repeated), sum(settled.get((provider, made), -1) < at for provider, made, at in unsettled))


def _settling(lines: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str | None, str, int]]:
    """Give what lines of the journal settle: the provider, the id of what was generated, and when."""
    for event in lines:
        source = event.get("cost_source") or "unknown"
        if source not in ("not_billed", "unknown") and (event.get("method") != "POST" or _is_deferred(event)):
            for made in (event.get("generation_id"), str(event.get("path")).rpartition("/")[2]):
                if made:
                    yield event.get("provider"), made, _microseconds(event)


def _microseconds(event: Mapping[str, Any]) -> int:
    """Return when a request began, since 1970."""
    return (datetime.fromisoformat(event["started_at"]) - _EPOCH) // timedelta(microseconds=1)


def _is_deferred(event: Mapping[str, Any]) -> bool:
    if event.get("operation") in NEVER_DEFERRED:
        return False
    from metrion.store.rollups import DEFERRED_OPERATIONS

    return event.get("operation") in DEFERRED_OPERATIONS


@dataclass(slots=True)
class _Total:
    requests: int = 0
    cost: Decimal = Decimal(0)
    priced: int = 0
    unpriced: int = 0
    unknown: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None

    def add(
        self,
        requests: int,
        cost: str | None,
        priced: int,
        unpriced: int,
        unknown: int,
        input_tokens: int | None,
        output_tokens: int | None,
    ) -> None:
        self.requests += requests
        self.cost += Decimal(cost or 0)
        self.priced += priced
        self.unpriced += unpriced
        self.unknown += unknown
        if input_tokens is not None:
            self.input_tokens = (self.input_tokens or 0) + input_tokens
        if output_tokens is not None:
            self.output_tokens = (self.output_tokens or 0) + output_tokens

    def spent(self, repeated: int, unsettled: int) -> Spent:
        unknown = self.unknown + unsettled
        nothing_known = not self.priced and (self.unpriced or unknown)
        return Spent(
            requests=self.requests + repeated,
            cost_usd=None if nothing_known else self.cost,
            unpriced=self.unpriced,
            unknown=unknown,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
        )
