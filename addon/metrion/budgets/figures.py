"""What a request is likely to cost: who asks for which model, and how much, in; picodollars out.

The figure is a high percentile of what the last such requests of the same token and model cost, their share of cached
input included. Where nobody has made any, it comes from the price book: the size of the body as tokens, and a typical
output. Neither has more output in it than the request's own ``max_tokens``. It never is the maximum of a model: that
would lock out agents, who ask for 64,000 tokens and use a few hundred.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from metrion.model import PICODOLLARS, Usage, picodollars
from metrion.pricing import PriceBook
from metrion.pricing.prices import PER_REQUEST

PERCENTILE = 0.95
LAST = 64
"""So many costs are remembered of each token and model."""
TYPICAL_OUTPUT = 500
"""Tokens of an answer, where nobody has made such a request before."""
MOST_INPUT = 50_000
"""Tokens that the size of a body is taken for at most, where nobody has: a large one has pictures or sound in it."""
_BYTES_PER_TOKEN = 4
_OF_OUTPUT = frozenset({"output", "output_audio", "output_image", "output_video", "reasoning"})
"""The parts of a cost that ``max_tokens`` bounds."""
_MOST_KEPT = 2048
_LOOK_SECONDS = 2.0
SEEDS = "history"
"""The file of a home's budgets with what such requests cost lately, of all processes."""

type Who = tuple[str | None, str | None, str, str | None]
"""The account, the token, the provider, the model asked for."""


class Rates(NamedTuple):
    """What a token costs, in picodollars; ``None``: this class has no rate."""

    input: float | None
    output: float | None
    other: float
    """What such a request costs where it is not billed by tokens."""


class Likely(NamedTuple):
    """What such requests cost, nearly at most."""

    cost: int
    input: int
    """Without their output."""


class _Costs:
    """The last costs of one token and model, and how much of each was not output; both also in order."""

    __slots__ = ("_costs", "_inputs", "_last")

    def __init__(self) -> None:
        self._last = deque[tuple[int, int]]()
        self._costs: list[int] = []
        self._inputs: list[int] = []

    def learn(self, cost: int, parts: Mapping[str, Decimal] | None) -> None:
        """Remember one more, in the place of the oldest."""
        output = sum(picodollars(part) for name, part in (parts or {}).items() if name in _OF_OUTPUT)
        input_ = max(0, cost - output)
        if len(self._last) >= LAST:
            old = self._last.popleft()
            del self._costs[bisect_left(self._costs, old[0])]
            del self._inputs[bisect_left(self._inputs, old[1])]
        self._last.append((cost, input_))
        insort(self._costs, cost)
        insort(self._inputs, input_)

    def high(self) -> Likely:
        """Return the percentile of each; there is at least one."""
        at = int(PERCENTILE * len(self._costs))
        return Likely(self._costs[at], self._inputs[at])


class Figures:
    """See the module. ``folder``: where a count leaves what it found of earlier requests."""

    def __init__(self, prices: PriceBook, folder: Path, clock: Callable[[], float]) -> None:
        self._prices = prices
        self._path = folder / SEEDS
        self._clock = clock
        self._costs = dict[Who, _Costs]()
        self._rates = dict[tuple[str, str, int], Rates | None]()
        self._seeds = dict[Who, Likely]()
        self._seeds_state: tuple[int, int] | None = None
        self._looked_at = -_LOOK_SECONDS

    def use(self, prices: PriceBook) -> None:
        """Take other prices. What requests cost by earlier ones stays their history."""
        self._prices = prices
        self._rates.clear()

    def rates(self, provider: str, model: str) -> Rates | None:
        """Return what a model costs today; ``None``: it has no price."""
        now = self._clock()
        key = (provider, model, int(now // 86_400))
        try:
            return self._rates[key]
        except KeyError:
            if len(self._rates) >= _MOST_KEPT:
                self._rates.clear()
        found = self._rates[key] = self._looked_up(provider, model, now)
        return found

    def likely(self, who: Who, rates: Rates | None, body_bytes: int, most_output: int | None) -> int:
        """Return what a request is likely to cost."""
        costs = self._costs.get(who)
        found = costs.high() if costs is not None else self._seed(who)
        output = rates.output or 0.0 if rates is not None else 0.0
        if found is not None:
            if most_output is None or not output:
                return found.cost
            return min(found.cost, found.input + int(most_output * output))
        if rates is None:
            return 0
        if not output and rates.input is None:
            return int(rates.other)
        tokens = min(body_bytes // _BYTES_PER_TOKEN + 1, MOST_INPUT)
        typical = TYPICAL_OUTPUT if most_output is None else min(TYPICAL_OUTPUT, most_output)
        return int(tokens * (rates.input or 0.0) + typical * output)

    def learn(self, who: Who, cost: int, parts: Mapping[str, Decimal] | None) -> None:
        """Remember what a request cost, and of which parts."""
        costs = self._costs.get(who)
        if costs is None:
            if len(self._costs) >= _MOST_KEPT:
                self._costs.pop(next(iter(self._costs)))
            costs = self._costs[who] = _Costs()
        costs.learn(cost, parts)

    def _looked_up(self, provider: str, model: str, now: float) -> Rates | None:
        when = datetime.fromtimestamp(now, UTC)
        found = self._prices.priced_by(
            provider=provider, model=None, model_requested=model, usage=Usage(), when=when, service_tier=None
        )
        if found is None or (period := found[1]) is None:
            return None
        rates = {name: rate.at(0) for name in ("input", "output") if (rate := period.classes.get(name))}
        per_token = {name: float(rate) * PICODOLLARS / 1e6 for name, rate in rates.items() if rate is not None}
        fees = (period.fees[PER_REQUEST],) if PER_REQUEST in period.fees else tuple(period.fees.values())
        other = float(max(fees, default=0)) * PICODOLLARS / 1000
        return Rates(per_token.get("input"), per_token.get("output"), other)

    def _seed(self, who: Who) -> Likely | None:
        """Return what a count has found of earlier requests."""
        now = self._clock()
        if abs(now - self._looked_at) >= _LOOK_SECONDS:
            self._looked_at = now
            with suppress(OSError, ValueError, TypeError):
                status = self._path.stat()
                state = (status.st_mtime_ns, status.st_ino)
                if state != self._seeds_state:
                    self._seeds_state = state
                    rows = json.loads(self._path.read_bytes())
                    self._seeds = {
                        (account, token, provider, model): Likely(int(cost), int(input_))
                        for account, token, provider, model, cost, input_ in rows
                    }
        return self._seeds.get(who)
