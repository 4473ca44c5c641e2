"""metrion.yaml and the environment → frozen settings; every mistake is an error with its way out."""

from __future__ import annotations

from metrion.settings.reading import (
    Plan,
    PlanName,
    ProviderSettings,
    Settings,
    load_settings,
    why_not_inject,
)

__all__ = [
    "Plan",
    "PlanName",
    "ProviderSettings",
    "Settings",
    "load_settings",
    "why_not_inject",
]
