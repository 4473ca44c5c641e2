"""An operation: what a request asks a provider to do. Its rows are those of :mod:`metrion.endpoints`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Naming(StrEnum):
    """Whether a request says by its body, or by its path, which model is to work."""

    ALWAYS = "always"
    """In JSON. One that nobody can read is no request for it."""
    MAYBE = "maybe"
    """In JSON, in a form, or not at all: then what it names decides, such as a prompt that is stored, or an agent."""
    ELSEWHERE = "elsewhere"
    """In what nobody reads beforehand: a file, or the messages of a session."""
    NEVER = "never"
    """No model works."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One row: a name, and all that sets the operation apart from others."""

    name: str
    """As in the ``operation`` column."""
    billed: bool = True
    """A POST may cost something. No provider charges for a request with any other method."""
    free_at: frozenset[str] = frozenset()
    """Providers that do not charge for it, though others do."""
    session: bool = False
    """It is a WebSocket session, in which each billed response has a row of its own."""
    asks_usage_in: str | None = None
    """The wire format in which a request knows ``stream_options.include_usage``; ``None``: it does not know it."""
    deferred: bool = False
    """The answer to a POST may have the usage of what an earlier POST asked for."""

    naming: Naming = Naming.MAYBE

    def is_billed_at(self, provider: str) -> bool:
        """Whether a provider may charge for a POST."""
        return self.billed and provider not in self.free_at
