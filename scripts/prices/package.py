"""The genai-prices package → its providers and models as plain data, and what samples cost there.

The package goes into a throw-away environment of its own: its requirements and mitmproxy's cannot be met in one. It is
the only code that is run here which is not Metrion's.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import venv
from pathlib import Path
from typing import Any

GENAI_PRICES = "0.2.3"
CHECKED = "2026-11-21"
"""The day on which somebody looked through what this release changed."""

PROVIDERS = {"anthropic": "anthropic", "google": "google", "mistral": "mistral", "openai": "openai", "x-ai": "xai"}
"""genai-prices' name, Metrion's name."""

_READER = """
import dataclasses, json, sys
from datetime import date, datetime
from decimal import Decimal
from genai_prices import Usage
from genai_prices.data import providers

def plain(value):
    if isinstance(value, (Decimal, date)):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {"type": type(value).__name__} | {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if type(value).__name__ == "ModelPrice":
        return {key: plain(price) for key, price in vars(value).items() if price is not None}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value

def samples(model):
    periods = model.prices if isinstance(model.prices, list) else []
    variants = model.price_variants or []
    days = {"2024-01-01", "2026-11-21"} | {str(item.constraint.start_date) for item in periods if item.constraint}
    days |= {str(item.constraint.start_date) for item in variants if item.constraint}
    for day in sorted(days):
        when = datetime.fromisoformat(day)
        active = [item.when for item in variants if item.constraint is None or item.constraint.active(when)]
        for context in [None, *active]:
            prices = model.get_prices(when, context)
            if prices.input_mtok is None:
                continue
            edges = {tier.start for price in vars(prices).values() for tier in getattr(price, "tiers", [])}
            for tokens in sorted({20_000} | {edge + more for edge in edges for more in (0, 1)}):
                usage = {"input_tokens": tokens, "cache_read_tokens": 7_000, "cache_write_tokens": 900}
                usage["cache_write_1h_tokens"] = 500
                usage |= {"output_tokens": 1_234} if prices.output_mtok is not None else {}
                audio = {"input_audio_tokens": 333, "cache_audio_read_tokens": 111, "output_audio_tokens": 99}
                image = {"input_image_tokens": 333, "cache_image_read_tokens": 111, "output_image_tokens": 99}
                for extra in [{}] if prices.output_mtok is None else [{}, audio, image]:
                    total = prices.calc_price(Usage(**usage, **extra))["total_price"]
                    yield [model.id, day, context, usage | extra, str(total)]

json.dump({
    p.id: {"urls": p.pricing_urls, "models": plain(p.models), "samples": [row for m in p.models for row in samples(m)]}
    for p in providers if p.id in sys.argv[1:]
}, sys.stdout)
"""
"""Runs where genai-prices is: prints its providers and models as JSON, and what samples cost there."""


def genai_prices() -> dict[str, Any]:
    """Return what the reader prints, by genai-prices' name of the provider."""
    with tempfile.TemporaryDirectory(prefix="genai-prices-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"genai-prices=={GENAI_PRICES}"],
            check=True,
        )
        done = subprocess.run([python, "-c", _READER, *PROVIDERS], check=True, stdout=subprocess.PIPE)
        providers: dict[str, Any] = json.loads(done.stdout)
        return providers
