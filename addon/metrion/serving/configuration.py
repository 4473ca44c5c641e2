"""What a running proxy works by: settings, and the text of price files. Read whole, and checked before it holds.

One process reads it, so that all workers have the same, whatever happens to the files meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metrion.pricing import PriceBook
from metrion.pricing.files import read_bytes
from metrion.settings import Settings, load_settings
from metrion.settings.environments import load_environment

_AT_START = {
    "listen_host": "listen",
    "listen_port": "listen",
    "store": "store",
    "metrics": "metrics",
    "otlp": "otlp",
    "timezone": "timezone",  # by whose days budgets are counted before the first request
    "master_key_command": "master_key_command",
}
"""Fields of the settings that hold from the start to the end of a proxy, with the keys that set them."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """See the module."""

    settings: Settings
    price_files: tuple[tuple[Path, bytes], ...]

    @classmethod
    def of(cls, settings: Settings) -> Configuration:
        """Read the price files that the settings name.

        :raises PricingError: one cannot be read, or something in it is not as ``docs/pricing.md`` says.
        """
        configuration = cls(settings, tuple((path, read_bytes(path)) for path in settings.pricing))
        configuration.prices()
        return configuration

    def prices(self) -> PriceBook:
        """Return what models cost."""
        return PriceBook.read(self.price_files, without_allowance=self.settings.without_allowance)

    def again(self, environ: Mapping[str, str] = os.environ) -> tuple[Configuration, str]:
        """Read everything again. Return what holds from now on, and what there is to say of it.

        :raises MetrionError: something cannot be used.
        """
        before = self.settings
        usual = before.config_path is None or before.config_path == before.home / "metrion.yaml"
        file = None if usual else before.config_path
        read = load_settings(file, environ) if before.environment is None else load_environment(file, environ).settings
        kept = {name: getattr(before, name) for name in _AT_START}
        waiting = sorted({_AT_START[name] for name, value in kept.items() if value != getattr(read, name)})
        now = Configuration.of(read.model_copy(update=kept))
        return now, " ".join(_words(self, now, waiting))


def _words(before: Configuration, now: Configuration, waiting: list[str]) -> list[str]:
    changed = [
        name
        for name in Settings.model_fields
        if name != "config_path" and getattr(before.settings, name) != getattr(now.settings, name)
    ]
    if "pricing" not in changed and before.price_files != now.price_files:
        changed.append("the content of price files")
    said = [f"In force now: {', '.join(changed)}." if changed else "Nothing that holds at once has changed."]
    if waiting:
        said.append(
            f"{', '.join(waiting)}: changed in the file, but a proxy keeps what it started with; restart it for that."
        )
    return said
