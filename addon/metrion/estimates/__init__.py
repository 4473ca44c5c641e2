"""Tokens that nobody reported, estimated from the words that passed."""

from __future__ import annotations

from metrion.estimates.sample import Kept, Sample
from metrion.estimates.tokens import EstimateInput, estimate, estimate_input, prepare, samples

__all__ = ["EstimateInput", "Kept", "Sample", "estimate", "estimate_input", "prepare", "samples"]
