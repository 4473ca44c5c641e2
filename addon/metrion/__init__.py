"""Metrion: a metering proxy for LLM APIs, built as a mitmproxy addon."""

__version__ = "0.1.0"
