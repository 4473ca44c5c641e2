"""What is well with an installation, what is not, and the way out."""

from __future__ import annotations

from metrion.doctor.checks import Finding, Level, examine

__all__ = ["Finding", "Level", "examine"]
