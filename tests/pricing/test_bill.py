from __future__ import annotations

import dataclasses
from decimal import Decimal, localcontext
from pathlib import Path

import pytest

from metrion.model import CostSource, Usage
from metrion.pricing import PriceBook
from tests.pricing.books import NOW, SHARED, book, cost, shared, texts

CACHE = "{input: 3, cache_read: 0.3, cache_write: 3.75, cache_write_1h: 6, output: 15}"
MODAL = "{input: 4, input_audio: 32, cache_read: 0.4, cache_read_audio: 0.5, output: 16, output_audio: 64}"
IMAGE = "{input: 5, input_image: 10, cache_read: 1.25, cache_read_image: 2.5, output: 10, output_image: 40}"


@pytest.mark.parametrize(
    ("rates", "usage", "parts"),
    [
        pytest.param(
            "{input: 3, output: 15}",
            Usage(input_tokens=1000, output_tokens=100),
            {"input": "0.003", "output": "0.0015"},
            id="input and output",
        ),
        pytest.param(
            CACHE,
            Usage(input_tokens=1000, cache_read_tokens=600, cache_write_tokens=300, output_tokens=1),
            {"input": "0.0003", "cache_read": "0.00018", "cache_write": "0.001125", "output": "0.000015"},
            id="reads and writes are inside the input",
        ),
        pytest.param(
            CACHE,
            Usage(input_tokens=1000, cache_write_tokens=300, cache_write_1h_tokens=200),
            {"input": "0.0021", "cache_write": "0.000375", "cache_write_1h": "0.0012"},
            id="writes for an hour are inside the writes",
        ),
        pytest.param(
            CACHE,
            Usage(cache_read_tokens=100, cache_write_tokens=100),
            {"cache_read": "0.00003", "cache_write": "0.000375"},
            id="without an input in sum the cache is the input",
        ),
        pytest.param(
            "{input: 1, output: 10}",
            Usage(input_tokens=10, output_tokens=100, reasoning_tokens=60),
            {"input": "0.00001", "output": "0.001"},
            id="reasoning is output",
        ),
        pytest.param(
            "{input: 1, output: 10, reasoning: 20}",
            Usage(input_tokens=10, output_tokens=100, reasoning_tokens=60),
            {"input": "0.00001", "output": "0.0004", "reasoning": "0.0012"},
            id="reasoning priced apart",
        ),
        pytest.param(
            MODAL,
            Usage(input_tokens=1000, input_audio_tokens=400, output_tokens=100, output_audio_tokens=70),
            {"input": "0.0024", "input_audio": "0.0128", "output": "0.00048", "output_audio": "0.00448"},
            id="audio",
        ),
        pytest.param(
            MODAL,
            Usage(input_tokens=1000, input_audio_tokens=400, cache_read_tokens=500, cache_read_audio_tokens=100),
            {"input": "0.0008", "input_audio": "0.0096", "cache_read": "0.00016", "cache_read_audio": "0.00005"},
            id="audio out of the cache",
        ),
        pytest.param(
            IMAGE,
            Usage(
                input_tokens=1000,
                input_image_tokens=400,
                cache_read_tokens=500,
                cache_read_image_tokens=100,
                output_tokens=200,
                output_image_tokens=200,
            ),
            {
                "input": "0.001",
                "input_image": "0.003",
                "cache_read": "0.0005",
                "cache_read_image": "0.00025",
                "output_image": "0.008",
            },
            id="images",
        ),
        pytest.param(
            "{input: 1, input_video: 12, output: 9, output_video: 17.5}",
            Usage(input_tokens=100, input_video_tokens=40, output_tokens=100, output_video_tokens=40),
            {"input": "0.00006", "input_video": "0.00048", "output": "0.00054", "output_video": "0.0007"},
            id="video",
        ),
        pytest.param(
            "{input: 1, output: 2}",
            Usage(input_tokens=100, input_video_tokens=40, input_image_tokens=20, output_tokens=10),
            {"input": "0.0001", "output": "0.00002"},
            id="images and videos without a rate are billed as text",
        ),
        pytest.param(
            "{audio_hour: 0.36}",
            Usage(audio_seconds=7.5),
            {"audio": "0.00075"},
            id="audio by its length",
        ),
        pytest.param(
            "{input: 0.1, output: 0.4, audio_hour: 0.24}",
            Usage(
                input_tokens=7520,
                input_audio_tokens=7500,
                output_tokens=100,
                server_tools={"prompt_audio_seconds": 600},
            ),
            {"input": "0.000002", "output": "0.00004", "audio": "0.04"},
            id="audio by its length, and only the text by the token",
        ),
        pytest.param(
            "{audio_hour: 3, paused_hour: 1.2}",
            Usage(audio_seconds=40, paused_seconds=60),
            {"audio": "0.033333333333", "paused": "0.02"},
            id="a session by its length, and its pauses",
        ),
        pytest.param(
            "{input: 1, output: 2, fees: {web_search: 10}}",
            Usage(input_tokens=100, output_tokens=0, server_tools={"web_search_requests": 3, "web_fetch_requests": 9}),
            {"input": "0.0001", "web_search": "0.03"},
            id="a tool with a fee and one that is free",
        ),
        pytest.param(
            "{input: 1, output: 2, fees: {web_search: 10, file_search: 2.50}}",
            Usage(
                input_tokens=100,
                output_tokens=0,
                server_tools={"web_search.num_requests": 3},
                unreported_tools={"file_search_calls": 2, "web_search_calls": 1},
            ),
            {"input": "0.0001", "web_search": "0.04", "file_search": "0.005"},
            id="tools that the usage counts, and others that it does not",
        ),
        pytest.param(
            "{input: 1, output: 2, fees: {request: 5}}",
            Usage(input_tokens=100),
            {"input": "0.0001", "request": "0.005"},
            id="a fee per request",
        ),
        pytest.param(
            "{fees: {document_page: 4}}",
            Usage(server_tools={"pages_processed": 12}),
            {"document_page": "0.048"},
            id="pages",
        ),
        pytest.param(
            "{fees: {document_page: 4, annotated_document_page: 5}}",
            Usage(server_tools={"pages_processed": 14}, unreported_tools={"annotated_pages_processed": 12}),
            {"document_page": "0.008", "annotated_document_page": "0.06"},
            id="annotated pages",
        ),
        pytest.param(
            "{input: 1, output: 2}",
            Usage(input_tokens=0, output_tokens=0, audio_seconds=0.0, server_tools={"web_search_requests": 0}),
            {},
            id="reported as 0",
        ),
        pytest.param(
            "{input: 1, cache_read: 0.1, output: 2}",
            Usage(input_tokens=100, cache_read_tokens=50, input_video_tokens=40, input_image_tokens=40),
            {"input": "0.00005", "cache_read": "0.000005"},
            id="images and videos without a rate need no split of the cache",
        ),
        pytest.param(
            "{input: 0, output: 0}",
            Usage(input_tokens=5, output_tokens=5),
            {"input": "0", "output": "0"},
            id="free",
        ),
        pytest.param("{input: 0.1}", Usage(input_tokens=7), {"input": "0.0000007"}, id="embeddings"),
        pytest.param(
            "{input: 0.0000005, output: 0.0000015}",
            Usage(input_tokens=1, output_tokens=1),
            {"input": "0", "output": "0.000000000002"},
            id="each part is rounded half-even to 12 places",
        ),
        pytest.param(
            "{input: 0.123456789012, output: 1}",
            Usage(input_tokens=8_099_999_999_999),
            {"input": "999999.990997076543"},
            id="as many digits as it takes",
        ),
    ],
)
def test_parts(tmp_path: Path, rates: str, usage: Usage, parts: dict[str, str]) -> None:
    prices = book(tmp_path, f"p: {{m: {rates}}}")
    with localcontext() as context:
        context.prec = 3  # somebody else's setting
        got = cost(prices, usage)
    assert got.source is CostSource.COMPUTED
    assert got.parts is not None
    assert texts(got.parts) == parts
    assert got.usd is not None
    assert got.usd == got.computed_usd == sum(got.parts.values(), Decimal(0))
    assert got.price_version == prices.version
    assert all(amount.as_tuple().exponent == -12 for amount in (*got.parts.values(), got.usd))


