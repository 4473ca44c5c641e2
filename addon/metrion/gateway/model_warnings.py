"""Warns of models that were served and are not allowed: an event in, a line of the log out.

The event says so itself (:mod:`metrion.metering.served_model`). At most one line a minute for each token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from metrion.metering.served_model import MODEL_NOT_ALLOWED
from metrion.model import Event

logger = logging.getLogger(__name__)

WARNING_SECONDS = 60.0
"""How long a token has no second warning."""


class ModelWarnings:
    """The warnings of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._warned_at = dict[str, float]()
        """By the token's name."""

    def note(self, event: Event) -> None:
        """Warn if a request of a token that may ask for some models only was answered by another one."""
        name = event.token_name
        if name is None or not event.policy or MODEL_NOT_ALLOWED not in event.policy:
            return
        now = self._clock()
        if now - self._warned_at.get(name, -WARNING_SECONDS) < WARNING_SECONDS:
            return
        self._warned_at[name] = now
        logger.warning(
            "A request of the token %s was answered by the model %s of %s, which the token may not ask for (event %s). "
            "The answer has passed; `metrion token list` shows what it may ask for.",
            name,
            event.model,
            event.provider,
            event.event_id,
        )
