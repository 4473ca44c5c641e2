"""Makes estimates beside the event loop: streams that need none do not notice, and short ones wait for no long one.

A thread at work holds the interpreter's lock, which the event loop takes again after each of its system calls. So there
are two threads only, and they hand the lock over after a fraction of a millisecond.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from metrion import estimates
from metrion.relay.attempt import Attempt

_HANDOVER_SECONDS = 0.0002
_LONG_BYTES = 1 << 18
"""An estimate that reads more than this takes longer than 15 ms."""


class Estimator:
    """See the module."""

    def __init__(self) -> None:
        self._short = ThreadPoolExecutor(1, "short estimates")
        self._long = ThreadPoolExecutor(1, "long estimates")

    def prepare(self) -> None:
        """Prepare, so that the first estimate takes no longer than others."""
        estimates.prepare()
        sys.setswitchinterval(_HANDOVER_SECONDS)

    async def estimate(self, attempt: Attempt) -> None:
        """Make the estimate that an attempt waits for."""
        thread = self._long if attempt.bytes_to_estimate > _LONG_BYTES else self._short
        await asyncio.get_running_loop().run_in_executor(thread, attempt.estimate)

    def close(self) -> None:
        """Begin no further estimate."""
        self._short.shutdown(wait=False, cancel_futures=True)
        self._long.shutdown(wait=False, cancel_futures=True)