@pytest.mark.parametrize(
    ("rates", "usage", "at_least"),
    [
        pytest.param(
            "{input: 3, output: 15}",
            Usage(input_tokens=1000, cache_read_tokens=600, output_tokens=0),
            "0.0012",
            id="cache reads without a rate",
        ),
        pytest.param(
            "{input: 3, cache_write: 3.75, output: 15}",
            Usage(input_tokens=300, cache_write_tokens=300, cache_write_1h_tokens=100),
            "0.00075",
            id="writes for an hour without a rate",
        ),
        pytest.param(
            "{input: 1, output: 2}",
            Usage(input_tokens=1000, input_audio_tokens=400, output_tokens=10, output_audio_tokens=10),
            "0.0006",
            id="audio without a rate",
        ),
        pytest.param(
            "{input: 4, input_audio: 32, cache_read: 0.4, output: 16}",
            Usage(input_tokens=1000, input_audio_tokens=400, cache_read_tokens=100, cache_read_audio_tokens=100),
            "0.012",
            id="cached audio without a rate, where audio costs more than text",
        ),
        pytest.param(
            "{input: 5, output: 10, output_image: 32}",
            Usage(input_tokens=10, output_tokens=4160),
            "0.00005",
            id="output of which it is not known how much is images",
        ),
        pytest.param(
            "{input: 1, output: 2}",
            Usage(input_tokens=100, output_tokens=0, server_tools={"image_generation": 1}),
            "0.0001",
            id="a tool without a fee",
        ),
        pytest.param(
            "{input: 1, output: 2}",
            Usage(input_tokens=100, output_tokens=0, server_tools={"num_server_side_tools_used": 1}),
            "0.0001",
            id="a count of tools that says not which",
        ),
        pytest.param(
            "{input: 1, output: 2}", Usage(input_tokens=100, output_tokens=0, audio_seconds=3.0), "0.0001",
            id="seconds without a rate",
        ),
        pytest.param(
            "{audio_hour: 3}", Usage(audio_seconds=40, paused_seconds=60), "0.033333333333", id="pauses without a rate"
        ),
        pytest.param("{audio_hour: 3}", Usage(input_tokens=40, output_tokens=1), None, id="tokens without a rate"),
    ],
)  # fmt: skip
def test_what_has_no_rate_leaves_no_cost_but_a_floor(
    tmp_path: Path, rates: str, usage: Usage, at_least: str | None
) -> None:
    got = cost(book(tmp_path, f"p: {{m: {rates}}}"), usage)
    assert (got.source, got.usd, got.computed_usd, got.parts) == (CostSource.UNPRICED, None, None, None)
    assert got.at_least_usd == (at_least and Decimal(at_least))


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=325, cache_read_tokens=417, output_tokens=1),
        Usage(input_tokens=100, cache_read_tokens=60, cache_write_tokens=60, output_tokens=1),
        Usage(input_tokens=100, cache_write_tokens=60, cache_write_1h_tokens=61, output_tokens=1),
        Usage(input_tokens=100, input_audio_tokens=60, input_image_tokens=60, output_tokens=1),
        Usage(input_tokens=100, output_tokens=100, reasoning_tokens=160),
        Usage(input_tokens=100, output_tokens=100, output_audio_tokens=160),
    ],
)
def test_a_part_that_is_larger_than_its_whole_leaves_no_cost(tmp_path: Path, usage: Usage) -> None:
    got = cost(book(tmp_path, f"p: {{m: {CACHE}}}"), usage)
    assert (got.source, got.usd, got.at_least_usd) == (CostSource.UNKNOWN, None, None)


