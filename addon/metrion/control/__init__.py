"""Accounts, tokens and provider keys: who may call, and with which key.

:meth:`ControlStore.open` gives the store of a home; the proxy asks its :meth:`~ControlStore.directory`, commands use
the rest. Every error is a :class:`~metrion.errors.ControlError`, and none holds a secret.
"""

from metrion.control.store import (
    DEFAULT_ACCOUNT,
    Account,
    ControlStore,
    KeyRecord,
    Limits,
    NewToken,
    TokenRecord,
    check_name,
    suggestion,
)

__all__ = [
    "DEFAULT_ACCOUNT",
    "Account",
    "ControlStore",
    "KeyRecord",
    "Limits",
    "NewToken",
    "TokenRecord",
    "check_name",
    "suggestion",
]
