"""A model of the genai-prices package → its block in pricing.yaml.

Pure functions over plain data; amounts are text. What genai-prices says in a way that is not known here ends the
program: nothing is left out silently.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any

from metrion.pricing import PER_MILLION, STANDARD_TIERS
from scripts.prices.package import CHECKED

type Block = dict[str, Any]

RATES = {
    "input_mtok": "input",
    "input_audio_mtok": "input_audio",
    "input_image_mtok": "input_image",
    "input_video_mtok": "input_video",
    "cache_read_mtok": "cache_read",
    "cache_audio_read_mtok": "cache_read_audio",
    "cache_image_read_mtok": "cache_read_image",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
    "output_video_mtok": "output_video",
    "audio_hours": "audio_hour",
    "input_audio_hours": "audio_hour",
}
FEES = {
    "input_annotated_document_kpages": ("annotated_document_page", 1),
    "input_document_kpages": ("document_page", 1),
    "input_mchars": ("input_character", 1000),
    "input_text_messages_kcount": ("input_text_message", 1),
    "storage_searches_kcount": ("file_search", 1),
    "web_searches_kcount": ("web_search", 1),
}
"""genai-prices' key, Metrion's name of the fee, and by what to divide to get a price per 1,000."""

CONTEXTS = {("processing", "batch"): "batch", ("speed", "fast"): "fast"}
"""What genai-prices tells apart from the service tier, and the tier it is in pricing.yaml."""

US_ONLY = Decimal("1.1")
"""What Anthropic multiplies token rates with when inference stays in the US (`inference_geo`): standard ones, and those
of fast mode and of batches too, as the multiplier is on all token prices.

Source: https://platform.claude.com/docs/en/manage-claude/data-residency and
https://platform.claude.com/docs/en/about-claude/pricing, checked 2026-11-21. Older models refuse the parameter.
"""
WITHOUT_US_ONLY = re.compile(r"claude-(2|3|v1|(opus|sonnet|haiku)-4-[015]$)")


# --- names ------------------------------------------------------------------------------------------------------------

_PREVIEW_DAYS = ("-[0-9][0-9]-[0-9][0-9]", "-[0-9][0-9]-20[0-9][0-9]")
_ENDINGS = {
    "claude": ("-latest",),
    "gemini": ("-[0-9][0-9][0-9]", "-latest", "-preview", *(f"-preview{day}" for day in _PREVIEW_DAYS)),
}
"""What stands for the open end of a name, by the first word of it: the endings of a model's other names.

A pattern with ``*`` would price what is another model: ``claude-opus-4-10``, ``claude-haiku-4-5-nano``. A full date is
no ending here, because Metrion finds dated names itself.
"""

_CUT_OFF = {
    "claude-sonnet-4-2025": "claude-sonnet-4",
    "ft:gpt-4-0": "ft:gpt-4-0613",
    "ft:gpt-4o-2024": "ft:gpt-4o",
    "ft:gpt-4o-mini-2024": "ft:gpt-4o-mini",
    "gemini-2.0-flash-0": "gemini-2.0-flash",
    "gemma-3": None,
    "gpt-4o-mini-2024-07-18.ft": None,
    "gpt-4o-mini-audio": "gpt-4o-mini-audio-preview",
    "gpt-4o-mini-realtime": "gpt-4o-mini-realtime-preview",
    "gpt-4o-realtime": "gpt-4o-realtime-preview",
    "moderation": None,
}
"""Beginnings that end inside a name, and the shortest name that they are the beginning of."""


def names(clause: Block) -> list[str]:
    """Return the names and patterns for what a clause matches."""
    match clause:
        case {"equals": name}:
            return [name]
        case {"starts_with": part} | {"contains": part} | {"ends_with": part}:
            return open_names(part)
        case {"or_": clauses}:
            return [name for clause in clauses for name in names(clause)]
        case {"and_": [first, {"regex": r"^(?!.*-[tT][tT][sS](?:$|-))"}]}:
            return names(first)
        case {"regex": regex}:
            return regex_names(regex)
    raise SystemExit(f"genai-prices matches models in a way that this script does not know: {clause}")


def open_names(part: str) -> list[str]:
    """Return the names for one of which genai-prices has only a part."""
    stem = part.rstrip("-@").lower()
    whole = _CUT_OFF.get(stem, stem)
    if whole is None:
        return []
    family = whole.partition("-")[0]
    endings: tuple[str, ...] = ()
    if whole.endswith("-preview"):
        endings = _PREVIEW_DAYS if family == "gemini" else ()
    elif not re.search("-(exp|latest|preview|thinking)", whole):
        endings = _ENDINGS.get(family, ())
    return [whole, *(whole + ending for ending in endings)]


def regex_names(regex: str) -> list[str]:
    """Return the names for the kinds of regular expressions that are in use.

    Those for a dated name become nothing: the name without the date is there too, and Metrion finds dated names itself.
    """
    plain = regex.removeprefix("^").replace("\\.", ".")
    for dated in (r"-\d{8}$", r"[-@]\d{8}$", r"-\d{4}-\d{2}-\d{2}$"):
        if plain.endswith(dated):
            return []
    if re.fullmatch(r"[\w.-]+-\\d", plain):
        return open_names(plain.removesuffix("\\d"))
    raise SystemExit(f"genai-prices has a regular expression that this script cannot turn into names: {regex}")


# --- rates ------------------------------------------------------------------------------------------------------------


def amount(text: str) -> str:
    """Return a decimal in its shortest form without an exponent."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def times(rate: str, factor: Decimal) -> str:
    """Return a multiple of a rate."""
    return amount(f"{Decimal(rate) * factor:f}")


