"""When keys were last used: what is noted, how often, and what a broken folder changes."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from metrion.control.key_use import KeyUse, forget_others, key_id, last_use

KEY = key_id("default", "openai", "", "2026-01-01T00:00:00Z")


def test_a_use_is_noted_once_a_minute(tmp_path: Path) -> None:
    now, folder = [100.0], tmp_path / "use"
    use = KeyUse(folder, clock=lambda: now[0])
    assert last_use(folder, KEY) is None
    use.note(KEY)
    first = last_use(folder, KEY)
    assert first is not None
    assert datetime.now(UTC) - first < timedelta(seconds=60)
    os.utime(folder / KEY, (0, 0))
    now[0] += 59.9
    use.note(KEY)
    assert last_use(folder, KEY) == datetime.fromtimestamp(0, UTC)
    now[0] += 0.1
    use.note(KEY)
    assert last_use(folder, KEY) != datetime.fromtimestamp(0, UTC)


def test_what_is_noted_is_private_and_says_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "use"
    KeyUse(folder).note(KEY)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [(stat.S_IMODE(file.stat().st_mode), file.read_bytes()) for file in folder.iterdir()] == [(0o600, b"")]


def test_each_key_has_an_id_of_its_own() -> None:
    places = [("a", "b", "", "t"), ("a", "b", "", "u"), ("a", "b", "n", "t"), ("c", "b", "", "t"), ("a", "d", "", "t")]
    assert len({key_id(*place) for place in places}) == len(places)


def test_a_folder_that_cannot_be_used_disturbs_nobody(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    KeyUse(file).note(KEY)
    KeyUse(file / "below").note(KEY)
    assert last_use(file, KEY) is None
    forget_others(tmp_path / "missing", set())


def test_what_is_not_stored_any_more_is_forgotten(tmp_path: Path) -> None:
    use = KeyUse(tmp_path)
    use.note(KEY)
    use.note("0" * 32)
    forget_others(tmp_path, {KEY})
    assert [file.name for file in tmp_path.iterdir()] == [KEY]
