"""What the terminal of ``serve`` says of events, as tables: the first of each kind, within the bound, nothing twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from metrion.admission.codes import KINDS, MISSING_TOKEN, RATE_LIMITED, TIMEOUT, UNKNOWN_ROUTE, UPSTREAM_UNREACHABLE
from metrion.logs.notices import Notice, Notices
from metrion.logs.remembered import EVERYDAY_LINES_PER_MINUTE, LINES_PER_MINUTE, Remembered
from metrion.model import EndReason, Event, Refusal
from metrion.settings import ProviderSettings, load_settings
from tests.store.events import event as stored_event

PROVIDERS: Mapping[str, ProviderSettings] = load_settings(None, {"METRION_HOME": "/nonexistent"}).providers


def event(**columns: Any) -> Event:
    """A request that was answered whole, and said what it used."""
    usual = {"streamed": False, "usage_source": "reported", "status": 200, "latency_ms": 5.0}
    return stored_event(**usual | {"end_reason": EndReason.COMPLETE} | columns)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal:
    """Notices of one proxy, with a clock that stands."""

    def __init__(self, workers: int = 1, *, known: Sequence[str] = ("laptop",)) -> None:
        self.clock = Clock()
        remembered = Remembered(PROVIDERS, clock=self.clock)
        self.workers = [Notices(PROVIDERS, remembered) for _ in range(workers)]
        for name in known:
            for worker in self.workers:
                worker.finished(event(token_name=name))
        self.clock.now += 120

    def said(self, refusal: Refusal | None = None, *, worker: int = 0, **columns: Any) -> list[str]:
        return [notice.text for notice in self.notices(refusal, worker=worker, **columns)]

    def notices(self, refusal: Refusal | None = None, *, worker: int = 0, **columns: Any) -> list[Notice]:
        return list(self.workers[worker].finished(event(**columns), refusal))


STREAM: dict[str, Any] = {"streamed": True, "usage_source": "estimated", "cost_source": "estimated"}
REFUSED: dict[str, Any] = {"status": 401, "end_reason": EndReason.REFUSED, "error_type": "missing_token"}
OUT: dict[str, Any] = {"status": 502, "end_reason": EndReason.UPSTREAM_ERROR, "error_type": "upstream_unreachable"}
NO_TOKEN = Refusal(MISSING_TOKEN, "No Metrion token.", "openai")
UNREACHABLE = Refusal(UPSTREAM_UNREACHABLE, "No usable answer from openai at https://x: refused.", "openai")


@pytest.mark.parametrize(
    ("refusal", "columns", "kind", "words"),
    [
        (
            None,
            {"token_name": "new"},
            "token",
            "First request of token new (account default): openai chat, status 200.",
        ),
        (NO_TOKEN, REFUSED, "refused", "A request to openai (token laptop) was refused: 401 missing_token: No Metrion"),
        (None, {"status": 401, "credential": "stored"}, "failed", "`metrion key set openai`"),
        (None, {"status": 403, "credential": "stored"}, "failed", "openai answered 403 Forbidden."),
        (None, {"status": 401, "credential": "pass_through"}, "failed", "The key is the caller's own."),
        (None, {"status": 429}, "failed", "openai answered 429 Too Many Requests. The first time today: openai chat"),
        (None, {"status": 529}, "failed", "openai answered 529."),
        (None, {"status": 200, "end_reason": EndReason.UPSTREAM_ERROR}, "failed", "openai broke an answer off."),
        (None, {"status": 200, "end_reason": EndReason.STREAM_ERROR}, "failed", "reported an error within a stream"),
        (None, {"status": 200, "end_reason": EndReason.TIMEOUT}, "failed", "openai fell silent"),
        (
            Refusal(TIMEOUT, "silent for 5 s"),
            {"status": 504, "end_reason": EndReason.TIMEOUT},
            "failed",
            "for 5 s",
        ),
        (UNREACHABLE, OUT, "unreachable", "openai cannot be reached. No usable answer from openai at https://x"),
        (None, STREAM, "no_usage", "providers: {openai: {include_usage: inject}} in metrion.yaml"),
        (None, STREAM, "no_usage", '"stream_options": {"include_usage": true}'),
        (None, STREAM | {"operation": "completions"}, "no_usage", "its cost is estimated"),
        (None, STREAM | {"usage_source": "none", "cost_source": "unknown"}, "no_usage", "its cost is unknown"),
    ],
)
def test_each_kind_is_said_once(refusal: Refusal | None, columns: dict[str, Any], kind: str, words: str) -> None:
    terminal = Terminal()
    (notice,) = terminal.notices(refusal, **columns)
    assert notice.kind == kind
    assert words in notice.text
    assert "\n" not in notice.text
    assert terminal.notices(refusal, **columns) == []


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"token_name": None},
        {"status": None, "end_reason": EndReason.CLIENT_ABORT},
        {"status": 200, "end_reason": EndReason.CLIENT_ABORT},
        STREAM | {"usage_source": "reported"},
        STREAM | {"operation": "responses"},
        STREAM | {"operation": "messages", "provider": "anthropic"},
        STREAM | {"cost_source": "not_billed"},
        STREAM | {"end_reason": EndReason.CLIENT_ABORT},
        STREAM | {"provider": "gone"},
        {"streamed": False, "usage_source": "none"},
    ],
)
def test_what_is_as_it_should_be_is_not_said(columns: dict[str, Any]) -> None:
    assert Terminal().notices(**columns) == []


def test_a_provider_that_may_not_be_asked_has_only_the_client_s_line() -> None:
    (text,) = Terminal().said(**STREAM | {"provider": "mistral"})
    assert "include_usage: inject" not in text
    assert '"stream_options"' in text


def test_kinds_are_told_apart_by_code_and_provider() -> None:
    terminal = Terminal()
    limited = Refusal(RATE_LIMITED, "Too many.", "openai")
    assert terminal.said(NO_TOKEN, **REFUSED)
    assert terminal.said(limited, **REFUSED | {"status": 429})
    assert terminal.said(Refusal(MISSING_TOKEN, "No.", "anthropic"), **REFUSED | {"provider": "anthropic"})
    assert terminal.said(status=500)
    assert terminal.said(status=503)
    assert not terminal.said(limited, **REFUSED | {"status": 429})
    assert not terminal.said(status=500)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.code != UNKNOWN_ROUTE.code], ids=lambda kind: f"{kind.status}-{kind.code}"
)
def test_every_way_to_refuse_is_said_without_an_event_too(kind: Any) -> None:
    (notices,) = Terminal().workers
    (notice,) = notices.refused(Refusal(kind, "Because."), "GET /nowhere")
    assert f"{kind.status} {kind.code} (GET /nowhere): Because." in notice.text
    assert not notices.refused(Refusal(kind, "Because."), "GET /elsewhere")


def test_a_head_that_cannot_be_read_is_said() -> None:
    (notices,) = Terminal().workers
    assert [each.text for each in notices.unreadable(400, "No Host.")] == ["A request was refused: 400: No Host."]
    assert not notices.unreadable(400, "No Host.")


# --- outages ----------------------------------------------------------------------------------------------------------


def test_an_outage_is_said_at_its_beginning_and_its_end() -> None:
    terminal = Terminal()
    assert "cannot be reached" in terminal.said(UNREACHABLE, **OUT)[0]
    for _ in range(3):
        terminal.clock.now += 60
        assert not terminal.said(UNREACHABLE, **OUT)
        assert not terminal.said(provider="anthropic")
    assert terminal.said() == ["openai can be reached again, after 3 min; 4 requests failed."]
    assert not terminal.said()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_any_answer_ends_an_outage(status: int) -> None:
    terminal = Terminal()
    terminal.said(status=status)  # of the status itself
    terminal.said(UNREACHABLE, **OUT)
    terminal.clock.now += 5
    assert terminal.said(status=status) == ["openai can be reached again, after 5 s; 1 request failed."]


def test_an_answer_that_was_under_way_does_not_end_an_outage() -> None:
    terminal = Terminal()
    terminal.said(UNREACHABLE, **OUT)
    terminal.clock.now += 5
    assert not terminal.said(latency_ms=6000.0)
    assert terminal.said(latency_ms=4000.0)


def test_a_provider_that_comes_and_goes_is_not_said_all_the_time() -> None:
    terminal = Terminal()
    lines = 0
    for _ in range(300):
        lines += len(terminal.said(UNREACHABLE, **OUT))
        terminal.clock.now += 0.5
        lines += len(terminal.said(latency_ms=1.0))
        terminal.clock.now += 0.5
    assert lines == 2
    terminal.clock.now += 300
    assert terminal.said(UNREACHABLE, **OUT), "an outage of later is said again"


# --- bounds, workers and days -----------------------------------------------------------------------------------------


def test_workers_say_things_once_between_them() -> None:
    terminal = Terminal(workers=3)
    for columns, refusal in (({"token_name": "new"}, None), (REFUSED, NO_TOKEN), (STREAM, None), (OUT, UNREACHABLE)):
        assert sum(len(terminal.said(refusal, worker=worker, **columns)) for worker in range(3)) == 1
    terminal.clock.now += 10
    assert sum(len(terminal.said(worker=worker)) for worker in range(3)) == 1


def test_a_worker_that_is_replaced_does_not_say_it_again() -> None:
    remembered = Remembered(PROVIDERS)
    assert Notices(PROVIDERS, remembered).finished(event(token_name="new"))
    assert not Notices(PROVIDERS, remembered).finished(event(token_name="new"))


def test_at_most_so_many_lines_a_minute_and_none_is_lost() -> None:
    terminal = Terminal(workers=2, known=())
    said: list[str] = []
    for minute in range(1, 40):
        in_a_minute: list[str] = []
        for number in range(30):
            terminal.clock.now += 1
            in_a_minute += terminal.said(worker=number % 2, token_name=f"token-{number}")
            in_a_minute += terminal.said(worker=number % 2, token_name=f"token-{number}", status=400 + number)
        terminal.clock.now += 30
        assert len(in_a_minute) <= LINES_PER_MINUTE, minute
        said += in_a_minute
    assert sum("First request" in line for line in said) == 30
    assert len(said) == 60


def test_tokens_leave_room_for_failures() -> None:
    terminal = Terminal(known=())
    said = [line for number in range(50) for line in terminal.said(token_name=f"token-{number}")]
    assert len(said) == EVERYDAY_LINES_PER_MINUTE
    assert "cannot be reached" in terminal.said(UNREACHABLE, **OUT | {"token_name": None})[0]


def test_a_failure_is_said_again_on_another_day_and_a_token_is_not() -> None:
    terminal = Terminal()
    assert terminal.said(status=500)
    assert terminal.said(**STREAM)
    terminal.clock.now += 86_400
    assert terminal.said(status=500)
    assert not terminal.said()
    assert not terminal.said(**STREAM)


def test_a_path_that_leads_nowhere_is_said_by_others_and_one_at_a_provider_here() -> None:
    (notices,) = Terminal().workers
    assert not notices.refused(Refusal(UNKNOWN_ROUTE, "Did you mean anthropic?"), "POST /antropic/v1/messages")
    assert notices.refused(Refusal(UNKNOWN_ROUTE, "The version is there twice.", "openai"))
