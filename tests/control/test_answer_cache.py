"""The cache of answers: what comes back, what does not, and what becomes of damaged files and full disks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from metrion.control.answer_cache import AnswerCache
from metrion.relay.caching import KeptAnswer
from tests.processes import eventually

SECRET = bytes(range(32))
MANY = 1 << 20
ANSWER = KeptAnswer(b"OK", ((b"content-type", b"text/event-stream"),), (b"data: Blaubeere\n\n", b"data: [DONE]\n\n"))


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> Iterator[AnswerCache]:
    found = AnswerCache(tmp_path / "cache.db", SECRET, clock=clock)
    yield found
    found.close()


def found_at_last(cache: AnswerCache, clock: Clock, identity: bytes = b"one") -> tuple[KeptAnswer, float]:
    def look() -> tuple[KeptAnswer, float] | None:
        clock.now += 2.0  # it does not ask again at once after a fault
        return cache.find(identity, 1e9)

    found = eventually(look)
    assert found is not None
    return found


def test_an_answer_comes_back_until_it_is_too_old(cache: AnswerCache, clock: Clock) -> None:
    assert cache.find(b"one", 300) is None
    cache.keep(b"one", ANSWER, MANY)
    cache.close()  # it is written then
    assert cache.find(b"one", 300) == (ANSWER, 0.0)
    assert cache.find(b"another", 300) is None
    clock.now = 1299.0
    assert cache.find(b"one", 300) == (ANSWER, 299.0)
    clock.now = 1300.0
    assert cache.find(b"one", 300) is None
    clock.now = 999.0
    assert cache.find(b"one", 300) is None  # from the future
    clock.now = 1000.0
    assert cache.find(b"one", 0) is None


def test_another_process_finds_it_and_another_master_key_does_not(
    cache: AnswerCache, clock: Clock, tmp_path: Path
) -> None:
    cache.keep(b"one", ANSWER, MANY)
    cache.close()
    other = AnswerCache(tmp_path / "cache.db", SECRET, clock=clock)
    assert other.find(b"one", 300) == (ANSWER, 0.0)
    other.close()
    stranger = AnswerCache(tmp_path / "cache.db", bytes(32), clock=clock)
    assert stranger.find(b"one", 300) is None


def test_nothing_that_was_said_is_in_the_file(cache: AnswerCache, tmp_path: Path) -> None:
    cache.keep(b"what is my favourite fruit", ANSWER, MANY)
    cache.close()
    for file in tmp_path.iterdir():
        data = file.read_bytes()
        assert b"Blaubeere" not in data
        assert b"fruit" not in data
        assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE answers SET box = zeroblob(length(box))",
        "UPDATE answers SET box = substr(box, 1, 5)",
        "UPDATE answers SET box = 'text'",
        "UPDATE answers SET box = substr(box, 1, 40) || zeroblob(length(box) - 40)",
        "UPDATE answers SET box = (SELECT box FROM answers AS other WHERE other.key <> answers.key)",
        "DELETE FROM answers",
        "DROP TABLE answers",
    ],
)
def test_what_is_poisoned_or_damaged_is_a_miss(damage: str, cache: AnswerCache, clock: Clock, tmp_path: Path) -> None:
    cache.keep(b"one", ANSWER, MANY)
    cache.keep(b"two", ANSWER, MANY)
    for name in (b"one", b"two"):
        found_at_last(cache, clock, name)
    with closing(sqlite3.connect(tmp_path / "cache.db", isolation_level=None)) as db:
        db.execute(damage)
    assert cache.find(b"one", 1e9) is None
    cache.keep(b"one", ANSWER, MANY)
    assert found_at_last(cache, clock)[0] == ANSWER


def test_a_file_that_is_no_database_is_replaced(cache: AnswerCache, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"this is none" * 1000)
    assert cache.find(b"one", 300) is None

    def kept() -> object:
        clock.now += 2.0
        cache.keep(b"one", ANSWER, MANY)
        return cache.find(b"one", 1e9)

    eventually(kept)


@pytest.mark.parametrize("ends", [("",), ("", "-wal", "-shm")], ids=["the file", "those beside it, too"])
def test_it_is_emptied_by_removing_its_file(
    ends: tuple[str, ...], cache: AnswerCache, clock: Clock, tmp_path: Path
) -> None:
    cache.keep(b"one", ANSWER, MANY)
    found_at_last(cache, clock)
    for end in ends:
        (tmp_path / f"cache.db{end}").unlink(missing_ok=True)
    clock.now += 1.0
    assert cache.find(b"one", 1e9) is None
    cache.keep(b"two", ANSWER, MANY)
    found_at_last(cache, clock, b"two")
    assert cache.find(b"one", 1e9) is None


def test_without_a_place_to_write_requests_go_on(clock: Clock) -> None:
    cache = AnswerCache(Path("/dev/null/cache.db"), SECRET, clock=clock)
    cache.keep(b"one", ANSWER, MANY)
    assert cache.find(b"one", 300) is None
    cache.close()


FULL_DISK = """
import resource, sys, time
from pathlib import Path
from metrion.control.answer_cache import AnswerCache
from metrion.relay.caching import KeptAnswer

cache = AnswerCache(Path(sys.argv[1]), bytes(32))
small, large = KeptAnswer(b"OK", (), (b"x",)), KeptAnswer(b"OK", (), (bytes(2_000_000),))

def kept(name, answer):
    deadline = time.monotonic() + 20
    cache.keep(name, answer, 10 << 20)
    while cache.find(name, 1e9) is None:
        assert time.monotonic() < deadline, name
        time.sleep(0.01)

kept(b"before", small)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
cache.keep(b"large", large, 10 << 20)
cache.close()  # what waits was tried
assert cache.find(b"large", 1e9) is None
assert cache.find(b"before", 1e9) is not None
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
kept(b"large", large)
cache.close()
"""


def test_a_disk_without_room_costs_the_answer_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "cache.db")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Answers could not be kept in the cache; requests go on" in done.stderr


def test_the_file_stays_within_its_bound_and_what_is_used_stays(
    cache: AnswerCache, clock: Clock, tmp_path: Path
) -> None:
    large = KeptAnswer(b"OK", (), (bytes(50_000),))
    cache.keep(b"favourite", large, MANY)
    found_at_last(cache, clock, b"favourite")
    for number in range(60):
        clock.now += 61.0
        cache.keep(b"%d" % number, large, MANY)
        found_at_last(cache, clock, b"%d" % number)
        if number % 5 == 0:
            assert cache.find(b"favourite", 1e9) is not None
    cache.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2.5 * MANY
    again = AnswerCache(tmp_path / "cache.db", SECRET, clock=clock)
    assert again.find(b"favourite", 1e9) is not None
    assert again.find(b"59", 1e9) is not None
    assert again.find(b"0", 1e9) is None
    again.close()
