"""What a provider's total says of the input and the output that it reports beside it.

A total that is their sum confirms them. Where it has more, servers differ in what they count beside the prompt and the
completion: reasoning, or what a cache had a part in. It is taken for that only where the numbers are equal. A total
that its parts do not explain contradicts them: both are then ``None``, and no cost is computed.
"""

from __future__ import annotations

from itertools import product

from metrion.dialects.reading.usage_reader import UsageReader

TOTAL = "total_tokens"


def sides(
    reader: UsageReader,
    given: int | None,
    made: int | None,
    total: int | None,
    *,
    reasoning: int | None = None,
    cached: int = 0,
    beside: tuple[int | None, ...] = (),
    path: str = TOTAL,
) -> tuple[int | None, int | None]:
    """Return input and output.

    ``given`` and ``made`` are what is reported of them; ``made`` may be missing where nothing was made. ``cached`` is
    what was read from a cache or written to one. ``beside`` are further parts that may be input beside the prompt.
    """
    if given is None or total is None:
        return given, made
    beyond = total - given - (made or 0)
    if beyond == 0:
        reader.adds_up = True
        return given, made or 0
    found = _explanations(given, made or 0, beyond, reasoning or 0, cached, [count for count in beside if count])
    if len(found) == 1:
        reader.adds_up = True
        return found.pop()
    reader.contradict(path, by="its parts")
    return None, None


def _explanations(
    given: int, made: int, beyond: int, reasoning: int, cached: int, beside: list[int]
) -> set[tuple[int | None, int | None]]:
    """Return every input and output in which what the total has beyond its parts is one or more of these counts."""
    found = set[tuple[int | None, int | None]]()
    extras = [*((count, "input") for count in (cached, *beside)), (reasoning, "output")]
    for chosen in product((False, True), repeat=len(extras)):
        more = [extra for extra, is_beside in zip(extras, chosen, strict=True) if is_beside and extra[0]]
        left_out = (cached > given and not chosen[0]) or (reasoning > made and not chosen[-1])
        if sum(count for count, _ in more) == beyond and more and not left_out:
            output = made + sum(count for count, side in more if side == "output")
            found.add((given + beyond + made - output, output))
    return found
