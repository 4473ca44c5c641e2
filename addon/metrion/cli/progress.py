"""A line on standard error that says what takes so long: a terminal in, the line out after two seconds.

The line has the seconds so far and goes away at the end. Where standard error is not a terminal, nothing is printed.
What the store reports of itself meanwhile, such as that it makes its sums, takes the place of the command's own words.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_AFTER_SECONDS = 2.0
_BETWEEN_SECONDS = 0.5
_STORE = "metrion.store.database"
"""The logger of what makes and opens the store."""


class _Words(logging.Handler):
    """Holds what is being done: the command's words, until the store has other ones."""

    def __init__(self, text: str) -> None:
        super().__init__(logging.INFO)
        self.text = text

    def emit(self, record: logging.LogRecord) -> None:
        """Take over an information; a warning goes its usual way, too."""
        if record.levelno == logging.INFO:
            self.text = record.getMessage()


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show ``text`` and the seconds so far, from the third second of the block on."""
    if not sys.stderr.isatty():
        yield
        return
    words, ended = _Words(text), threading.Event()
    logger = logging.getLogger(_STORE)
    level = logger.level
    logger.addHandler(words)
    logger.setLevel(logging.INFO)
    shower = threading.Thread(target=_show, args=(words, ended), daemon=True)
    shower.start()
    try:
        yield
    finally:
        ended.set()
        shower.join()
        logger.removeHandler(words)
        logger.setLevel(level)


def _show(words: _Words, ended: threading.Event) -> None:
    began = time.monotonic()
    if ended.wait(_AFTER_SECONDS):
        return
    with suppress(OSError, ValueError):  # the terminal is gone
        while True:
            line = f"{words.text} … {time.monotonic() - began:.0f} s"
            sys.stderr.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
            sys.stderr.flush()
            if ended.wait(_BETWEEN_SECONDS):
                break
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
