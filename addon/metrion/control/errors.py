"""The one error of this package. Its message says what is wrong and the way out, and never holds a token or a key."""

from __future__ import annotations


class ControlError(Exception):
    """Accounts, tokens or provider keys could not be read or changed."""
