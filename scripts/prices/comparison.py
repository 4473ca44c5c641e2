"""Published lists against a price book → rows of what they price and we do not, or otherwise, and a page of them.

:func:`compare` and :func:`page` are pure. Why a row is as it is stands in verdicts.yaml, written by hand; a row without
a verdict is new, and somebody has to look at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from metrion.model import Usage
from metrion.pricing import AUDIO_HOUR, PER_MILLION, PriceBook
from scripts.prices.lists import Kind, Listed

VERDICTS = Path(__file__).with_name("verdicts.yaml")

_MILLION = 1_000_000
_USED: Mapping[str, Usage] = {
    "input": Usage(input_tokens=_MILLION),
    "input_audio": Usage(input_tokens=_MILLION, input_audio_tokens=_MILLION),
    "input_image": Usage(input_tokens=_MILLION, input_image_tokens=_MILLION),
    "input_video": Usage(input_tokens=_MILLION, input_video_tokens=_MILLION),
    "cache_read": Usage(input_tokens=_MILLION, cache_read_tokens=_MILLION),
    "cache_read_audio": Usage(
        input_tokens=_MILLION, cache_read_tokens=_MILLION, input_audio_tokens=_MILLION, cache_read_audio_tokens=_MILLION
    ),
    "cache_read_image": Usage(
        input_tokens=_MILLION, cache_read_tokens=_MILLION, input_image_tokens=_MILLION, cache_read_image_tokens=_MILLION
    ),
    "cache_write": Usage(input_tokens=_MILLION, cache_write_tokens=_MILLION),
    "cache_write_1h": Usage(input_tokens=_MILLION, cache_write_tokens=_MILLION, cache_write_1h_tokens=_MILLION),
    "output": Usage(output_tokens=_MILLION),
    "output_audio": Usage(output_tokens=_MILLION, output_audio_tokens=_MILLION),
    "output_image": Usage(output_tokens=_MILLION, output_image_tokens=_MILLION),
    "output_video": Usage(output_tokens=_MILLION, output_video_tokens=_MILLION),
    "reasoning": Usage(output_tokens=_MILLION, reasoning_tokens=_MILLION),
    AUDIO_HOUR: Usage(audio_seconds=3600.0),
}
"""A usage that costs just the rate of this name."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What a price book says on a day."""

    book: PriceBook
    day: datetime

    def __call__(self, provider: str, model: str, kind: Kind) -> Decimal | None:
        """Return the price, in the units of a price file; ``None`` if there is none."""
        usage = _USED.get(kind.rate, Usage(unreported_tools={kind.rate: 1_000}))
        if kind.above:
            usage = Usage(
                input_tokens=usage.input_tokens or 0, output_tokens=usage.output_tokens or 0,
                cache_read_tokens=usage.cache_read_tokens, cache_write_tokens=usage.cache_write_tokens,
                cache_write_1h_tokens=usage.cache_write_1h_tokens, largest_input_tokens=kind.above + 1,
            )  # fmt: skip
        elif kind.rate in PER_MILLION and usage.input_tokens:
            # A million tokens in one request would be above every threshold.
            usage = Usage(**{name: getattr(usage, name) for name in _COUNTS}, output_tokens=0, largest_input_tokens=1)
        cost = self.book.cost(
            provider=provider, model=model, model_requested=None, usage=usage, when=self.day, service_tier=kind.tier
        )
        parts = {name: amount for name, amount in (cost.parts or {}).items() if name != "request"}
        return sum(parts.values(), Decimal(0)).normalize() if parts else None


