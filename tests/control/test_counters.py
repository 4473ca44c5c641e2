"""The counts of tokens: exact against a naive model, between processes, through kills, faults and clock changes."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrion.admission.limits import SECOND, WINDOW
from metrion.control import counters as module
from metrion.control.counters import KEPT_DAYS, RETRY_SECONDS, Counters
from metrion.model import Quota
from tests.control.homes import run_together

TOKEN = bytes(range(32))
OTHER = bytes(range(1, 33))


@dataclass
class Clock:
    """Both clocks of a test, which stand still until they are set."""

    tick: int = 1_000 * SECOND
    now: datetime = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
    made: list[Counters] = field(default_factory=list)

    def counters(self, folder: Path) -> Counters:
        self.made.append(Counters(folder, lambda: self.tick, lambda: self.now))
        return self.made[-1]

    def close(self) -> None:
        for counters in self.made:
            counters.close()


@pytest.fixture
def clock() -> Iterator[Clock]:
    with closing(Clock()) as clock:
        yield clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "counters"


def passed(counters: Counters, quota: Quota, requests: int) -> int:
    return sum(counters.take(quota) is None for _ in range(requests))


def code(counters: Counters, quota: Quota) -> str | None:
    excess = counters.take(quota)
    return excess.kind.code if excess else None


# --- the 60 seconds ---------------------------------------------------------------------------------------------------

GAPS = st.one_of(
    st.just(0),
    st.integers(1, 3 * SECOND),
    st.integers(WINDOW - 2, WINDOW + 2),
    st.integers(WINDOW // 3 - 1, WINDOW // 3 + 1),
)
BURSTS = st.lists(
    st.tuples(GAPS, st.integers(1, 200), st.sampled_from([1, 2, 3, 100, 127, 128, 129, 300, 1000, None])),
    max_size=12,
)


@given(bursts=BURSTS, two_processes=st.booleans())
@settings(max_examples=150, deadline=None)
def test_never_more_than_the_limit_in_any_60_seconds_and_never_one_less(
    bursts: list[tuple[int, int, int | None]], two_processes: bool
) -> None:
    """Against a list of all that was forwarded under a limit, while the limit itself changes."""
    with closing(Clock()) as clock, tempfile.TemporaryDirectory() as folder:
        counting = [clock.counters(Path(folder)) for _ in range(1 + two_processes)]
        forwarded: list[int] = []
        for gap, requests, limit in bursts:
            clock.tick += gap
            quota = Quota(TOKEN, requests_per_minute=limit)
            for number in range(requests):
                excess = counting[number % len(counting)].take(quota)
                window = [tick for tick in forwarded if clock.tick - tick < WINDOW]
                assert (excess is None) == (limit is None or len(window) < limit)
                if excess is not None:
                    assert limit is not None
                    # The next passes when so many have left that fewer than the limit are there.
                    assert excess.until_next == window[-limit] + WINDOW - clock.tick
                    assert excess.until_reset == window[-1] + WINDOW - clock.tick
                elif limit is not None:
                    forwarded.append(clock.tick)


def test_the_next_passes_as_soon_as_the_window_allows(folder: Path, clock: Clock) -> None:
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_minute=100)
    begin = clock.tick
    for _ in range(100):
        assert counters.take(quota) is None
        clock.tick += SECOND // 10
    clock.tick = begin + WINDOW - 1
    assert code(counters, quota) == "rate_limited"
    clock.tick += 1
    assert passed(counters, quota, 5) == 1
    clock.tick += SECOND // 10
    assert passed(counters, quota, 5) == 1


def test_a_high_limit_makes_the_file_grow_with_the_traffic_only(folder: Path, clock: Clock) -> None:
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_minute=10**9)
    for _ in range(5):
        assert passed(counters, quota, 128) == 128
        clock.tick += WINDOW
    (file,) = folder.iterdir()
    assert file.stat().st_size == 128 + 128 * 8
    assert passed(counters, quota, 1000) == 1000
    (file,) = folder.iterdir()
    assert file.stat().st_size == 128 + 1024 * 8
    assert passed(counters, Quota(TOKEN, requests_per_minute=1001), 5) == 1


def test_after_a_restart_of_the_machine_nothing_is_locked_out(folder: Path, clock: Clock) -> None:
    """Its monotonic clock begins anew, below or above what stands in the file."""
    quota = Quota(TOKEN, requests_per_minute=3)
    assert passed(clock.counters(folder), quota, 5) == 3
    clock.tick = 20 * SECOND
    assert passed(clock.counters(folder), quota, 5) == 3
    clock.tick = 20 * SECOND + WINDOW
    assert passed(clock.counters(folder), quota, 5) == 3


def test_the_wall_clock_does_not_touch_the_minute(folder: Path, clock: Clock) -> None:
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_minute=3)
    assert passed(counters, quota, 3) == 3
    for shift in (timedelta(days=-400), timedelta(days=800)):
        clock.now += shift
        assert code(counters, quota) == "rate_limited"


# --- the month --------------------------------------------------------------------------------------------------------


def test_a_month_turns_on_the_first(folder: Path, clock: Clock) -> None:
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_month=10)
    clock.now = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert passed(counters, quota, 12) == 10
    assert code(counters, quota) == "monthly_cap"
    clock.now = datetime(2027, 1, 1, tzinfo=UTC)
    assert passed(counters, quota, 12) == 10


def test_the_same_month_of_another_year_is_another(folder: Path, clock: Clock) -> None:
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_month=10)
    assert passed(counters, quota, 12) == 10
    clock.now = clock.now.replace(year=2027)
    assert passed(counters, quota, 12) == 10


def test_a_clock_set_over_the_turn_and_back_finds_both_months(folder: Path, clock: Clock) -> None:
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_month=10)
    november, december, long_ago = clock.now, datetime(2026, 12, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
    assert passed(counters, quota, 4) == 4
    clock.now = december
    assert passed(counters, quota, 3) == 3
    clock.now = long_ago
    assert passed(counters, quota, 12) == 10
    clock.now = november
    assert passed(counters, quota, 12) == 6
    clock.now = december
    assert passed(counters, quota, 12) == 7


def test_the_month_is_counted_for_every_token(folder: Path, clock: Clock) -> None:
    """So a token whose account comes to a plan with a limit has used what it has used."""
    counters = clock.counters(folder)
    assert passed(counters, Quota(TOKEN), 7) == 7
    assert passed(counters, Quota(TOKEN, requests_per_minute=100), 2) == 2
    assert passed(counters, Quota(TOKEN, requests_per_month=10), 12) == 1


def test_what_one_limit_refuses_is_missing_in_none_of_the_others(folder: Path, clock: Clock) -> None:
    counters = clock.counters(folder)
    both = Quota(TOKEN, requests_per_minute=3, requests_per_month=5)
    assert [code(counters, both) for _ in range(50)] == [None] * 3 + ["rate_limited"] * 47
    clock.tick += WINDOW
    assert [code(counters, both) for _ in range(50)] == [None] * 2 + ["monthly_cap"] * 48
    # Of the minute, two are used.
    assert passed(counters, Quota(TOKEN, requests_per_minute=3), 5) == 1


def test_each_token_has_its_own_counts(folder: Path, clock: Clock) -> None:
    counters = clock.counters(folder)
    for token in (TOKEN, OTHER):
        assert passed(counters, Quota(token, requests_per_minute=3), 5) == 3


# --- processes --------------------------------------------------------------------------------------------------------

TAKE = """
import sys
from pathlib import Path
from metrion.control.counters import Counters
from metrion.model import Quota
folder, minute, month, requests = sys.argv[1:]
counters = Counters(Path(folder))
quota = Quota(bytes(range(32)), int(minute) or None, int(month) or None)
GATE
print(sum(counters.take(quota) is None for _ in range(int(requests))))
"""


@pytest.mark.parametrize(("minute", "month"), [("100", "0"), ("0", "100"), ("1000", "0"), ("1000", "300")])
def test_exact_between_processes(folder: Path, minute: str, month: str) -> None:
    outputs = run_together(TAKE, [[str(folder), minute, month, "700"]] * 4)
    assert sum(map(int, outputs)) == min(int(minute) or 10**9, int(month) or 10**9)


TAKE_AND_SAY = """
import os, sys
from pathlib import Path
from metrion.control.counters import Counters
from metrion.model import Quota
counters = Counters(Path(sys.argv[1]))
quota = Quota(bytes(range(32)), 5000, None)
while counters.take(quota) is None:
    os.write(1, b"forwarded one   ")
