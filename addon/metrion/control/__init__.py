"""Accounts, tokens and provider keys: who may call, and with which key.

:meth:`ControlStore.open` opens the store of a home. The proxy calls its :meth:`~ControlStore.access_snapshot`, commands
call the rest. Every error is a :class:`~metrion.errors.ControlError`, and none holds a secret.
"""

from metrion.control.admins import ADMIN_PREFIX
from metrion.control.audit import AuditEntry, acting
from metrion.control.fingerprint import fingerprint, make_fingerprint, serves_home
from metrion.control.mistakes import Mistake, last_mistake, record_mistake
from metrion.control.names import (
    ALL_ACCOUNTS,
    DEFAULT_ACCOUNT,
    check_label,
    check_name,
    check_provider_key,
    check_tag_name,
    suggestion,
)
from metrion.control.records import (
    Account,
    AdminRecord,
    AdminScope,
    KeyRecord,
    Limits,
    NewAdmin,
    NewToken,
    TokenRecord,
    TokenTerms,
)
from metrion.control.store import ControlStore

__all__ = [
    "ADMIN_PREFIX",
    "ALL_ACCOUNTS",
    "DEFAULT_ACCOUNT",
    "Account",
    "AdminRecord",
    "AdminScope",
    "AuditEntry",
    "ControlStore",
    "KeyRecord",
    "Limits",
    "Mistake",
    "NewAdmin",
    "NewToken",
    "TokenRecord",
    "TokenTerms",
    "acting",
    "check_label",
    "check_name",
    "check_provider_key",
    "check_tag_name",
    "fingerprint",
    "last_mistake",
    "make_fingerprint",
    "record_mistake",
    "serves_home",
    "suggestion",
]
