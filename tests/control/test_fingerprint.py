"""The fingerprint of a home: one for good, private, and the same for all who ask."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from metrion.control.fingerprint import fingerprint, make_fingerprint, serves_home
from tests.control.homes import home_settings, run_together


def test_a_home_has_one_fingerprint_that_stays(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    assert fingerprint(settings) is None
    made = make_fingerprint(settings)
    assert made is not None
    assert re.fullmatch("[0-9a-f]{16}", made)
    assert make_fingerprint(settings) == fingerprint(settings) == made
    assert stat.S_IMODE((tmp_path / "home.id").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["home.id"]


def test_two_homes_differ(tmp_path: Path) -> None:
    homes = [home_settings(tmp_path / name) for name in ("one", "two")]
    for each in homes:
        each.home.mkdir()
    assert len({make_fingerprint(each) for each in homes}) == 2


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from metrion.control.fingerprint import make_fingerprint
from metrion.settings import Settings
GATE
print(make_fingerprint(Settings(home=Path(sys.argv[1]))))
"""
    assert len(set(run_together(code, [[str(tmp_path)]] * 4))) == 1


@pytest.mark.parametrize("content", [b"", b"\n", b"/home/ann\n", b"0123456789abcdef0\n", b"\xff" * 4096])
def test_a_damaged_file_is_no_fingerprint_and_no_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "home.id").write_bytes(content)
    assert make_fingerprint(home_settings(tmp_path)) is None


def test_a_home_that_cannot_be_written_has_none(tmp_path: Path) -> None:
    assert make_fingerprint(home_settings(tmp_path / "missing")) is None


def test_which_home_a_proxy_serves(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    assert serves_home({"home": "0123456789abcdef"}, settings) is False
    made = make_fingerprint(settings)
    assert serves_home({"home": made}, settings) is True
    assert serves_home({"home": "0123456789abcdef"}, settings) is False
    for older in ({}, {"home": None}, {"home": 7}):
        assert serves_home(older, settings) is None