"""


def test_a_process_that_is_killed_takes_no_count_with_it(folder: Path) -> None:
    """Ten in a row, killed in the middle: what they said was let through is counted, and at most one more of each."""
    heard = 0
    for round_ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE_AND_SAY, str(folder)],
            stdout=subprocess.PIPE,
            pipesize=4096,  # so that one is never more than 256 ahead
        )
        assert process.stdout is not None
        for _ in range(1 + round_ * 3):
            heard += len(os.read(process.stdout.fileno(), 16))
        process.send_signal(signal.SIGKILL)
        heard += len(process.stdout.read())
        process.stdout.close()
        process.wait()
    said = heard // 16
    assert 10 <= said < 5000
    left = passed(Counters(folder), Quota(TOKEN, requests_per_minute=5000), 5001)
    assert 5000 - said - 10 <= left <= 5000 - said
    month = passed(Counters(folder), Quota(TOKEN, requests_per_month=10_000), 10_001)
    assert 10_000 - said - left - 10 <= month <= 10_000 - said - left


def test_fast_enough_for_the_event_loop(folder: Path) -> None:
    """The limit is 50 µs at the median; five times that leaves room for a busy machine."""
    counters, quota = Counters(folder), Quota(TOKEN, 100_000, 10_000_000)
    times = []
    for _ in range(1000):
        began = time.perf_counter()
        counters.take(quota)
        times.append(time.perf_counter() - began)
    assert statistics.median(times) < 250e-6


# --- faults -----------------------------------------------------------------------------------------------------------


@contextmanager
def stuck(file: Path) -> Iterator[None]:
    """Another process stopped while it was counting."""
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def test_a_fault_neither_refuses_nor_opens_the_gate(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.01)
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_minute=3, requests_per_month=4)
    assert passed(counters, quota, 3) == 3
    (file,) = folder.iterdir()
    with stuck(file):
        assert passed(counters, quota, 10) == 3  # its own count
        assert code(counters, quota) == "rate_limited"
        clock.tick += WINDOW
        assert passed(counters, quota, 10) == 3
        assert passed(counters, Quota(OTHER, requests_per_minute=3), 10) == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(file) in caplog.text

    clock.tick += int(RETRY_SECONDS * SECOND)
    assert passed(counters, quota, 10) == 1  # the common count again: the month has one left
    assert code(counters, quota) == "monthly_cap"


def test_while_a_fault_lasts_requests_do_not_wait_for_it(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def lock(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise TimeoutError("held")

    monkeypatch.setattr(module, "_lock", lock)
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_minute=1000)
    assert passed(counters, quota, 100) == 100
    assert tries == 1
    clock.tick += int(RETRY_SECONDS * SECOND)
    assert passed(counters, quota, 100) == 100
    assert tries == 2


def test_a_folder_that_cannot_be_made_is_such_a_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "counters").write_text("in the way")
    counters = Counters(tmp_path / "counters")
    assert passed(counters, Quota(TOKEN, requests_per_minute=3), 10) == 3
    assert passed(counters, Quota(OTHER), 10) == 10
    assert len(caplog.records) == 2


@pytest.mark.parametrize("damage", [b"", b"\0" * 128, b"\0" * 5000, b"not ours", os.urandom(4096)])
def test_a_damaged_file_is_begun_anew(folder: Path, clock: Clock, damage: bytes) -> None:
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_minute=3)
    assert passed(counters, quota, 10) == 3
    (file,) = folder.iterdir()
    file.write_bytes(damage)
    assert passed(counters, quota, 10) == 3
    assert passed(clock.counters(folder), quota, 10) == 0


def test_a_folder_that_is_removed_is_made_again(folder: Path, clock: Clock) -> None:
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_minute=3)
    assert passed(counters, quota, 10) == 3
    shutil.rmtree(folder)
    assert passed(counters, quota, 10) == 3


def test_a_file_that_is_open_is_counted_in_no_more_when_another_has_its_name(folder: Path, clock: Clock) -> None:
    """Another process comes first to a folder that was removed, or puts a longer file in the place of this one."""
    counters, other, quota = clock.counters(folder), clock.counters(folder), Quota(TOKEN, requests_per_minute=300)
    assert passed(counters, quota, 200) == 200
    shutil.rmtree(folder)
    assert passed(other, quota, 50) == 50
    assert passed(counters, quota, 50) == 50
    assert passed(other, quota, 100) == 100
    assert passed(counters, quota, 150) == 100
    assert passed(other, quota, 1) == 0


def test_files_are_private_and_name_no_secret(folder: Path, clock: Clock) -> None:
    passed(clock.counters(folder), Quota(TOKEN, requests_per_minute=1000), 200)  # grown once
    assert folder.stat().st_mode & 0o777 == 0o700
    (file,) = folder.iterdir()
    assert file.name == TOKEN.hex()
    assert file.stat().st_mode & 0o777 == 0o600


def test_files_of_tokens_long_gone_are_removed_at_the_start(folder: Path, clock: Clock) -> None:
    counters = clock.counters(folder)
    for token in (TOKEN, OTHER):
        passed(counters, Quota(token), 1)
    long_ago = time.time() - (KEPT_DAYS + 1) * 86_400
    os.utime(folder / TOKEN.hex(), (long_ago, long_ago))
    assert passed(Counters(folder), Quota(OTHER, requests_per_month=10), 12) == 9
    assert [file.name for file in folder.iterdir()] == [OTHER.hex()]


OPEN_FILES = Path("/proc/self/fd")


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="open files cannot be listed on this system")
def test_a_few_files_stay_open_and_none_when_it_is_closed(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_OPEN", 3)
    before = len(list(OPEN_FILES.iterdir()))
    counters, tokens = clock.counters(folder), [bytes([number]) * 32 for number in range(10)]
    for _ in range(2):
        assert [passed(counters, Quota(token, requests_per_minute=1000), 150) for token in tokens] == [150] * 10
        assert len(list(OPEN_FILES.iterdir())) == before + 3
    counters.close()
    assert len(list(OPEN_FILES.iterdir())) == before
    assert passed(counters, Quota(TOKEN, requests_per_minute=1), 2) == 1


def test_a_lock_is_held_for_a_count_only(folder: Path, clock: Clock) -> None:
    counters, quota = clock.counters(folder), Quota(TOKEN, requests_per_minute=1)
    assert passed(counters, quota, 3) == 1
    (file,) = folder.iterdir()
    with file.open("rb") as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)
