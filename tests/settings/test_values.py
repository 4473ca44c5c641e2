"""The settings as values: frozen, and without their input in what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from metrion.settings import Settings


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings(home=tmp_path).listen_port = 1


def test_what_does_not_fit_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"home": tmp_path, "environment_keys": {"openai": ["hunter2"]}})
    assert "hunter2" not in str(raised.value)
