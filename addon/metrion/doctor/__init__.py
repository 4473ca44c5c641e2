"""What is well with an installation, what is not, and the way out."""

from __future__ import annotations

from metrion.doctor.checks import examine
from metrion.doctor.findings import Finding, Level

__all__ = ["Finding", "Level", "examine"]
