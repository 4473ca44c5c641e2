"""Warns of models that were served and are not allowed: a request and its event in, a line of the log out.

Rules say which models may be asked for; which one answers is the provider's doing, and its answer passes. At most one
line a minute for each token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from metrion.admission.patterns import matches
from metrion.model import Caller, Event
from metrion.pricing.model_names import spellings

logger = logging.getLogger(__name__)

WARNING_SECONDS = 60.0
"""How long a token has no second warning."""


class ModelWarnings:
    """The warnings of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._warned_at = dict[str, float]()
        """By the token's name."""

    def note(self, caller: Caller, event: Event) -> None:
        """Warn if a request of a token that may ask for some models only was answered by another one."""
        name = caller.token_name
        if not caller.models or name is None or event.model is None or _is_allowed(event, caller.models):
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


def _is_allowed(event: Event, patterns: tuple[str, ...]) -> bool:
    """Whether a model, however dated, is one of those allowed, or another name of the one that was asked for."""
    served = set(spellings(event.model or "", event.provider))
    if served.intersection(spellings(event.model_requested or "", event.provider)):
        return True
    allowed = [pattern.lower().removeprefix("models/") for pattern in patterns]
    return any(matches(name, pattern) for name in served for pattern in allowed)
