"""The text of a price file → the entries in it (format: ``docs/pricing.md``).

A file is read whole or not at all: the first mistake raises, with the file, the line, the key and the way out. Numbers
stay text until they are :class:`~decimal.Decimal`; no float is on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path

import yaml

from metrion.errors import PricingError
from metrion.pricing.model_names import is_pattern
from metrion.pricing.prices import RATES, Entry, Period, Rate
from metrion.providers import canonical_name

try:
    from yaml import CBaseLoader as _Loader
except ImportError:  # PyYAML was built without libyaml: slower, the same result
    from yaml import BaseLoader as _Loader  # type: ignore[assignment]  # the two have one interface, but no common base


_PERIOD_KEYS = frozenset({*RATES, "from", "until", "above", "fees", "allowance", "regional"})
_ENTRY_KEYS = _PERIOD_KEYS | {"match", "not", "source", "checked", "rates", "service_tiers"}

_AMOUNT = re.compile(r"\d{1,9}(\.\d{1,12})?|\.\d{1,12}")
"""Room for any price, and few enough digits that no product with a count is ever rounded."""


def read_bytes(path: Path) -> bytes:
    """Return what is in a price file.

    :raises PricingError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PricingError(
            f"{path}: cannot be read ({error.strerror}); check `pricing` in metrion.yaml and the file's permissions"
        ) from error


def last_checked(text: bytes) -> date | None:
    """Return the last day on which somebody checked a price of a file, as it says; ``None``: it does not."""
    days = set[date]()
    uncommented = b"\n".join(line for line in text.splitlines() if not line.lstrip().startswith(b"#"))
    for day in re.findall(rb"\bchecked: *['\"]?(\d{4}-\d\d-\d\d)\b", uncommented):
        with suppress(ValueError):
            days.add(date.fromisoformat(day.decode()))
    return max(days, default=None)


def read_entries(path: Path, text: bytes) -> dict[str, list[Entry]]:
    """Return the entries by provider. Errors name the file as ``path``.

    :raises PricingError: something in the text is not as ``docs/pricing.md`` says.
    """
    return _File(path).read(text)


