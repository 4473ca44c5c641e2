from __future__ import annotations

import pytest

from metrion.reconciling.names import Names

METERED = (
    "claude-sonnet-4-5-20250929",
    "claude-3-5-haiku-20241022",
    "gpt-5-2025-08-07",
    "gpt-5",
    "gemini-3-flash",
    "my_model",
)
PRICED = ("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-flash-image", "gpt-4.1", "gpt-5-mini")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("Claude Sonnet 4.5", "claude-sonnet-4-5-20250929"),
        ("Claude Sonnet 4.5 Usage - Input Tokens, Cache Write", "claude-sonnet-4-5-20250929"),
        ("Claude Haiku 3.5", "claude-3-5-haiku-20241022"),
        ("gpt-5-2025-08-07, input", "gpt-5"),
        ("openai/gpt-5", "gpt-5"),
        ("my_model", "my_model"),
        ("GPT-4.1, cached input", "gpt-4.1"),
        ("gpt-5-mini, output_tokens", "gpt-5-mini"),
        ("Generate content input token count gemini 2.5 flash short input text", "gemini-2.5-flash"),
        ("Generate content input token count gemini 2.5 flash lite short input text", "gemini-2.5-flash-lite"),
        ("Generate_content_cached_input_token_count_gemini_3_flash_text", "gemini-3-flash"),
        ("Generate content input token count gemini 2.5 flash image flex", None),  # it can be read in two ways
        ("Generate content output token count for Gemini 2.5 Flash Native Image Generation", None),
        ("Generate content input token count gemini 3.7 flash text", None),
        ("gpt-5-mini fine-tuning", None),
        ("gpt-5 turbo", None),
        ("Web Search Usage", None),
        ("Image models", None),
        ("input text", None),
        ("", None),
        ("gpt-5 " * 500, None),
    ],
)
def test_how_bills_spell_models(text: str, label: str | None) -> None:
    names = Names("openai", METERED, PRICED)
    key = names.find(text)
    assert (key and names.label(key)) == label