def test_the_sum_of_several_responses_is_an_estimate_where_prices_depend_on_their_length(tmp_path: Path) -> None:
    usage = Usage(input_tokens=200_000, output_tokens=10, largest_input_tokens=100_000, averaged=True)
    prices = book(tmp_path, "p: {flat: {input: 1, output: 2}, m: {input: 1, output: 2, above: {150000: {input: 4}}}}")
    assert cost(prices, usage).source is CostSource.ESTIMATED
    assert cost(prices, usage, model="flat").source is CostSource.COMPUTED


def test_a_fee_with_a_free_allowance_is_an_estimate_unless_nothing_is_free(tmp_path: Path) -> None:
    entry = "p: {m: {input: 1, output: 1, fees: {web_search: 35}, allowance: [web_search]}}"
    usage = Usage(input_tokens=0, output_tokens=0, unreported_tools={"google_search": 1})
    got = cost(book(tmp_path, entry), usage)
    assert (got.source, got.usd) == (CostSource.ESTIMATED, Decimal("0.035"))
    paid = PriceBook.load([tmp_path / "prices-0.yaml"], without_allowance={"p"})
    assert cost(paid, usage).source is CostSource.COMPUTED
    with_more = dataclasses.replace(usage, server_tools={"another": 1}, input_tokens=1_000)
    assert cost(paid, with_more).at_least_usd == Decimal("0.036")
    assert cost(book(tmp_path, entry), with_more).at_least_usd == Decimal("0.001"), "the fee may not be due"


@pytest.mark.parametrize(
    ("entry", "usd", "source"),
    [
        ("{input: 2, output: 10, regional: 1.1}", "0.0132", CostSource.COMPUTED),
        ("{input: 2, output: 10, regional: 1}", "0.012", CostSource.COMPUTED),
        ("{input: 2, output: 10}", "0.012", CostSource.ESTIMATED),
    ],
)
def test_a_regional_endpoint(tmp_path: Path, entry: str, usd: str, source: CostSource) -> None:
    prices = book(tmp_path, f"p: {{m: {entry}}}")
    usage = Usage(input_tokens=1000, output_tokens=1000)
    got = prices.cost(provider="p", model="m", model_requested=None, usage=usage, when=NOW, regional=True)
    assert (got.usd, got.source) == (Decimal(usd), source)
    assert cost(prices, usage).usd == Decimal("0.012")


