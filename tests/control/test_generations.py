"""Ids of what providers still work at, in real files and processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from metrion.control.generations import Generations


def test_only_the_first_answer_settles(tmp_path: Path) -> None:
    generations, other = Generations(tmp_path / "generations.db"), Generations(tmp_path / "generations.db")
    generations.expect("openai", "resp_1")
    generations.expect("openai", "resp_1")
    assert [store.settle("openai", "resp_1") for store in (other, generations, other)] == [True, False, False]


@pytest.mark.parametrize(("provider", "generation_id"), [("openai", "resp_2"), ("xai", "resp_1")])
def test_what_nobody_expects_settles_nothing(provider: str, generation_id: str, tmp_path: Path) -> None:
    generations = Generations(tmp_path / "generations.db")
    generations.expect("openai", "resp_1")
    assert not generations.settle(provider, generation_id)


def test_a_session_is_billed_for_what_it_adds(tmp_path: Path) -> None:
    generations, other = Generations(tmp_path / "generations.db"), Generations(tmp_path / "generations.db")
    told = [
        generations.advance("anthropic", "sesn_1", "first", 10),
        other.advance("anthropic", "sesn_1", "first", 10),
        other.advance("anthropic", "sesn_1", "second", 15),
        generations.advance("anthropic", "sesn_1", "first", 10),
        generations.advance("openai", "sesn_1", "another's", 1),
    ]
    assert told == ["", None, "first", None, ""]


def test_what_a_session_has_used_is_never_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "generations.db"
    generations = Generations(path)
    generations.expect("anthropic", "sesn_1")
    generations.advance("anthropic", "sesn_1", "first", 10)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE generations SET since = datetime('now', '-400 days')")
    generations.expect("anthropic", "sesn_2")
    assert generations.advance("anthropic", "sesn_1", "second", 15) == "first"
    assert generations.overdue(timedelta(days=1)) == {}


def test_what_a_batch_names_is_expected_in_its_place_once(tmp_path: Path) -> None:
    generations, other = Generations(tmp_path / "generations.db"), Generations(tmp_path / "generations.db")
    generations.expect("mistral", "job")
    assert not other.expects("mistral", "files/f")
    named = [store.replace("mistral", "job", "files/f") for store in (other, generations, other)]
    assert named == [True, False, False]
    assert [generations.expects("mistral", name) for name in ("files/f", "job")] == [True, False]
    assert [generations.expects(provider, "files/f") for provider in ("mistral", "openai")] == [True, False]
    assert [store.settle("mistral", "files/f") for store in (generations, other)] == [True, False]
    assert not generations.replace("mistral", "job", "files/f")
    assert not generations.expects("mistral", "files/f")


def test_what_is_overdue(tmp_path: Path) -> None:
    path = tmp_path / "generations.db"
    generations = Generations(path)
    for provider, name in (("xai", "a"), ("openai", "b"), ("openai", "c"), ("openai", "d"), ("google", "e")):
        generations.expect(provider, name)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE generations SET since = datetime('now', '-49 hours') WHERE id IN ('a', 'b', 'c')")
    assert generations.overdue(timedelta(hours=48)) == {"openai": 2, "xai": 1}
    assert generations.overdue(timedelta(hours=50)) == {}


def test_asking_makes_no_file(tmp_path: Path) -> None:
    generations = Generations(tmp_path / "generations.db")
    assert not generations.settle("openai", "resp_1")
    assert not generations.expects("openai", "resp_1")
    assert not generations.replace("openai", "batch_1", "files/f")
    assert generations.overdue(timedelta()) == {}
    assert list(tmp_path.iterdir()) == []


def test_of_many_processes_one_settles(tmp_path: Path) -> None:
    path = tmp_path / "home" / "generations.db"
    Generations(path).expect("openai", "resp_1")
    assert path.stat().st_mode & 0o777 == 0o600
    program = "from pathlib import Path; from metrion.control.generations import Generations as G; "
    program += f"print(G(Path({str(path)!r})).settle('openai', 'resp_1'))"
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert sorted(process.communicate()[0].strip() for process in running) == ["False"] * 5 + ["True"]


def test_a_broken_file_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "generations.db"
    path.write_bytes(b"this is no database, but longer than a header of one would be" * 20)
    generations = Generations(path)
    generations.expect("openai", "resp_1")
    assert not generations.settle("openai", "resp_1")
    assert not generations.expects("openai", "resp_1")
    assert not generations.replace("openai", "batch_1", "files/f")
    assert str(path) in caplog.text


def test_what_was_asked_for_here_stays_known(tmp_path: Path) -> None:
    generations = Generations(tmp_path / "generations.db")
    assert not generations.knows("openai", "batch_1")
    generations.expect("openai", "batch_1")
    assert generations.knows("openai", "batch_1")
    assert generations.settle("openai", "batch_1")
    assert generations.knows("openai", "batch_1")
    assert not generations.expects("openai", "batch_1")
    generations.expect("openai", "batch_1")  # asked for again by nobody: ids are not used twice
    assert not generations.settle("openai", "batch_1")
    assert not generations.replace("openai", "batch_1", "files/f")
    assert generations.overdue(timedelta(seconds=-1)) == {}


def test_the_day_on_which_it_was_done_goes_along_to_what_reports_it(tmp_path: Path) -> None:
    generations = Generations(tmp_path / "generations.db")
    done = datetime(2026, 11, 1, 23, 59)  # noqa: DTZ001 -- naive UTC, as in events
    generations.finish("mistral", "job", done)  # nobody expects it
    assert generations.done_at("mistral", "job") is None
    generations.expect("mistral", "job")
    assert generations.done_at("mistral", "job") is None
    generations.finish("mistral", "job", done)
    assert generations.replace("mistral", "job", "files/f")
    assert generations.settle("mistral", "files/f")
    assert generations.done_at("mistral", "files/f") == done
    assert generations.knows("mistral", "job")


def test_a_file_of_an_older_metrion_gets_its_new_columns(tmp_path: Path) -> None:
    path = tmp_path / "generations.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(
            "CREATE TABLE generations (provider TEXT, id TEXT, since TEXT DEFAULT (datetime('now')), "
            "PRIMARY KEY (provider, id)) WITHOUT ROWID"
        )
        db.execute("INSERT INTO generations (provider, id) VALUES ('openai', 'batch_1')")
    assert Generations(path).expects("openai", "batch_1")
    assert [Generations(path).settle("openai", "batch_1") for _ in range(2)] == [True, False]
