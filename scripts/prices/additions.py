"""What is kept by hand in scripts/pricing-extra.yaml, merged into the blocks of the genai-prices package.

Under a model there is a block or a list of blocks. Each is one of these, and anything else ends the program:

- a model that the package lacks, with its rates;
- ``match`` alone: more names of a model that the package has;
- ``fees`` alone: what tools cost, for a model or for all that a pattern covers and that answer in tokens;
- rates, ``service_tiers`` or ``cache_read_of_input`` that the package lacks for a model that it has; the key may be a
  pattern, and then means every model that it covers and that lacks them;
- a model with ``instead_of``: the package gives its name to another model, and it is taken from there;
- a model with ``replaces: RELEASE``: that release of the package has a wrong price, and this one goes in its place;
- ``unpriced: WHY``: a model, or all that a pattern covers, that is sold and has no price here. The package's price of
  it, if there is one, is left out.

A figure that the package has by now is an error, so that this file never hides a newer one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from metrion.pricing import RATES
from scripts.prices.blocks import Block, entry, multiplied, times
from scripts.prices.package import GENAI_PRICES, PROVIDERS

type Book = dict[str, dict[str, Block]]

EXTRA = Path(__file__).parents[1] / "pricing-extra.yaml"

_ABOUT = {"source", "checked", "comment"}


class Mistake(SystemExit):
    """The extra file says something that cannot be merged."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{EXTRA}: {where}: {problem}")


type Extra = dict[str, dict[str, list[Block]]]


def read_extra(path: Path = EXTRA) -> Extra:
    """Return the blocks of the extra file. Numbers stay text: none becomes a float."""
    _check_keys(yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))
    text = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 -- it makes nothing but text
    return {
        provider: {model: blocks if isinstance(blocks, list) else [blocks] for model, blocks in models.items()}
        for provider, models in text.items()
    }


