"""A home with something wrong in it, or nothing, and what the doctor finds there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from metrion.control import ControlStore
from metrion.doctor import Finding, Level, examine
from metrion.settings import load_settings
from tests.processes import free_port
from tests.store.events import Home

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
NOW = datetime.now(UTC).replace(tzinfo=None)


class Patient:
    """A home, and the environment that leads there and to a port where nothing listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"METRION_HOME": str(path)}
        self.config: dict[str, Any] = {"listen": f"127.0.0.1:{free_port()}"}
        self.store = Home(path)

    def make(self) -> None:
        self.path.mkdir(mode=0o700)
        self.configure()

    def configure(self, **settings: Any) -> None:
        self.config |= settings
        (self.path / "metrion.yaml").write_text(yaml.safe_dump(self.config))

    def control(self) -> ControlStore:
        return ControlStore.open(load_settings(None, self.environ))

    def examine(self, *, network: bool = False) -> list[Finding]:
        return list(examine(None, self.environ, network=network))

    def found(self, level: Level, *words: str, network: bool = False) -> Finding:
        """The one finding of this level that has all the words; whatever the level, no other has them."""
        findings = [each for each in self.examine(network=network) if all(word in each.what for word in words)]
        assert [each.level for each in findings] == [level], findings or self.examine()
        return findings[0]
