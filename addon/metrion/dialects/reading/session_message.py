"""One message of a WebSocket session: a JSON document that comes in one piece.

Nothing here raises. A warning says what could not be read of a message, and does not quote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import no_objects
from metrion.model import Reading
from metrion.parsing.json_stream import Scanner
from metrion.parsing.json_values import Path, Tree
from metrion.parsing.work_budget import WorkBudget, WorkBudgetError


class Message:
    """A message, and what is wanted of it."""

    def __init__(self, message: bytes, wanted: Tree) -> None:
        self._scanner = Scanner(wanted, WorkBudget())
        self._faults: list[str] = []
        try:
            self._scanner.feed(message)
        except WorkBudgetError as error:
            self._faults.append(str(error))
        found = self._scanner.document
        self.document: Mapping[str, Any] = found if isinstance(found, dict) else {}
        """The pruned document, as far as it could be read; empty where it is not a JSON object."""

    def reading(self, reading: Reading | None, usages: Iterable[Path]) -> Reading | None:
        """Return the reading of this message with warnings of what could not be read.

        ``None`` where nothing in it is billed, readable or not.
        """
        misplaced = no_objects(self.document, usages)
        if reading is None and not misplaced:
            return None
        faults = [*misplaced, *self._scanner.faults, *self._faults]
        if not self._scanner.complete:
            faults.append("a message is no JSON")
        reading = reading or Reading(terminal=True)
        return replace(reading, warnings=(*reading.warnings, *faults), cut_short=bool(faults))
