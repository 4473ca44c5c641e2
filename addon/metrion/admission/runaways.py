"""How the guard words what is too much: a refusal, or a field of the answer. Pure."""

from __future__ import annotations

from typing import NamedTuple

from metrion.admission.codes import RATE_LIMITED
from metrion.model import Forward, Refusal

WARNING = b"x-metrion-guard-warning"


class Runaway(NamedTuple):
    """What is too much."""

    kind: str
    """``token`` or ``account``."""
    name: str
    limit: str
    """In words."""
    seconds: int
    """Until a request may pass."""
    repeats: bool = False
    """It is a request that repeats, and no amount."""
    then: str = "refuse"
    is_own: bool = False
    """The limit is one of this token or account, and not configured for all."""

    @property
    def words(self) -> str:
        """Say it in a sentence."""
        span = "" if self.repeats else " in 60 seconds"
        return f"the {self.kind} {self.name} has used up the guard's {self.limit}{span}"


def refusal(forward: Forward, runaway: Runaway) -> Refusal:
    """Refuse a request that looks like one of a program that runs away."""
    seconds = max(1, runaway.seconds)
    where = f"`metrion guard set --{runaway.kind} {runaway.name}`" if runaway.is_own else "`guard` in metrion.yaml"
    way_out = "any other request passes at once" if runaway.repeats else "the 60 seconds go on"
    message = (
        f"This looks like a runaway: {runaway.words}. The next such request may pass in {seconds} s; {way_out}. "
        f"{where} sets this limit."
    )
    headers = ((b"retry-after", b"%d" % seconds),)
    return Refusal.of_routed(forward.route, RATE_LIMITED, message, caller=forward.caller, headers=headers)


def warned(forward: Forward, runaway: Runaway) -> tuple[tuple[bytes, bytes], ...]:
    """Return the fields of an answer that say so."""
    return (*forward.adds, (WARNING, runaway.words.encode("ascii", "replace")))
