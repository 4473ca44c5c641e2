"""Mistral's own wire formats."""
