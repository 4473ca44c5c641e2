"""metrion.yaml and the environment → frozen settings; every mistake is a ``SettingsError`` with its way out."""

from __future__ import annotations

from metrion.settings.reading import load_settings, why_not_inject
from metrion.settings.values import (
    GuardSettings,
    MetricsSettings,
    OtlpSettings,
    PerMinute,
    Plan,
    PlanName,
    ProviderSettings,
    Settings,
)

__all__ = [
    "GuardSettings",
    "MetricsSettings",
    "OtlpSettings",
    "PerMinute",
    "Plan",
    "PlanName",
    "ProviderSettings",
    "Settings",
    "load_settings",
    "why_not_inject",
]
