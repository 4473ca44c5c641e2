"""Every error of Metrion that reaches a person, as one tree.

MetrionError
  SettingsError     metrion.yaml or the environment
  PricingError      a price file
  ControlError      accounts, tokens, provider keys and alerts
    UnknownNameError  nothing has that name
    NameTakenError  something else has that name
    ControlUnavailableError  the control database cannot be used at this moment
    VaultError      the master key, or what it seals
  BillError         a provider's bill that is compared with what was metered
  StoreError        the store of events, or a query over it
    OverLimitError  a query that needs more memory than it may use
  ServeError        the port and the processes of the proxy
  DemoError         the processes of the demonstration

A message says what is wrong and the way out, and never holds a token or a key. The command line catches
:class:`MetrionError` once and prints the message. An exception that one module raises for another and that never
reaches a person is defined where it is raised.
"""

from __future__ import annotations


class MetrionError(Exception):
    """Something cannot be done. The message is for the person who asked for it."""


class SettingsError(MetrionError):
    """A setting cannot be used. The message names the file or the variable, and the key."""


class PricingError(MetrionError):
    """A price file cannot be used. The message names the file, the line and the key."""


class ControlError(MetrionError):
    """Accounts, tokens, provider keys or alerts cannot be read or changed."""


class UnknownNameError(ControlError):
    """Nothing that is in use has the name that was given."""


class NameTakenError(ControlError):
    """Something has the name already that was given."""


class ControlUnavailableError(ControlError):
    """The control database is locked, damaged, not there or not ours to use. The message names the file."""


class VaultError(ControlError):
    """A secret cannot be sealed or opened. The message names the file of the master key."""


class BillError(MetrionError):
    """A bill cannot be read or compared. The message names the file, and the line or the member."""


class StoreError(MetrionError):
    """The store cannot be made, read or written, or cannot answer a query."""


class OverLimitError(StoreError):
    """A query needs more memory, or disk beside it, than it may use."""


class ServeError(MetrionError):
    """The proxy cannot run, or cannot go on."""


class DemoError(MetrionError):
    """A process of the demonstration failed. The message has what the process wrote."""
