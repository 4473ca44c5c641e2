"""Which sums answer for a span: the same to the last digit, from whichever table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from metrion.store import rollups, spans
from tests.store.events import Home
from tests.store.test_rollups import DAY, some

HOUR = timedelta(hours=1)
QUARTER = timedelta(minutes=15)
_SHORT = (DAY + HOUR, DAY + HOUR + timedelta(minutes=1))
"""Too short to have a row for sure."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Three days of rows, out of order, the last of them in the journal."""
    home = Home(tmp_path_factory.mktemp("spans"))
    home.initialise()
    rows = [
        each
        for day in range(3)
        for each in (
            type(row)(**{**{name: getattr(row, name) for name in row.__slots__},
                         "started_at": row.started_at + timedelta(days=day)})
            for row in some(150, seed=day)
        )
    ]  # fmt: skip
    for batch in range(4):
        home.record(*rows[batch::5])
        home.ingest()
    home.record(*rows[4::5])
    return home


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (None, None),
        (DAY, DAY + timedelta(days=3)),
        (DAY + timedelta(hours=5), DAY + timedelta(days=2, hours=7)),
        (DAY + timedelta(minutes=15), DAY + timedelta(days=1, minutes=45)),
        (DAY + timedelta(minutes=7, seconds=1), DAY + timedelta(days=2, minutes=59, microseconds=5)),
        _SHORT,
        (None, DAY + timedelta(hours=30)),
        (DAY + timedelta(hours=30), None),
    ],
)
@pytest.mark.parametrize(
    ("keys", "within"),
    [
        (("provider", "model"), HOUR),
        (("provider", "model"), QUARTER),
        (("provider", "token_name"), timedelta(days=1)),
        (("user_label", "token_name", "failed"), None),
        (("user_label", "provider"), None),
        ((), None),
    ],
)
def test_the_sums_of_a_span_are_those_of_its_rows(
    home: Home, keys: tuple[str, ...], within: timedelta | None, since: datetime | None, until: datetime | None
) -> None:
    ends = [f"started_at >= {spans.literal(since)}"] if since else []
    ends += [f"started_at < {spans.literal(until)}"] if until else []
    span = " AND ".join([*ends, "true"])
    rows = f"({rollups.rolled_up(f'SELECT * FROM billing WHERE {span}')})"  # noqa: S608 -- written here
    sums = ", ".join(
        f"sum({name})" for name, (kind, _) in rollups.MEASURES.items() if "[]" not in kind and name[-3:] != "_at"
    )
    asked = ", ".join((*keys, f"{rollups.REQUESTS} AS counted", sums.replace("sum(requests), ", ""), "max(last_at)"))
    query = f"SELECT {asked} FROM {{}} GROUP BY ALL HAVING sum(responses) <> 0 ORDER BY ALL"  # noqa: S608 -- as above
    kept = home.values(query.format(f"({spans.sums(keys, since, until, within)})"))
    assert kept == home.values(query.format(rows))
    by_quarter = spans.of_rows(f"SELECT * FROM billing WHERE {span}", keys)  # noqa: S608 -- as above
    assert kept == home.values(query.format(f"({by_quarter})"))
    assert kept or (since, until) == _SHORT


@pytest.mark.parametrize(
    ("keys", "within", "table"),
    [
        (("model",), HOUR, "sums_by_hour"),
        (("model",), None, "sums_by_day_and_model"),
        (("model",), timedelta(days=1), "sums_by_day_and_model"),
        (("model",), QUARTER, "sums"),
        (("user_label",), None, "sums_by_day"),
        (("user_label",), HOUR, "sums"),
        (("user_label",), timedelta(days=1), "sums_by_day"),
        (("user_label", "model"), None, "sums"),
    ],
)
def test_the_coarsest_table_answers_that_has_the_columns(
    keys: tuple[str, ...], within: timedelta | None, table: str
) -> None:
    assert f"FROM {table} WHERE" in spans.sums(keys, None, None, within)


@pytest.mark.parametrize(
    ("zone", "within"),
    [("UTC", timedelta(days=1)), ("Europe/Zurich", HOUR), ("Asia/Kolkata", QUARTER), ("Asia/Kathmandu", QUARTER),
     ("Australia/Lord_Howe", QUARTER), ("America/New_York", HOUR)],
)  # fmt: skip
def test_local_time_is_that_of_the_zone_at_every_quarter(home: Home, zone: str, within: timedelta) -> None:
    since, until = datetime(2026, 1, 1), datetime(2027, 1, 1)  # noqa: DTZ001 -- naive UTC
    assert spans.within(since, until, zone) == within
    made = home.values(
        f"SELECT quarter, {spans.local('quarter', since, until, zone)} FROM range({spans.literal(since)}, "  # noqa: S608 -- as above
        f"{spans.literal(until)}, INTERVAL 15 MINUTES) AS quarters(quarter)"
    )
    expected = [at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) for at, _ in made]
    assert [local for _, local in made] == expected
