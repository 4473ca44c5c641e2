"""Who is billed for what is told later."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from metrion.endpoints import FILES, RESPONSES, RUNS
from metrion.model import CredentialPlace, EndReason, ErrorShape, Origin, Reading, Route, Usage
from metrion.relay.settlement import Advance, Expect, Replace, Settle, Settlement, carry_out, settlement
from tests.relay.ways import Nothing

ROUTE = Route(
    "openai", Origin("https", "api.openai.com", 443), b"/v1/responses", RESPONSES, "openai_responses",
    CredentialPlace.BEARER, ErrorShape.OPENAI,
)  # fmt: skip
READ_BACK = replace(ROUTE, generation_id="resp_1")
RUN = replace(ROUTE, operation=RUNS)
FILE = replace(ROUTE, operation=FILES, generation_id="file_1", output="files/file_1")
PAGE = replace(FILE, output="batch/b_1?2")
USAGE = Usage(input_tokens=1, output_tokens=2)
PENDING = Reading(generation_id="resp_1", pending=True)
TOLD = Reading(generation_id="resp_1", usage=USAGE)
UNTOLD = Reading(generation_id="resp_1")
COMPLETE, ABORT = EndReason.COMPLETE, EndReason.CLIENT_ABORT

CASES: dict[str, tuple[Route | None, bytes, Reading, EndReason, Settlement]] = {
    "asked for in the background": (ROUTE, b"POST", PENDING, COMPLETE, Expect("openai", "resp_1")),
    "read back while it is made": (READ_BACK, b"GET", PENDING, COMPLETE, False),
    "read back when it is over": (READ_BACK, b"GET", TOLD, COMPLETE, Settle("openai", "resp_1", bills=True)),
    "known by the id that was asked for": (
        READ_BACK, b"GET", replace(TOLD, generation_id="other"), COMPLETE, Settle("openai", "resp_1", bills=True),
    ),
    "read back in part": (READ_BACK, b"GET", TOLD, ABORT, False),
    "read back without usage": (READ_BACK, b"GET", UNTOLD, COMPLETE, False),
    "an ordinary answer": (ROUTE, b"POST", TOLD, COMPLETE, False),
    "a run goes on after a tool": (RUN, b"POST", TOLD, COMPLETE, Settle("openai", "resp_1", bills=False)),
    "a batch names its output": (
        READ_BACK, b"GET", replace(UNTOLD, output="files/f"), COMPLETE, Replace("openai", "resp_1", "files/f"),
    ),
    "the output of a batch": (FILE, b"GET", TOLD, COMPLETE, Settle("openai", "files/file_1", bills=True)),
    "the output in part": (FILE, b"GET", TOLD, ABORT, False),
    "a file of any other kind": (FILE, b"GET", UNTOLD, COMPLETE, False),
    "a page of it, and there is another": (
        PAGE, b"GET", replace(TOLD, output="?3"), COMPLETE, Replace("openai", "batch/b_1?2", "batch/b_1?3", bills=True),
    ),
    "an empty page": (
        PAGE, b"GET", replace(UNTOLD, output="?3"), COMPLETE, Replace("openai", "batch/b_1?2", "batch/b_1?3"),
    ),
    "all that a session used so far": (
        READ_BACK, b"GET", replace(TOLD, growing=True, usage=replace(USAGE, raw="{}")), COMPLETE,
        Advance("openai", "resp_1", "{}", 3),
    ),
    "the same in the stream that asked": (
        ROUTE, b"POST", replace(TOLD, growing=True, usage=replace(USAGE, raw="{}", provider_cost_usd=Decimal("0.02"))),
        COMPLETE, Advance("openai", "resp_1", "{}", 5),
    ),
    "a session that has used nothing": (
        ROUTE, b"POST", replace(TOLD, growing=True, usage=Usage(input_tokens=0, output_tokens=0, raw="{}")), COMPLETE,
        False,
    ),
    "all of it in part": (READ_BACK, b"GET", replace(TOLD, growing=True), ABORT, False),
    "no route": (None, b"GET", TOLD, COMPLETE, False),
    "no id": (ROUTE, b"GET", Reading(usage=USAGE), COMPLETE, False),
}  # fmt: skip


@pytest.mark.parametrize(("route", "method", "reading", "end", "decided"), CASES.values(), ids=list(CASES))
def test_what_a_response_settles(
    route: Route | None, method: bytes, reading: Reading, end: EndReason, decided: Settlement
) -> None:
    assert settlement(route, method, 200, reading, end, in_session=False) == decided


@pytest.mark.parametrize("in_session", [False, True])
def test_a_session_bills_itself_unless_its_responses_do(in_session: bool) -> None:
    assert settlement(ROUTE, b"GET", 101, Reading(), COMPLETE, in_session=in_session) is not in_session


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("decided", "noted", "bills"),
    [
        (True, [], True),
        (False, [], False),
        (Expect("openai", "a"), [("expect", "openai", "a")], False),
        (Replace("openai", "a", "b"), [("replace", "openai", "a", "b")], False),
        (Replace("openai", "a", "b", bills=True), [("replace", "openai", "a", "b")], None),
        (Settle("openai", "a", bills=True), [("settle", "openai", "a")], None),
        (Settle("openai", "a", bills=False), [("settle", "openai", "a")], False),
        (Advance("openai", "a", "{}", 3), [("advance", "openai", "a", "{}", 3)], None),
    ],
)
def test_only_the_first_is_billed(decided: Settlement, noted: list[object], bills: bool | None, first: bool) -> None:
    """``None``: if it is the first."""
    generations = Nothing(first=first)
    assert carry_out(decided, generations) is (first if bills is None else bills)
    assert generations.noted == noted
