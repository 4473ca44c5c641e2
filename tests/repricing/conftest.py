from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.events import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.initialise()
    return home