class _File:
    """A file while it is read. Works on YAML nodes, so that every number stays text and every error has its line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, text: bytes) -> dict[str, list[Entry]]:
        """Return the entries by provider."""
        try:
            root = yaml.compose(text.decode(), Loader=_Loader)
        except UnicodeDecodeError as error:
            raise PricingError(f"{self._path}: is not UTF-8; save it as UTF-8") from error
        except yaml.MarkedYAMLError as error:
            line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
            raise PricingError(f"{self._path}{line}: is not valid YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise PricingError(f"{self._path}: is not valid YAML: {' '.join(str(error).split())}") from error
        if root is None:
            return {}
        providers: dict[str, list[Entry]] = {}
        for name, models in self._pairs(root, "the file", "providers, and under each its models"):
            provider = canonical_name(name)
            if provider in providers:
                raise self._error(models, name, f"{provider} stands here twice; put its models under one name")
            providers[provider] = [
                self._entry(model, block, f"{name} > {model}")
                for model, block in self._pairs(models, name, "models, as in `my-model: {input: 1.50, output: 6}`")
            ]
            self._check_names(models, name, providers[provider])
        return providers

    def _entry(self, model: str, block: yaml.Node, where: str) -> Entry:
        """Return the entry of one model."""
        if model in RATES and isinstance(block, yaml.ScalarNode):
            raise self._error(block, where, "is no model; a provider stands above its models, as in `openai:`")
        keys = self._block(block, where, _ENTRY_KEYS)
        if "rates" in keys:
            if inline := next((key for key in keys if key in _PERIOD_KEYS), None):
                raise self._error(
                    keys[inline], f"{where} > {inline}", "goes into an item of `rates`, which is there too"
                )
            periods = self._periods(keys["rates"], f"{where} > rates")
        else:
            periods = (self._period({key: keys[key] for key in keys if key in _PERIOD_KEYS}, block, where),)
        tiers = {}
        if "service_tiers" in keys:
            where = f"{where} > service_tiers"
            for tier, node in self._pairs(keys["service_tiers"], where, "service tiers, as in `batch: {input: 0.75}`"):
                tiers[tier.lower()] = self._periods(node, f"{where} > {tier}")
        names = [name.lower() for name in self._strings(keys.get("match"), f"{where} > match")]
        return Entry(
            model=model.lower(),
            names=tuple(name for name in names if not is_pattern(name)),
            patterns=tuple(name for name in names if is_pattern(name)),
            exclusions=tuple(name.lower() for name in self._strings(keys.get("not"), f"{where} > not")),
            periods=periods,
            service_tiers=tiers,
        )

    def _periods(self, node: yaml.Node, where: str) -> tuple[Period, ...]:
        """Return the periods of a list of blocks, or of one block."""
        blocks = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not blocks:
            raise self._error(node, where, "is empty; give it rates, or leave it out")
        return tuple(self._period(self._block(block, where, _PERIOD_KEYS), block, where) for block in blocks)

    def _period(self, keys: Mapping[str, yaml.Node], block: yaml.Node, where: str) -> Period:
        """Return the rates and fees of a block, and the days on which they hold."""
        since, until = (self._day(keys.get(key), f"{where} > {key}") for key in ("from", "until"))
        if since and until and until <= since:
            raise self._error(keys["until"], f"{where} > until", f"{until} is not after `from`, {since}")
        rates = {key: Rate(self._amount(keys[key], f"{where} > {key}")) for key in RATES if key in keys}
        if "above" in keys:
            rates |= self._above(keys["above"], rates, f"{where} > above")
        fees = {}
        if "fees" in keys:
            for name, node in self._pairs(keys["fees"], f"{where} > fees", "fees, as in `web_search: 10`"):
                fees[name] = self._amount(node, f"{where} > fees > {name}")
        if not rates and not fees:
            raise self._error(block, where, "has no rate; give it one, as in `{input: 1.50, output: 6}`; 0 is free")
        allowances = frozenset(self._strings(keys.get("allowance"), f"{where} > allowance"))
        if stray := sorted(allowances - fees.keys()):
            raise self._error(keys["allowance"], f"{where} > allowance", f"{stray[0]} is not one of the fees beside it")
        regional = self._amount(keys["regional"], f"{where} > regional") if "regional" in keys else None
        return Period(since, until, rates, fees, allowances, regional)

    def _above(self, node: yaml.Node, rates: Mapping[str, Rate], where: str) -> dict[str, Rate]:
        """Return the rates that change above a number of input tokens, thresholds included."""
        tiered = dict[str, Rate]()
        steps = []
        for key, block in self._pairs(node, where, "thresholds, as in `200000: {input: 3}`"):
            if not key.isdecimal():
                raise self._error(block, f"{where} > {key}", "is no number of input tokens, such as 200000")
            steps.append((int(key), self._block(block, f"{where} > {key}", frozenset(rates)), f"{where} > {key}"))
        for threshold, keys, step in sorted(steps, key=lambda step: step[0]):
            for name, rate in keys.items():
                before = tiered.get(name, rates[name])
                amount = self._amount(rate, f"{step} > {name}")
                tiered[name] = Rate(before.base, (*before.above, (threshold, amount)))
        return tiered

    def _check_names(self, node: yaml.Node, where: str, entries: Sequence[Entry]) -> None:
        """Raise if two models of a provider have a name in common."""
        owners: dict[str, Entry] = {}
        for entry in entries:
            for name in (entry.model, *entry.names, *entry.patterns):
                if (owner := owners.setdefault(name, entry)) is not entry:
                    raise self._error(node, where, f"{owner.model} and {entry.model} both go by {name}; keep one")

    def _pairs(self, node: yaml.Node, where: str, expected: str) -> Iterator[tuple[str, yaml.Node]]:
        """Yield the keys of a mapping with their values. Two equal keys are an error."""
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, where, f"must hold {expected}")
        seen = set[str]()
        for key, value in node.value:
            name = key.value
            if not isinstance(key, yaml.ScalarNode) or not name:
                raise self._error(key, where, f"must hold {expected}")
            if name in seen:
                raise self._error(key, f"{where} > {name}", "stands here twice; keep one of them")
            seen.add(name)
            yield name, value

    def _block(self, node: yaml.Node, where: str, known: frozenset[str]) -> dict[str, yaml.Node]:
        """Return a mapping in which every key is one of ``known``."""
        keys = dict(self._pairs(node, where, "rates, as in `{input: 1.50, output: 6}`"))
        for key in keys:
            if key not in known:
                raise self._error(
                    keys[key], f"{where} > {key}", f"is not known here; known are {', '.join(sorted(known))}"
                )
        return keys

    def _amount(self, node: yaml.Node, where: str) -> Decimal:
        text = _scalar(node)
        if text.startswith("-") and _AMOUNT.fullmatch(text[1:]):
            raise self._error(node, where, f"{text} is negative; a rate is 0 or more")
        if not _AMOUNT.fullmatch(text):
            raise self._error(node, where, f"{_shown(text)} is not an amount in US dollars, such as 1.50; 0 is free")
        return Decimal(text)

    def _day(self, node: yaml.Node | None, where: str) -> date | None:
        if node is None:
            return None
        text = _scalar(node)
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise self._error(node, where, f"{_shown(text)} is not a day, such as 2026-03-13") from error

    def _strings(self, node: yaml.Node | None, where: str) -> list[str]:
        nodes = [] if node is None else node.value if isinstance(node, yaml.SequenceNode) else [node]
        for item in nodes:
            if not isinstance(item, yaml.ScalarNode) or not item.value:
                raise self._error(item, where, "must be a name, a pattern such as `gpt-4o-*`, or a list of them")
        return [item.value for item in nodes]

    def _error(self, node: yaml.Node, where: str, problem: str) -> PricingError:
        return PricingError(f"{self._path}, line {node.start_mark.line + 1}: {where}: {problem}")


def _scalar(node: yaml.Node) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else ""


def _shown(text: str) -> str:
    return repr(text) if text else "this"
