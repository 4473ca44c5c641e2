"""When a proxy is degraded, and why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from metrion.gateway.health import health
from metrion.gateway.scoreboard import Scoreboard
from metrion.metrics import Recording
from metrion.model import EndReason
from metrion.settings import MetricsSettings
from tests.metrics.test_recording import event

NOW = 1_000_000.0


def well() -> Scoreboard:
    scoreboard = Scoreboard(2)
    scoreboard.set_ingester(99)
    scoreboard.set_backlog(1, 1000, NOW - 1)
    return scoreboard


def test_a_proxy_that_is_well() -> None:
    found = health(well(), now=NOW)
    assert (found["status"], found["live"], found["ready"], found["reasons"]) == ("ok", True, True, [])
    assert found["ingest_lag_seconds"] == 1.0
    assert {
        "version",
        "in_flight",
        "unrecorded_refusals",
        "unknown_addresses",
        "lost_events",
        "workers",
        "ingester",
        "journal",
    } <= found.keys()


def test_before_the_first_look_at_the_journal_nothing_is_known() -> None:
    found = health(Scoreboard(1), now=NOW)
    assert (found["status"], found["ingest_lag_seconds"]) == ("ok", None)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lambda board: board.take(0, 1).note_events(3, 0), "lost events: 3"),
        (lambda board: board.take(0, 1).note_events(0, 7), "disk: 7 events"),
        (lambda board: board.set_ingester(None), "ingester: none"),
        (lambda board: board.set_ingester_deaths(4), "store: 4 ingesters"),
        (lambda board: board.set_backlog(9, 1000, NOW - 500), "ingest: the journal has waited for 500 seconds"),
        (lambda board: board.set_backlog(9, 2 << 30, NOW), "journal: 2147483648 bytes"),
    ],
)
def test_degraded_says_why(happens: Callable[[Scoreboard], None], reason: str) -> None:
    scoreboard = well()
    happens(scoreboard)
    found = health(scoreboard, now=NOW)
    (said,) = found["reasons"]  # type: ignore[misc]  # a list
    assert said.startswith(reason)  # type: ignore[has-type]
    assert (found["status"], found["ready"]) == ("degraded", True)


def test_one_that_drains_is_not_ready() -> None:
    scoreboard = well()
    scoreboard.set_draining()
    found = health(scoreboard, now=NOW)
    assert (found["status"], found["ready"], found["live"]) == ("draining", False, True)


def test_provider_out_of_reach_until_it_answers_again() -> None:
    scoreboard = well()
    recording = Recording(scoreboard.take(0, 1).metrics, MetricsSettings())
    recording.event(event(status=502, error_type="upstream_unreachable", end_reason=EndReason.UPSTREAM_ERROR))
    assert health(scoreboard, now=NOW)["unreachable_providers"] == ["openai"]
    assert health(scoreboard, now=NOW)["status"] == "ok"
    other = Recording(scoreboard.take(1, 2).metrics, MetricsSettings())
    other.event(event())
    assert health(scoreboard, now=NOW)["unreachable_providers"] == []
