"""Two other published lists of prices → what each says a model costs, in one form.

The lists are read as data out of packages that ship them; nothing of the packages is installed or run. The functions
that read are pure and take decoded JSON with numbers as :class:`~decimal.Decimal`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

LITELLM = "1.110.2"
"""The release of LiteLLM whose wheel is read."""
PI_AI = "1.6.0"
"""The release of @earendil-works/pi-ai, a package that ships the prices of models.dev."""

SOURCES = {
    "LiteLLM": f"the price map in LiteLLM {LITELLM} (https://github.com/BerriAI/litellm)",
    "models.dev": f"models.dev as shipped with pi-ai {PI_AI} (https://models.dev)",
}


class Kind(NamedTuple):
    """What a price is for."""

    rate: str
    """The name of a rate or fee in a price file."""
    tier: str = ""
    """The service tier, ``""`` being standard."""
    above: int = 0
    """With more input tokens than this."""

    def __str__(self) -> str:
        """Return words for a table."""
        above = f" above {self.above:,}" if self.above else ""
        return f"{self.rate}{above}{f', {self.tier}' if self.tier else ''}"


type Listed = dict[str, dict[str, dict[Kind, Decimal]]]
"""What a list says: by provider and model, and in the units of a price file."""


def published() -> dict[str, Listed]:
    """Download the packages and return what their lists say, by the list's name."""
    with tempfile.TemporaryDirectory(prefix="price-lists-") as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder, f"litellm=={LITELLM}"],
            check=True,
        )
        (wheel,) = Path(folder).glob("litellm-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            litellm = archive.read("litellm/model_prices_and_context_window_backup.json")
        subprocess.run(
            ["npm", "pack", "--silent", f"@earendil-works/pi-ai@{PI_AI}"],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        (package,) = Path(folder).glob("*.tgz")
        models_dev = {}
        with tarfile.open(package) as tarball:
            for provider in ("anthropic", "google", "mistral", "openai", "xai"):
                member = tarball.extractfile(f"package/dist/providers/data/{provider}.json")
                models_dev[provider] = decoded(member.read() if member else b"{}")
    return {"LiteLLM": from_litellm(decoded(litellm)), "models.dev": from_models_dev(models_dev)}


def decoded(text: bytes) -> Any:
    """Return the JSON; no number becomes a float."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


# --- LiteLLM ----------------------------------------------------------------------------------------------------------

_LITELLM_PROVIDERS = {
    "anthropic": "anthropic",
    "gemini": "google",
    "mistral": "mistral",
    "openai": "openai",
    "text-completion-openai": "openai",
    "xai": "xai",
}
_MILLION = Decimal(1_000_000)
_MICRO = Decimal("1E-6")
"""Prices per second are rounded in the list; no price has more places than this."""
_LITELLM_RATES = {
    "input_cost_per_token": ("input", _MILLION),
    "input_cost_per_audio_token": ("input_audio", _MILLION),
    "input_cost_per_image_token": ("input_image", _MILLION),
    "input_cost_per_video_token": ("input_video", _MILLION),
    "cache_read_input_token_cost": ("cache_read", _MILLION),
    "cache_read_input_audio_token_cost": ("cache_read_audio", _MILLION),
    "cache_read_input_image_token_cost": ("cache_read_image", _MILLION),
    "cache_creation_input_token_cost": ("cache_write", _MILLION),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h", _MILLION),
    "output_cost_per_token": ("output", _MILLION),
    "output_cost_per_audio_token": ("output_audio", _MILLION),
    "output_cost_per_image_token": ("output_image", _MILLION),
    "output_cost_per_video_token": ("output_video", _MILLION),
    "output_cost_per_reasoning_token": ("reasoning", _MILLION),
    "input_cost_per_second": ("audio_hour", Decimal(3_600)),
    "input_cost_per_character": ("input_character", Decimal(1_000)),
    "ocr_cost_per_page": ("document_page", Decimal(1_000)),
    "annotation_cost_per_page": ("annotated_document_page", Decimal(1_000)),
}
"""LiteLLM's key, the rate or fee, and what a price for one is multiplied with."""
_LITELLM_TIERS = {"_batches": "batch", "_flex": "flex", "_priority": "priority", "_ultrafast": "ultrafast"}
_OF_ONE_SIZE = re.compile(r"(\w+/)?[\w]+-x-[\w]+/")
"""An image of one size and quality, where the model itself is in the list too."""


def from_litellm(entries: Mapping[str, Any]) -> Listed:
    """Return what LiteLLM's price map says of the five providers."""
    listed: Listed = {}
    for name, entry in entries.items():
        provider = _LITELLM_PROVIDERS.get(entry.get("litellm_provider"))
        if provider is None or _OF_ONE_SIZE.match(name):
            continue
        prefix, slash, rest = name.partition("/")
        model = rest if slash and prefix in _LITELLM_PROVIDERS else name
        rates = {
            kind: (Decimal(value) * unit).quantize(_MICRO).normalize()
            for key, value in entry.items()
            if value is not None
            for kind, unit in _litellm_kinds(key)
        }
        listed.setdefault(provider, {}).setdefault(model, {}).update(rates)
    return listed


def _litellm_kinds(key: str) -> list[tuple[Kind, Decimal]]:
    """Return what a key of the price map is the price of, and its unit; nothing for other keys."""
    tier = ""
    for suffix, name in _LITELLM_TIERS.items():
        if key.endswith(suffix):
            key, tier = key.removesuffix(suffix), name
    above = 0
    if threshold := re.search(r"_above_(\d+)k_tokens$", key):
        key, above = key[: threshold.start()], int(threshold[1]) * 1_000
    found = _LITELLM_RATES.get(key)
    return [(Kind(found[0], tier, above), found[1])] if found else []


# --- models.dev -------------------------------------------------------------------------------------------------------

_MODELS_DEV_RATES = {"input": "input", "output": "output", "cacheRead": "cache_read", "cacheWrite": "cache_write"}


def from_models_dev(providers: Mapping[str, Any]) -> Listed:
    """Return what the list of models.dev says; a cache rate of 0 there means that the list has none."""
    listed: Listed = {}
    for provider, apis in providers.items():
        models = listed.setdefault(provider, {})
        for api, entries in apis.items():
            if api == "openai-decisions":
                continue  # another way to use a model that is in the list too
            for entry in entries.values():
                cost = entry["cost"]
                rates = _models_dev_rates(cost, 0)
                for step in cost.get("tiers", ()):
                    rates |= _models_dev_rates(step, int(step["inputTokensAbove"]))
                models[entry["id"]] = rates
    return listed


def _models_dev_rates(cost: Mapping[str, Any], above: int) -> dict[Kind, Decimal]:
    return {
        Kind(rate, above=above): Decimal(cost[key]).normalize()
        for key, rate in _MODELS_DEV_RATES.items()
        if key in cost and (cost[key] or not key.startswith("cache"))
    }
