"""A run of embeddings through a proxy with OpenAI's SDK, so many in flight, and what came of each.

    findings = embed(proxy, 1000, at_once=200)

Each request has an input of its own, and its answer has to be the vector that the simulator makes of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import openai

from metrion.simulator.answers.embeddings import numbers_of
from tests.processes import Proxy

MODEL = "text-embedding-3-small"


@dataclass
class Findings:
    """What a run has shown."""

    answered: Counter[str] = field(default_factory=Counter)
    """By "own", "another's", or the name of an error."""
    tokens: int = 0
    """What the answers' usages come to."""


def embed(proxy: Proxy, count: int, *, at_once: int, **more: object) -> Findings:
    """Send inputs ``text 0`` to ``text COUNT``, of different lengths; return what came of them."""
    return asyncio.run(_embed(proxy, count, at_once, more))


async def _embed(proxy: Proxy, count: int, at_once: int, more: dict[str, object]) -> Findings:
    findings, turn = Findings(), asyncio.Semaphore(at_once)
    base_url = f"{proxy.url('openai')}/v1"
    async with openai.AsyncOpenAI(api_key=proxy.token, base_url=base_url, max_retries=0, timeout=60) as client:

        async def one(number: int) -> None:
            text = text_of(number)
            async with turn:
                try:
                    answer = await client.embeddings.create(model=MODEL, input=text, extra_body=more)
                except openai.APIError as error:
                    findings.answered[type(error).__name__] += 1
                    return
            (vector,) = answer.data
            is_own = vector.index == 0 and all(
                abs(got - made) < 1e-6 for got, made in zip(vector.embedding, numbers_of(text), strict=True)
            )
            findings.answered["own" if is_own else "another's"] += 1
            findings.tokens += answer.usage.prompt_tokens

        await asyncio.gather(*(one(number) for number in range(count)))
    return findings


def text_of(number: int) -> str:
    """Return the input of a request."""
    return f"text {number} " + "word " * (number % 7)