def _check_keys(node: yaml.Node | None) -> None:
    """Raise if a mapping has a key twice; YAML would take the last one and say nothing."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                raise Mistake(
                    f"line {key.start_mark.line + 1}", f"{key.value} is there twice; make it a list of blocks"
                )
            seen.add(key.value)
            _check_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_keys(value)


def package_book(package: Mapping[str, Any]) -> Book:
    """Return the blocks of the package alone."""
    book: Book = {}
    for theirs, ours in PROVIDERS.items():
        models = package[theirs]["models"]
        taken = {model["id"].lower() for model in models}
        book[ours] = {model["id"].lower(): entry(ours, model, package[theirs]["urls"], taken) for model in models}
    return book


def merge(book: Book, extra: Extra) -> Book:
    """Add the blocks of the extra file to ``book``, and return it."""
    for provider, models in extra.items():
        for model, blocks in models.items():
            for block in blocks:
                _merge_one(book[provider], model, block, f"{provider} > {model}")
    return book


def unpriced(extra: Extra) -> Book:
    """Return the blocks that say why a model has no price, by provider."""
    return {
        provider: {model: block for model, blocks in models.items() for block in blocks if "unpriced" in block}
        for provider, models in extra.items()
    }


def _merge_one(models: dict[str, Block], model: str, block: Block, where: str) -> None:
    says = set(block) - _ABOUT
    if "unpriced" in block:
        for name in [name for name in models if fnmatchcase(name, model)]:
            del models[name]
    elif says == {"fees"}:
        _add_fees(models, model, block, where)
    elif says == {"match"}:
        if model not in models:
            raise Mistake(where, "has no rates, and genai-prices lacks the model")
        models[model]["match"] = [*models[model].get("match", []), *block["match"]]
        _note(models[model], f"{', '.join(block['match'])}: {block['source']}, checked {block['checked']}.")
    elif "instead_of" in block:
        _take_name(models, model, block, where)
        models[model] = _by_hand({key: value for key, value in block.items() if key != "instead_of"})
    elif "replaces" in block:
        _replace(models, model, block, where)
    elif covered := [name for name in models if name == model or fnmatchcase(name, model)]:
        amended = [name for name in covered if _amend(models[name], block, where, must=name == model)]
        if not amended:
            raise Mistake(where, "all of this has come with genai-prices; take it out of this file")
    elif set(block) & {*RATES, "rates", "fees"}:
        models[model] = _by_hand(block)
    else:
        raise Mistake(where, "has no rates, and genai-prices lacks the model")


def _by_hand(block: Block) -> Block:
    comment = f"Kept by hand in scripts/pricing-extra.yaml. {block.get('comment', '')}".strip()
    made = {"comment": comment} | {key: value for key, value in block.items() if key != "comment"}
    if tiers := made.pop("service_tiers", None):
        made["service_tiers"] = dict(sorted((tier, _tier(made, rates)) for tier, rates in tiers.items()))
    return made


def _note(block: Block, text: str) -> None:
    block["comment"] = f"{block['comment']} {text}".strip()


def _take_name(models: dict[str, Block], name: str, block: Block, where: str) -> None:
    owner = block["instead_of"]
    names = models.get(owner, {}).get("match", [])
    if name not in names:
        raise Mistake(where, f"genai-prices does not give this name to {owner} any more; take `instead_of` out")
    if name in models:
        raise Mistake(where, "genai-prices has a model of this name now; take it out of this file")
    models[owner]["match"] = [other for other in names if other not in (name, *block.get("match", []))]


def _replace(models: dict[str, Block], model: str, block: Block, where: str) -> None:
    if block["replaces"] != GENAI_PRICES or model not in models:
        raise Mistake(
            where, f"look at what genai-prices {GENAI_PRICES} says of it, and write that release or take it out"
        )
    own = {key: value for key, value in block.items() if key != "replaces"}
    names = models[model].get("match", [])
    models[model] = _by_hand(({"match": names} if names else {}) | own)


def _periods(block: Block) -> Iterator[Block]:
    """Yield what has rates in a block: itself, or its periods."""
    yield from block.get("rates", [block])


def _add_fees(models: dict[str, Block], pattern: str, block: Block, where: str) -> None:
    """Add what tools cost to the models of this name or pattern that answer in tokens."""
    found = [
        name
        for name, model in models.items()
        if fnmatchcase(name, pattern) and all("output" in prices for prices in _periods(model))
    ]
    if not found:
        raise Mistake(where, "has fees and no rates, and genai-prices has no such model")
    for name in found:
        added = set()
        for prices in _periods(models[name]):
            fees = prices.get("fees", {})
            if any(fees.get(tool, fee) != fee for tool, fee in block["fees"].items()):
                raise Mistake(where, f"genai-prices has other fees for {name}: {fees}")
            added |= set(block["fees"]) - set(fees)
            prices["fees"] = dict(sorted((block["fees"] | fees).items()))
        if added:
            _tiers_last(models[name])
            _note(models[name], f"Fees for {', '.join(sorted(added))}: {block['source']}, checked {block['checked']}.")


def _amend(model: Block, block: Block, where: str, *, must: bool) -> bool:
    """Add rates and service tiers to a model, and say whether there was anything to add.

    With ``must``, all of it has to be new.
    """
    added = []
    rates = {name: rate for name, rate in block.items() if name in RATES}
    unknown = set(block) - _ABOUT - set(rates) - {"service_tiers", "cache_read_of_input", "fees"}
    if unknown:
        raise Mistake(where, f"cannot be added to a model that genai-prices has: {', '.join(sorted(unknown))}")
    for prices in _periods(model):
        for name, rate in _with_cached(prices, rates, block.get("cache_read_of_input")).items():
            if name not in prices:
                prices[name] = rate
                added.append(name)
            elif must:
                raise Mistake(where, f"genai-prices has a rate for {name} now; take it out of this file")
        if fees := block.get("fees"):
            prices["fees"] = dict(sorted((prices.get("fees", {}) | fees).items()))
            added.append("fees")
        _in_order(prices)
    if factor := block.get("cache_read_of_input"):
        for tier in model.get("service_tiers", {}).values():
            for prices in tier if isinstance(tier, list) else [tier]:
                prices.update(_with_cached(prices, {}, factor) if "cache_read" not in prices else {})
                _in_order(prices)
    for name, tier in block.get("service_tiers", {}).items():
        if name not in model.get("service_tiers", {}):
            tiers = model.setdefault("service_tiers", {})
            tiers[name] = _tier(model, tier)
            model["service_tiers"] = dict(sorted(tiers.items()))
            added.append(name)
        elif must:
            raise Mistake(where, f"genai-prices has rates for {name} now; take them out of this file")
    if added:
        _tiers_last(model)
        _note(model, f"{', '.join(dict.fromkeys(added))}: {block['source']}, checked {block['checked']}.")
    return bool(added)


def _with_cached(prices: Block, rates: Block, of_input: str | None) -> Block:
    """Return ``rates``, with what cached tokens cost as a part of the input's rate."""
    if of_input is None or "input" not in prices or prices["input"] == "0":
        return rates
    return rates | {"cache_read": times(prices["input"], Decimal(of_input))}


def _tier(model: Block, tier: Block | list[Block]) -> Block | list[Block]:
    """Return the rates of a service tier. ``times`` means that multiple of each standard rate that it does not name."""
    if isinstance(tier, list) or "times" not in tier:
        return tier
    first_day = tier.get("from")
    named = {name: rate for name, rate in tier.items() if name not in ("times", "from")}
    blocks: list[Block] = []
    for prices in _periods(model):
        rates = {name: value for name, value in prices.items() if name in RATES or name in ("from", "until", "above")}
        block = multiplied(rates, Decimal(tier["times"]))
        for name, rate in named.items():
            if isinstance(rate, dict):
                steps = {str(start): step for start, step in block.get(name, {}).items()}
                block[name] = steps | {start: steps.get(start, {}) | step for start, step in rate.items()}
            else:
                block[name] = rate
        if first_day and first_day > block.get("from", ""):
            block = {"from": first_day} | {name: value for name, value in block.items() if name != "from"}
        _in_order(block)
        if blocks and blocks[-1].get("from") == block.get("from"):
            blocks.pop()  # it was over before the tier's first day
        blocks.append(block)
    return blocks[0] if len(blocks) == 1 else blocks


def _in_order(prices: Block) -> None:
    order = [
        "comment",
        "match",
        "source",
        "checked",
        "from",
        "until",
        *RATES,
        "above",
        "fees",
        "rates",
        "service_tiers",
    ]
    for key in sorted(prices, key=order.index):
        prices[key] = prices.pop(key)


def _tiers_last(model: Block) -> None:
    if "service_tiers" in model:
        model["service_tiers"] = model.pop("service_tiers")
