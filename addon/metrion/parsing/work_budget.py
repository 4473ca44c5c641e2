"""How much work a body may make for those who read it beside the traffic.

Reading costs next to nothing for what providers send. A stranger can make a body that costs a second for each kilobyte
on the wire: packed a hundredfold, and made of nothing but brackets, empty lines or tiny documents. Readers spend a unit
for a step that takes a microsecond or a few; each byte on the wire earns some. When none are left, reading ends.
"""

from __future__ import annotations

START = 1 << 15
"""Units that a body has from the start: a tenth of a second at the worst, and enough for any body that is small."""
EARNED = 2
"""Units for a byte on the wire. An answer of 1 KiB to one of a batch's requests, packed to 40 bytes, costs about 25."""


class WorkBudgetError(ValueError):
    """The body makes too much work. Its reader catches it; it never reaches a person."""


class WorkBudget:
    """What may still be spent on one body. ``left`` may be infinite."""

    __slots__ = ("left",)

    def __init__(self, left: float = START) -> None:
        self.left = left

    def earn(self, wire: int) -> None:
        """Add what so many bytes on the wire earn."""
        self.left += wire * EARNED

    def spend(self, units: int) -> None:
        """Pay for a step.

        :raises WorkBudgetError: the budget has not as many units left.
        """
        self.left -= units
        if self.left < 0:
            raise WorkBudgetError("the body takes too much work to read")
