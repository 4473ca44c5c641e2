"""The configuration: which file is used, and each mistake in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metrion.doctor.findings import Finding, fail, ok
from metrion.errors import SettingsError
from metrion.settings import Settings, load_settings


def read_configuration(config: Path | None, environ: Mapping[str, str]) -> tuple[Settings, list[Finding]]:
    """Return the settings and the findings. If the configuration cannot be used, the settings are the defaults."""
    try:
        settings = load_settings(config, environ)
    except SettingsError as error:
        home = Path(environ.get("METRION_HOME") or "~/.metrion").expanduser().absolute()
        way_out = "correct it; no command works before (what follows is with the defaults)"
        return Settings(home=home), [fail(line, way_out) for line in str(error).splitlines()]
    path = settings.config_path
    return settings, [ok(f"configuration: {path}" if path else "configuration: none, so the defaults hold")]
