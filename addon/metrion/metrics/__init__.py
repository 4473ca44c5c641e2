"""Metrics: which counters and histograms an event moves, and the two shells that give them away.

``definitions`` and ``labels`` say what moves and how it is named, ``tables`` keeps the figures of all processes in
shared memory, ``recording`` adds an event to them, ``exposition`` renders them for Prometheus, ``otlp`` sends them to a
collector. Never: a prompt, a completion or a key.
"""

from metrion.metrics.recording import Recording
from metrion.metrics.tables import Board

__all__ = ["Board", "Recording"]