def multiplied(block: Block, factor: Decimal) -> Block:
    """Return a block of rates with every rate multiplied; its days stay, and fees are left out."""
    return {
        key: multiplied(value, factor)
        if isinstance(value, dict)
        else value
        if key in ("from", "until")
        else times(value, factor)
        for key, value in block.items()
        if key != "fees"
    }


def period(prices: Block, since: str | None) -> Block:
    """Return a block of rates."""
    rates: dict[str, str] = {}
    above: dict[int, dict[str, str]] = {}
    fees: dict[str, str] = {}
    for key, price in prices.items():
        if key in FEES:
            name, by = FEES[key]
            fees[name] = amount(f"{Decimal(price) / by:f}")
        elif key in RATES:
            name = RATES[key]
            base = price["base"] if isinstance(price, dict) else price
            if rates.setdefault(name, amount(base)) != amount(base):
                raise SystemExit(f"genai-prices has two prices for {name}: {prices}")
            for tier in price["tiers"] if isinstance(price, dict) else ():
                above.setdefault(tier["start"], {})[name] = amount(tier["price"])
        else:
            raise SystemExit(f"genai-prices has a price that this script does not know: {key}")
    order = [*PER_MILLION, "audio_hour"]
    block: Block = {"from": since} if since else {}
    block |= {name: rates[name] for name in order if name in rates} or ({} if fees else {"input": "0", "output": "0"})
    if above:
        block["above"] = {
            start: {name: step[name] for name in order if name in step} for start, step in sorted(above.items())
        }
    if fees:
        block["fees"] = dict(sorted(fees.items()))
    return block


_SPEAKS = re.compile(r"(gemini|gpt)-.*-tts\b")
_DRAWS = re.compile(r"(chat)?gpt-image-")
_HEARS = re.compile(r"gemini-(?!embedding)")


def completed(model: str, block: Block, standard: Block) -> Block:
    """Return a block of rates with those of audio and images, where genai-prices has one rate for everything.

    Output of models that only speak or draw is audio or images (their pages list one output rate, for that). Gemini's
    pages list audio apart only where it costs something else than text: https://ai.google.dev/gemini-api/docs/pricing.
    """
    same = []
    if _SPEAKS.match(model):
        same.append(("output_audio", "output"))
    if _DRAWS.match(model):
        same.append(("output_image", "output"))
    if _HEARS.match(model):
        same += [("input_audio", "input"), ("cache_read_audio", "cache_read")]
    more = {name: block[text] for name, text in same if text in block and name not in standard and name not in block}
    order = {name: place for place, name in enumerate(PER_MILLION)}
    rates = sorted(
        ((name, rate) for name, rate in (block | more).items() if name in order), key=lambda row: order[row[0]]
    )
    rest = {name: value for name, value in block.items() if name not in order}
    above = rest.pop("above", None)
    days = {name: rest.pop(name) for name in ("from",) if name in rest}
    steps = {"above": {start: completed(model, step, standard) for start, step in above.items()}} if above else {}
    return days | dict(rates) | {name: rest.pop(name) for name in ("audio_hour",) if name in rest} | steps | rest


