from __future__ import annotations

import re
from pathlib import Path

import pytest

from metrion.errors import PricingError
from metrion.model import CostSource
from metrion.pricing import RATES, PriceBook
from tests.pricing.books import PRICING, SOME, book, cost


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "p: {}\n"])
def test_a_file_without_entries_is_no_error(tmp_path: Path, text: str) -> None:
    assert cost(book(tmp_path, text), SOME).source is CostSource.UNPRICED


def documented() -> list[str]:
    text = (PRICING.parent / "docs" / "pricing.md").read_text(encoding="utf-8")
    return [
        block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if not block.startswith("# metrion.yaml")
    ]


def test_the_documented_files_load(tmp_path: Path) -> None:
    prices = book(tmp_path, *documented())
    assert cost(prices, SOME, provider="my-vllm", model="llama-3").source is CostSource.COMPUTED
    assert cost(prices, SOME, provider="my-provider", model="my-model-1.5-lite").source is CostSource.UNPRICED


@pytest.mark.parametrize("rate", RATES)
def test_every_rate_is_documented(rate: str) -> None:
    assert any(f"    {rate}: " in block for block in documented())


# --- bad files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            "p:\n  m: {input: 1, ouput: 2}",
            2,
            "p > m > ouput: is not known here; known are above, allowance, audio_hour,",
        ),
        ("p:\n  m: {input: 1, allowance: [x]}", 2, "p > m > allowance: x is not one of the fees beside it"),
        ("p:\n  m: {input: -1}", 2, "p > m > input: -1 is negative; a rate is 0 or more"),
        ("p:\n  m:\n    input: cheap", 3, "p > m > input: 'cheap' is not an amount in US dollars, such as 1.50"),
        ("p:\n  m: {input: 1e3}", 2, "p > m > input: '1e3' is not an amount"),
        ("p:\n  m: {input: .nan}", 2, "p > m > input: '.nan' is not an amount"),
        ("p:\n  m: {input: 1000000000000}", 2, "p > m > input: '1000000000000' is not an amount"),
        ("p:\n  m: {input: 1_000}", 2, "p > m > input: '1_000' is not an amount"),
        ("p:\n  m: {input: '1,5'}", 2, "p > m > input: '1,5' is not an amount"),
        ("p:\n  m: {input: 1 EUR}", 2, "p > m > input: '1 EUR' is not an amount in US dollars"),
        ("p:\n  m: {input: }", 2, "p > m > input: this is not an amount"),
        ("p:\n  m: {input: [1]}", 2, "p > m > input: this is not an amount"),
        ("p:\n  m: {input: 1}\n  n: {input: 1}\n  m: {input: 2}", 4, "p > m: stands here twice; keep one of them"),
        ("p:\n  m: {input: 1}\n  M: {input: 1}", 2, "p: m and m both go by m; keep one"),
        ("p:\n  m: {input: 1}\np:\n  n: {input: 1}", 3, "the file > p: stands here twice; keep one of them"),
        ("gemini:\n  m: {input: 1}\ngoogle:\n  n: {input: 1}", 4, "google: google stands here twice"),
        ("p:\n  m: {input: 1, input: 2}", 2, "p > m > input: stands here twice"),
        ("p:\n  m: {input: 1, match: n}\n  n: {input: 1}", 2, "p: m and n both go by n; keep one"),
        ("p:\n  m: {input: 1, match: 'x*'}\n  n: {input: 1, match: 'x*'}", 2, "p: m and n both go by x*"),
        (
            "p:\n  m: {source: nobody}",
            2,
            "p > m: has no rate; give it one, as in `{input: 1.50, output: 6}`; 0 is free",
        ),
        ("p:\n  m: 3", 2, "p > m: must hold rates, as in `{input: 1.50, output: 6}`"),
        ("p:\n  m:", 2, "p > m: must hold rates"),
        ("gpt-4o: {input: 3, output: 4}", 1, "gpt-4o > input: is no model; a provider stands above its models"),
        ("p: 3", 1, "p: must hold models, as in `my-model: {input: 1.50, output: 6}`"),
        ("- p", 1, "the file: must hold providers, and under each its models"),
        ("p:\n  m: {input: 1, above: {many: {input: 2}}}", 2, "p > m > above > many: is no number of input tokens"),
        ("p:\n  m: {input: 1, above: {-5: {input: 2}}}", 2, "p > m > above > -5: is no number of input tokens"),
        ("p:\n  m: {input: 1, above: {5: {output: 2}}}", 2, "p > m > above > 5 > output: is not known here"),
        ("p:\n  m: {input: 1, from: yesterday}", 2, "p > m > from: 'yesterday' is not a day, such as 2026-03-13"),
        ("p:\n  m: {input: 1, from: [2026-01-01]}", 2, "p > m > from: this is not a day"),
        ("p:\n  m: {input: 1, from: 2026-03-13, until: 2026-03-13}", 2, "p > m > until: 2026-03-13 is not after"),
        ("p:\n  m: {input: 1, rates: [{input: 2}]}", 2, "p > m > input: goes into an item of `rates`"),
        ("p:\n  m: {rates: [{input: 2, match: x}]}", 2, "p > m > rates > match: is not known here"),
        ("p:\n  m: {rates: []}", 2, "p > m > rates: is empty; give it rates, or leave it out"),
        ("p:\n  m: {input: 1, service_tiers: {batch: {input: x}}}", 2, "p > m > service_tiers > batch > input: 'x' is"),
        ("p:\n  m: {input: 1, service_tiers: batch}", 2, "p > m > service_tiers: must hold service tiers"),
        ("p:\n  m: {input: 1, fees: {web_search: free}}", 2, "p > m > fees > web_search: 'free' is not an amount"),
        ("p:\n  m: {input: 1, match: {a: b}}", 2, "p > m > match: must be a name, a pattern such as `gpt-4o-*`, or a"),
        ("p:\n  m: {<<: {input: 1}}", 2, "p > m > <<: is not known here"),
        ("? [a]\n: {m: {input: 1}}", 1, "the file: must hold providers"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_key(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PricingError) as error:
        PriceBook.load([PRICING, path])
    assert str(error.value).startswith(f"{path}, line {line}: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"p: {m: {input: 1}\n", ", line 2: is not valid YAML"),
        (b"p:\n\tm: 1", ", line 2: is not valid YAML: found character"),
        (b"p: {m: {input: 1}}\n---\np: {}\n", ", line 2: is not valid YAML"),
        (b"p: {m: {input: *rate}}", ", line 1: is not valid YAML: found undefined alias"),
        (b"\xff\xfe\x00", ": is not UTF-8; save it as UTF-8"),
    ],
)
def test_a_file_that_is_not_yaml(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(PricingError) as error:
        PriceBook.load([path])
    assert str(error.value).startswith(f"{path}{message}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PricingError, match=r"none\.yaml: cannot be read .*; check `pricing` in metrion\.yaml"):
        PriceBook.load([tmp_path / "none.yaml"])
    with pytest.raises(PricingError, match="cannot be read"):
        PriceBook.load([tmp_path])
