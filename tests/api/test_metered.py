"""Usage of some requests only: the filters of the dashboard, with figures that are those of the rows."""

from __future__ import annotations

from decimal import Decimal

import pytest
from starlette.testclient import TestClient

from metrion.reports import QUESTIONS
from metrion.settings import Settings
from metrion.store.rollups import KEYS
from tests.store.events import Home

EVERYTHING = "search=/v1/"
"""What all rows meet."""


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_filter_that_all_rows_meet_changes_no_figure(metered: TestClient, question: str) -> None:
    without, filtered = (metered.get(f"/usage/{question}?since=30d{more}") for more in ("", f"&{EVERYTHING}"))
    assert filtered.status_code == 200
    assert filtered.json() == without.json()
    assert without.json()["rows"]


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("tag=team%3Dweb", "tags['team'] = 'web'"),
        ("session=(none)&provider=openai", "session_id IS NULL AND provider = 'openai'"),
        ("cost_from=0.01&cost_to=0.05", "cost_usd BETWEEN 0.01 AND 0.05"),
        ("latency_from=2000&user=ann", "latency_ms >= 2000 AND user_label = 'ann'"),
        ("outcome=failed", KEYS["failed"][1]),
        ("status=4xx", "status BETWEEN 400 AND 499"),
        ("search=rows_asked()%20$since%20'--", "false"),
    ],
)
def test_the_figures_of_some_requests_are_those_of_their_rows(
    metered: TestClient, metered_home: Settings, query: str, condition: str
) -> None:
    ((asked, cost),) = Home(metered_home.home).values(
        f"SELECT count(*), coalesce(sum(cost_usd) FILTER (billed), 0) FROM billing WHERE {condition}"  # noqa: S608 -- written above
    )
    for by in ("", "&by=user&by=tag:team", "&by=month"):
        answer = metered.get(f"/usage/costs?since=30d&{query}{by}").json()
        assert answer["total"]["requests"] == asked
        assert sum(row["requests"] for row in answer["rows"]) == asked
        assert Decimal(answer["total"]["cost_usd"] or 0) == cost
    assert metered.get(f"/usage/models?since=30d&{query}").json()["total"]["requests"] == asked


@pytest.mark.parametrize("span", ["", "&since=32d", "&since=2026-01-01&until=2026-03-01", "&since=7d&cost_from=1e3"])
def test_rows_are_read_of_31_days_at_most(metered: TestClient, span: str) -> None:
    assert metered.get(f"/usage/costs?{EVERYTHING}{span}").status_code in (409, 422)


def test_events_are_filtered_by_status_and_ranges(metered: TestClient, metered_home: Settings) -> None:
    for query, condition in (
        ("status=5xx", "status BETWEEN 500 AND 599"),
        ("cost_from=0.01", "cost_usd >= 0.01"),
        ("latency_to=900&tag=env", "latency_ms <= 900 AND tags['env'] IS NOT NULL"),
    ):
        listed = metered.get(f"/events?range=all&limit=1000&{query}").json()
        expected = Home(metered_home.home).values(
            f"SELECT event_id FROM events WHERE {condition} ORDER BY started_at DESC, event_id DESC"  # noqa: S608 -- as above
        )
        assert [each["event_id"] for each in listed["items"]] == [str(each) for (each,) in expected]
        assert (listed["next_cursor"], bool(expected)) == (None, True)