def first_day(constraint: Block | None) -> str | None:
    """Return the day from which a price holds."""
    if constraint is None:
        return None
    if constraint["type"] != "StartDateConstraint":
        raise SystemExit(f"genai-prices has a condition that this script does not know: {constraint}")
    return date.fromisoformat(constraint["start_date"]).isoformat()


def service_tier(context: dict[str, str]) -> str:
    """Return the service tier that stands for this context."""
    ((key, value),) = context.items()
    if key != "service_tier" and (key, value) not in CONTEXTS:
        raise SystemExit(f"genai-prices has a variant that this script does not know: {context}")
    return CONTEXTS.get((key, value), value)


def service_tiers(variants: list[Block], standard: Block) -> Block:
    """Return the rates per service tier. genai-prices lists the newest first, pricing.yaml the oldest."""
    tiers: dict[str, list[Block]] = {}
    for variant in reversed(variants):
        tier = service_tier(variant["when"])
        if tier not in STANDARD_TIERS:
            # A variant without prices says that the tier costs what the standard one does.
            prices = variant["prices"] or standard
            tiers.setdefault(tier, []).append(period(prices, first_day(variant["constraint"])))
    for tier, blocks in tiers.items():
        if len({frozenset(block) - {"from"} for block in blocks}) > 1:
            raise SystemExit(f"genai-prices changes the set of prices of {tier} with the date: {blocks}")
    return {tier: blocks[0] if len(blocks) == 1 else blocks for tier, blocks in tiers.items()}


def us_only(standard: Block, tiers: Block) -> Block:
    """Return the service tiers of Anthropic's US-only inference."""
    special: Block = {"us": multiplied(standard, US_ONLY)}
    for tier in ("batch", "fast"):
        if blocks := tiers.get(tier):
            name = "+".join(sorted((tier, "us")))
            special[name] = (
                multiplied(blocks, US_ONLY)
                if isinstance(blocks, dict)
                else [multiplied(block, US_ONLY) for block in blocks]
            )
    return special


def entry(provider: str, model: Block, urls: list[str], taken: set[str]) -> Block:
    """Return the block of one model. ``taken`` holds the names of the models before it, which come first."""
    found = [name.lower() for name in names(model["match"])]
    own = model["id"].lower()
    others = [name for name in dict.fromkeys(found) if name not in taken and name != own]
    taken.update(others)
    block: Block = {"comment": " ".join((model["price_comments"] or "").split())}
    if others:
        block["match"] = others
    block |= {"source": urls[0], "checked": CHECKED}
    prices = model["prices"]
    if isinstance(prices, list):
        periods = [period(price["prices"], first_day(price["constraint"])) for price in prices]
        block["rates"] = [completed(own, each, each) for each in periods]
        if len(prices) == 1 and not prices[0]["constraint"]:
            block |= block.pop("rates")[0]
    else:
        block |= completed(own, period(prices, None), period(prices, None))
    latest = prices[-1] if isinstance(prices, list) else {"prices": prices, "constraint": None}
    tiers = service_tiers(model["price_variants"] or [], latest["prices"])
    if provider == "anthropic" and not WITHOUT_US_ONLY.match(model["id"]):
        tiers |= us_only(period(latest["prices"], first_day(latest["constraint"])), tiers)
    if tiers:
        standard = period(latest["prices"], None)
        block["service_tiers"] = {
            tier: [completed(own, each, standard) for each in blocks]
            if isinstance(blocks, list)
            else completed(own, blocks, standard)
            for tier, blocks in sorted(tiers.items())
        }
    return block