def test_cached_modality_that_is_not_reported_is_apportioned_and_says_so(tmp_path: Path) -> None:
    prices = book(tmp_path, f"p: {{m: {MODAL}}}")
    usage = Usage(input_tokens=1000, input_audio_tokens=400, cache_read_tokens=501)
    got = cost(prices, usage)
    assert got.source is CostSource.ESTIMATED
    split = dataclasses.replace(usage, cache_read_audio_tokens=200)
    only_audio = dataclasses.replace(usage, input_audio_tokens=1000)
    assert cost(prices, only_audio).source is CostSource.COMPUTED, "there is only one way to split this"
    assert (got.parts, got.usd) == (cost(prices, split).parts, cost(prices, split).usd)
    assert cost(prices, split).source is CostSource.COMPUTED


# --- billed under several models, or for several responses ------------------------------------------------------------


def test_all_shares_are_billed_whatever_the_counts_are_of(tmp_path: Path) -> None:
    own, asked = Usage(input_tokens=1000, output_tokens=0), Usage(input_tokens=2000, output_tokens=10)
    usage = dataclasses.replace(own, shares=(("m", own), ("adviser", asked)))
    got = cost(book(tmp_path, SHARED.replace(", request: 1000", "")), usage)
    assert got.parts == {
        "input": Decimal("0.002"), "adviser:input": Decimal("0.01"), "adviser:output": Decimal("0.00025"),
    }  # fmt: skip
    assert got.usd == Decimal("0.01225")


@pytest.mark.parametrize(
    "usage",
    [
        shared((None, Usage(input_tokens=1, output_tokens=1)), ("adviser", Usage(output_tokens=1))),
        shared((None, Usage(input_tokens=1, output_tokens=1)), ("adviser", Usage(input_tokens=1, cache_read_tokens=1))),
        shared((None, Usage(input_tokens=1, output_tokens=1)), ("adviser", Usage(input_tokens=2**63, output_tokens=1))),
        Usage(output_tokens=9, largest_input_tokens=5),
    ],
)
def test_a_sum_of_which_a_part_is_not_known_has_no_cost(usage: Usage, tmp_path: Path) -> None:
    got = cost(book(tmp_path, SHARED), usage)
    assert (got.usd, got.source) == (None, CostSource.UNKNOWN)


def test_long_contexts_go_by_the_longest_of_what_is_added_up(tmp_path: Path) -> None:
    prices = book(tmp_path, SHARED.replace(", request: 1000", ""))
    many = Usage(input_tokens=1_000_000, output_tokens=0, largest_input_tokens=50_000)
    long = Usage(input_tokens=1_000_000, output_tokens=0, largest_input_tokens=100_001)
    assert cost(prices, many).parts == {"input": Decimal(2)}
    assert cost(prices, long).parts == {"input": Decimal(4)}
    assert cost(prices, shared((None, many), (None, long))).parts == {"input": Decimal(6)}


def test_searches_of_gemini_fall_under_the_fee_for_searches(tmp_path: Path) -> None:
    prices = book(tmp_path, "p:\n  m: {input: 1, fees: {web_search: 14}}\n")
    got = cost(prices, Usage(input_tokens=0, unreported_tools={"google_search": 2}))
    assert got.parts == {"web_search": Decimal("0.028")}


@pytest.mark.parametrize(
    ("usage", "source", "usd"),
    [
        (Usage(audio_seconds=40, paused_seconds=60), "computed", "0.053333333333"),
        (Usage(audio_seconds=100, paused_seconds=0), "computed", "0.083333333333"),
        (Usage(audio_seconds=100), "computed", "0.083333333333"),
    ],
)
def test_seconds_that_may_have_been_pauses(usage: Usage, source: str, usd: str, tmp_path: Path) -> None:
    found = cost(book(tmp_path, "p: {m: {audio_hour: 3, paused_hour: 1.2}}"), usage)
    assert (found.source, found.usd) == (source, Decimal(usd))


@pytest.mark.parametrize(
    ("rates", "source"),
    [
        ("{input: 1, input_audio: 6, output: 2}", "unpriced"),
        ("{input: 6, input_audio: 6, output: 2}", "computed"),
        ("{input: 6, output: 2}", "computed"),
    ],
)
def test_input_of_which_the_sound_is_not_told(rates: str, source: str, tmp_path: Path) -> None:
    """Where sound costs what words do, it need not be."""
    usage = Usage(input_tokens=1000, output_tokens=100, undivided=("input_audio",))
    found = cost(book(tmp_path, f"p: {{m: {rates}}}"), usage)
    assert (found.source, found.usd is None) == (source, source == "unpriced")
    assert found.at_least_usd == (Decimal("0.0002") if source == "unpriced" else None)
