"""The last request to an address where nothing is: kept whole, private and small."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from metrion.control.mistakes import last_mistake, record_mistake
from tests.control.homes import home_settings


def test_the_last_one_is_kept(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    assert last_mistake(settings) is None
    record_mistake(settings, "POST", "/a/very/long/path" * 100)
    record_mistake(settings, "GET", "/antropic/v1/mödels")
    kept = last_mistake(settings)
    assert kept is not None
    assert (kept.method, kept.path) == ("GET", "/antropic/v1/mödels")
    assert datetime.now(UTC).replace(tzinfo=None) - kept.at < timedelta(minutes=1)
    (file,) = tmp_path.iterdir()
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_size) == (0o600, 4096)


def test_a_long_path_is_cut(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    record_mistake(settings, "P" * 100, "/\N{GRINNING FACE}" * 500)
    kept = last_mistake(settings)
    assert kept is not None
    assert (len(kept.method), len(kept.path)) == (32, 200)


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"at": 1}', '{"at": "x", "method": "", "path": ""}', "\0"]
)
def test_a_damaged_file_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "last-mistake.json").write_text(content)
    assert last_mistake(home_settings(tmp_path)) is None


def test_a_home_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    settings = home_settings(tmp_path / "missing")
    record_mistake(settings, "GET", "/x")
    assert last_mistake(settings) is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "last-mistake.json").symlink_to(tmp_path / "elsewhere")
    record_mistake(home_settings(tmp_path), "GET", "/x")
    assert not (tmp_path / "elsewhere").exists()
