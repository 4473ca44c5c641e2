"""Notes requests to addresses where nothing is: a request in; a count, a file and a line in the log out.

The count is for everybody who asks ``/health``; the path, masked, for whoever runs the proxy. The log gets a line a
minute at most, so that a stranger cannot fill it.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable

from metrion.admission.masking import shown, shown_method
from metrion.admission.mistakes import is_a_mistake
from metrion.admission.redaction import redactor_of
from metrion.control.mistakes import PATH_CHARACTERS, record_mistake
from metrion.gateway.scoreboard import Slot
from metrion.model import Inbound
from metrion.providers import KEY_SHAPE
from metrion.settings import Settings

logger = logging.getLogger(__name__)

_KEY = re.compile(KEY_SHAPE, re.ASCII)
_SECONDS_BETWEEN_LINES = 60.0


class Mistakes:
    """See the module. ``slot``: this process's own figures on the scoreboard."""

    def __init__(self, settings: Settings, slot: Slot, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._slot = slot
        self._clock = clock
        self._last_line = -math.inf
        self._unsaid = 0

    def note(self, inbound: Inbound) -> None:
        """Note a request that was refused because its path leads nowhere."""
        if not is_a_mistake(inbound.method, inbound.path):
            return
        self._slot.count_unknown_address()
        method = shown_method(inbound.method).decode("latin-1")
        path = self._shown_path(inbound)
        record_mistake(self._settings, method, path)
        self._say(method, path)

    @staticmethod
    def _shown_path(inbound: Inbound) -> str:
        """Return the path without the credentials of its request, or what looks like a key."""
        raw = shown(inbound).target.partition(b"?")[0][: 4 * PATH_CHARACTERS]
        return _printable(_KEY.sub("***", redactor_of(inbound).text(raw.decode("utf-8", "replace"))))

    def _say(self, method: str, path: str) -> None:
        self._unsaid += 1
        now = self._clock()
        if now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        others = f" ({self._unsaid - 1} more since the last such line)" if self._unsaid > 1 else ""
        logger.warning("Nothing is served at the address of a request: %s %s%s.", method, path, others)
        self._last_line, self._unsaid = now, 0


def _printable(text: str) -> str:
    """Return a text as it may be shown on a terminal, cut to a length."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)[:PATH_CHARACTERS]
