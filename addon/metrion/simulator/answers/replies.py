"""The generated texts and their token counts: a request and a model in, a :class:`Reply` out.

They are invented: fixed for the models that the demonstration calls, derived from the request's size for others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metrion.simulator.answers.request import Request

CREATED = 1_760_000_000
"""When everything was generated, in Unix seconds: answers do not depend on the clock."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A generated text and its token counts, all disjoint: the formats add them up in their own ways."""

    text: str
    fresh: int
    """Input that is neither read from a cache nor written to one."""
    output: int
    """Visible output, without reasoning."""
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost_in_usd_ticks: int | None = None
    """What xAI says it charged, in 1e-10 US dollars."""
    served_model: str | None = None
    """What chat completions call the model in the answer, where the request calls it by another name."""

    @property
    def input(self) -> int:
        """Everything that is billed as input."""
        return self.fresh + self.cache_read + self.cache_write


REPLIES: Mapping[str, Reply] = {
    "claude-haiku-4-5-20251001": Reply(
        "Yes: the invoice is due on the 14th, and the two amounts in it agree.", fresh=212, output=21
    ),
    "claude-sonnet-4-6": Reply(
        "The contract renews by itself unless it is cancelled 90 days before its end. Clause 12 is the one to discuss.",
        fresh=96,
        cache_read=18_420,
        cache_write=1_310,
        output=184,
    ),
    "gpt-4o": Reply(
        "Subject: Your order is on its way. It left our warehouse this morning and arrives on Thursday.",
        fresh=187,
        cache_read=1_792,
        output=64,
        served_model="gpt-4o-2024-08-06",
    ),
    "mistral-small-latest": Reply("Bonjour ! Votre colis arrive jeudi, entre 9 h et 12 h.", fresh=58, output=19),
    "grok-3-mini": Reply(
        "17 of the 40 tickets are about the same login page. Fixing it first helps the most people.",
        fresh=604,
        cache_read=320,
        output=27,
        reasoning=412,
        cost_in_usd_ticks=4_247_000,
    ),
    "gemini-2.5-flash": Reply(
        "The photo shows a loading dock with three pallets; the middle one is damaged.",
        fresh=341,
        output=18,
        reasoning=233,
    ),
}

_PLAIN_TEXT = "This answer was made up by the provider simulator. It reads nothing and costs nothing."


def reply_to(request: Request, model: str) -> Reply:
    """Return what the model generates for the request."""
    plain = Reply(_PLAIN_TEXT, fresh=max(1, len(request.body) // 4), output=len(_PLAIN_TEXT) // 4)
    return REPLIES.get(model, plain)
