"""Many JSON documents in one body: bytes in, cut anywhere; each document out as soon as it is over.

They are the elements of one array, or one to a line. A document that is broken ends the array, because nobody
can say where the next one begins; on a line it leaves the other lines alone. Nothing here raises, but for a
:class:`~metrion.parsing.work_budget.WorkBudgetError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from metrion.parsing.json_stream import Scanner
from metrion.parsing.json_values import Tree
from metrion.parsing.work_budget import WorkBudget

_BLANK_LINES = re.compile(rb"\s*+")


class Elements:
    """The elements of one array in, each as a document of its own out."""

    def __init__(self, wanted: Tree, budget: WorkBudget | None = None) -> None:
        self.complete = False
        """Whether the array has been seen to its end."""
        self._wanted = wanted
        self._budget = budget
        self._opened = False
        self._element: Scanner | None = None

    def feed(self, data: bytes) -> Iterator[Scanner]:
        """Take bytes, the first of all being the ``[``; give the elements that they complete."""
        while data and not self.complete:
            if not self._opened:
                self._opened, data = True, data[1:]
            elif self._element is None:
                data = data.lstrip(b" \t\r\n,")
                if data.startswith(b"]"):
                    self.complete = True
                elif data:
                    self._element = Scanner(self._wanted, self._budget)
            else:
                self._element.feed(data)
                if not self._element.complete:  # or broken, and then nobody can say where the next begins
                    return
                data = self._element.rest
                yield self._element
                self._element = None


class Lines:
    """Lines of one document each in, the documents out. What is broken on one line leaves the others alone."""

    def __init__(self, wanted: Tree, budget: WorkBudget | None = None) -> None:
        self._wanted = wanted
        self._budget = budget
        self._line: Scanner | None = None

    @property
    def complete(self) -> bool:
        """Whether no line is open in its middle."""
        return self._line is None or self._line.complete

    def feed(self, data: bytes) -> Iterator[Scanner]:
        """Take bytes, give the lines that they end; one that is complete needs no end."""
        at = 0
        while at < len(data):
            if self._line is None:
                if blank := _BLANK_LINES.match(data, at):
                    at = blank.end()
                if at == len(data):
                    return
                self._line = Scanner(self._wanted, self._budget)
            newline = data.find(b"\n", at)
            end = newline if newline >= 0 else len(data)
            if not self._line.over:
                self._line.feed(data[at:end])
                if newline >= 0 or self._line.over:
                    yield self._line
            if newline >= 0:
                self._line = None
            at = end + 1
