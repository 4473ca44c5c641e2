"""Usages that are added up."""

from __future__ import annotations

import json
from dataclasses import replace

from metrion.dialects.reading.shares import added_up, counts, read, together, under
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage

A = Usage(input_tokens=10, output_tokens=1, cache_read_tokens=4, server_tools={"web_search_requests": 1}, modes=())
B = Usage(
    input_tokens=20, output_tokens=2, reasoning_tokens=1, server_tools={"web_search_requests": 2, "x": 1},
    unreported_tools={"google_search": 1},
)  # fmt: skip


def test_sums_have_all_that_is_reported() -> None:
    assert added_up([A, B]) == Usage(
        input_tokens=30, output_tokens=3, cache_read_tokens=4, reasoning_tokens=1,
        server_tools={"web_search_requests": 3, "x": 1}, unreported_tools={"google_search": 1}, modes=(),
        largest_input_tokens=20,
    )  # fmt: skip
    assert added_up([Usage(input_tokens=5), Usage(input_tokens=5)]).server_tools is None


def test_the_sum_of_what_is_not_known_is_not_known() -> None:
    both = added_up([A, Usage(output_tokens=1)])
    assert (both.input_tokens, both.output_tokens) == (None, 2)


def test_one_usage_is_itself() -> None:
    assert together([(None, A)]) is A
    assert together([]) == Usage()


def test_what_is_priced_alike_is_one_share() -> None:
    assert together([(None, A), (None, A)]).shares is None
    named = together([("m", A), ("m", A), (None, B)])
    assert named.shares == (("m", added_up([A, A])), (None, B))
    assert named.input_tokens == 40
    long = [(None, Usage(input_tokens=tokens)) for tokens in (64_000, 100_000, 99_001, 100_001)]
    assert [share.input_tokens for _, share in together(long).shares or ()] == [64_000, 199_001, 100_001]


def test_the_counts_can_be_those_of_one_model() -> None:
    whole = together([(None, A), ("m", B), ("n", A)])
    assert whole.input_tokens == 40
    assert under("m", whole) == replace(added_up([A, B]), shares=whole.shares)
    assert under("other", whole) == under(None, whole) == replace(A, shares=whole.shares, modes=whole.modes)
    named = together([("m", A), ("n", A)])
    assert under("n", named).input_tokens == 10
    assert under(None, named) == named  # of several models, none of which is the row's
    assert under("m", A) is A


def test_counts_are_read_again() -> None:
    for usage in (A, B, added_up([A, B]), Usage(input_tokens=5, modes=("fast", "us"))):
        assert read(UsageReader(json.loads(json.dumps(counts(usage))))) == usage
