"""The hook of Metrion's own streams."""

from __future__ import annotations

from dataclasses import dataclass

from mitmproxy.proxy import commands

from metrion.relay.attempt import Attempt


@dataclass
class MetrionEstimateHook(commands.StartHook):
    """Asks for an estimate of the tokens that nobody reported. Only the stream that asks waits for it.

    mitmproxy makes the name of the addon's method from this one, so it must not be one of another script's.
    """

    attempt: Attempt