_COUNTS = (
    "input_tokens", "input_audio_tokens", "input_image_tokens", "input_video_tokens", "cache_read_tokens",
    "cache_write_tokens", "cache_write_1h_tokens", "cache_read_audio_tokens", "cache_read_image_tokens",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, or one model (``kind`` is ``None``), that a list has and we do not, or have otherwise."""

    provider: str
    model: str
    kind: Kind | None
    ours: Decimal | None
    theirs: tuple[tuple[str, str], ...]
    """(the list, what it says), of each that differs from us."""

    @property
    def of(self) -> str:
        """What the row is about, as verdicts name it."""
        return "model" if self.kind is None else str(self.kind)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is right about some rows, and why."""

    provider: str
    models: tuple[str, ...]
    of: tuple[str, ...]
    right: str
    why: str

    def covers(self, row: Row) -> bool:
        """Whether it is about this row."""
        return (
            self.provider in (row.provider, "any")
            and any(fnmatchcase(row.model, pattern) for pattern in self.models)
            and any(fnmatchcase(row.of, pattern) for pattern in self.of)
        )


def compare(published: Mapping[str, Listed], price: Callable[[str, str, Kind], Decimal | None]) -> list[Row]:
    """Return where the lists differ from ``price``: a row for a model that has no price, else one for each figure."""
    models: dict[tuple[str, str], dict[Kind, dict[str, Decimal]]] = {}
    listed_by: dict[tuple[str, str], list[str]] = {}
    for name, listed in published.items():
        for provider, entries in listed.items():
            for model, rates in entries.items():
                kinds = models.setdefault((provider, model.lower()), {})
                listed_by.setdefault((provider, model.lower()), []).append(name)
                for kind, theirs in rates.items():
                    kinds.setdefault(kind, {})[name] = theirs
    rows = []
    for (provider, model), kinds in sorted(models.items()):
        ours = {kind: price(provider, model, kind) for kind in kinds}
        if not kinds or set(ours.values()) == {None}:
            said = tuple((name, _in_short(kinds, name)) for name in listed_by[provider, model])
            rows.append(Row(provider, model, None, None, said))
            continue
        for kind, figures in sorted(kinds.items()):
            different = tuple((name, f"{figure:f}") for name, figure in figures.items() if figure != (ours[kind] or 0))
            if different:
                rows.append(Row(provider, model, kind, ours[kind], different))
    return rows


def _in_short(kinds: Mapping[Kind, Mapping[str, Decimal]], name: str) -> str:
    standard = [
        f"{kind.rate} {figures[name]:f}"
        for kind, figures in sorted(kinds.items())
        if name in figures and not kind.tier and not kind.above
    ]
    return ", ".join(standard) or "in a unit of its own"


# --- verdicts and the page --------------------------------------------------------------------------------------------


def read_verdicts(path: Path = VERDICTS) -> list[Verdict]:
    """Return what verdicts.yaml says, in its order: the first that covers a row counts."""
    return [
        Verdict(
            item["provider"], tuple(item["models"]), tuple(item.get("of", ["model"])), item["right"],
            " ".join(item["why"].split()),
        )
        for item in yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 -- it makes nothing but text
    ]  # fmt: skip


def reasons(unpriced: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[Verdict]:
    """Return what the extra file says of models without a price, as verdicts."""
    return [
        Verdict(provider, (model,), ("model",), "no price", f"{block['unpriced']} Source: {block['source']}")
        for provider, models in unpriced.items()
        for model, block in models.items()
    ]


def verdict_on(row: Row, verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the first verdict that covers a row."""
    return next((verdict for verdict in verdicts if verdict.covers(row)), None)


def unjudged(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> list[str]:
    """Return the rows without a verdict, as lines to read."""
    return [
        f"{row.provider} > {row.model}: {row.of}: {_shown(row.ours)} here, {_said(row)}"
        for row in rows
        if verdict_on(row, verdicts) is None
    ]


def page(rows: Sequence[Row], verdicts: Sequence[Verdict], sources: Mapping[str, str]) -> str:
    """Return the page: for each verdict and provider, the rows that it covers."""
    lines = [
        "# Prices compared",
        "",
        "Made by `scripts/update-pricing --compare`, which holds `pricing.yaml` against other published lists:",
        *(f"- {source}" for source in sources.values()),
        "",
        "Tokens are in US dollars per million, audio per hour, fees per 1,000. What is not here, they agree on.",
        "",
        "A list is no authority: the provider's own page is. So each difference has a verdict, kept by hand in",
        "`verdicts.yaml` beside this page: who is right, and why. `open`: no page of the provider was found that",
        "settles it.",
        "",
    ]
    for provider in sorted({row.provider for row in rows}):
        lines += [f"## {provider}", ""]
        judged: dict[Verdict | None, list[Row]] = {}
        for row in rows:
            if row.provider == provider:
                judged.setdefault(verdict_on(row, verdicts), []).append(row)
        for verdict in [*verdicts, None]:
            covered = judged.get(verdict, [])
            if not covered:
                continue
            lines += [f"**{verdict.right}**: {verdict.why}" if verdict else "**No verdict yet.**", ""]
            lines += ["| model | what | here | elsewhere |", "|---|---|---|---|"]
            lines += [f"| `{row.model}` | {row.of} | {_shown(row.ours)} | {_said(row)} |" for row in covered]
            lines.append("")
    return "\n".join(lines)


def _shown(price: Decimal | None) -> str:
    return "—" if price is None else f"{price:f}"


def _said(row: Row) -> str:
    return "; ".join(f"{name}: {said}" for name, said in row.theirs)
