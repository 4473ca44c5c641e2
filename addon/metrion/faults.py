"""Logs a fault without its message, which may quote a head, a body or a key."""

from __future__ import annotations

import logging
import traceback


def log_fault(logger: logging.Logger, what: str, error: Exception) -> None:
    """Log that something went wrong, of which kind it is, and where."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    logger.error("%s: %s at %s:%s", what, type(error).__name__, where.filename, where.lineno)
