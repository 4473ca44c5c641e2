"""Warns of labels that a token may not send: a request and its decision in, a line of the log out.

At most one line a minute for each token. The line never quotes the label, which may hold anything.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from metrion.admission import sends_label_not_allowed
from metrion.model import Forward, Inbound, Refusal

logger = logging.getLogger(__name__)

WARNING_SECONDS = 60.0
"""How long a token has no second warning."""


class LabelWarnings:
    """The warnings of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._warned_at = dict[str, float]()
        """By the token's name."""

    def note(self, inbound: Inbound, decision: Forward | Refusal) -> None:
        """Warn if a request has a label that its token may not send."""
        caller = decision.caller
        if caller is None or caller.labels is None or caller.token_name is None:
            return
        if not sends_label_not_allowed(inbound, caller.labels):
            return
        now, name = self._clock(), caller.token_name
        if now - self._warned_at.get(name, -WARNING_SECONDS) < WARNING_SECONDS:
            return
        self._warned_at[name] = now
        logger.warning(
            "The token %s sent an x-metrion-user that it may not use; the row has %s. `metrion token set %s "
            "--allow-user LABEL` says which it may.",
            name,
            "no label" if caller.labels.user is None else f"{caller.labels.user!r}",
            name,
        )
