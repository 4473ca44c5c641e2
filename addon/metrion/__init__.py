"""Metrion: a metering proxy for LLM APIs, built as a mitmproxy addon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

__all__ = ["__version__", "connect"]

__version__ = "0.1.0"


def connect(
    home: str | os.PathLike[str] | None = None, *, config: str | os.PathLike[str] | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a read-only DuckDB connection onto everything metered up to now: the views ``events`` and ``billing``.

    It is a snapshot: it keeps nobody waiting, however long it is open, and does not change. What is metered later is in
    the connection of the next call. ``home`` replaces ``$METRION_HOME``, ``config`` is another ``metrion.yaml``.

    :raises metrion.errors.MetrionError: the home, or the store in it, cannot be read.
    """
    from metrion.settings import load_settings
    from metrion.store.snapshot import snapshot

    environment = {**os.environ, **({"METRION_HOME": os.fspath(home)} if home is not None else {})}
    settings = load_settings(Path(config) if config is not None else None, environment)
    return snapshot(settings.journal_dir, settings.store_path)
