"""Embeddings of several requests in one: what is gathered, what goes out, and what each gets of the answer."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from metrion.relay.batch_bodies import MOST_BYTES, Inputs, UnsplittableError, combined, read_inputs, shares, split


def inputs(body: str, most: int = 100) -> Inputs:
    found = read_inputs(body.encode(), most)
    assert isinstance(found, Inputs), found
    return found


@pytest.mark.parametrize(
    ("body", "texts", "count", "length", "are_tokens"),
    [
        ('{"input": "red", "model": "m"}', '"red"', 1, 3, False),
        ('{"input":"ré\\u00e9 \\"", "model": "m"}', '"ré\\u00e9 \\""', 1, 5, False),
        ('{"model": "m", "input": [ "a", "bc" ]}', '"a", "bc"', 2, 3, False),
        ('{"input": [1, 22, 333]}', "[1, 22, 333]", 1, 3, True),
        ('{"input": [[1], [2, 3]]}', "[1], [2, 3]", 2, 3, True),
    ],
)
def test_what_is_gathered(body: str, texts: str, count: int, length: int, are_tokens: bool) -> None:
    found = inputs(body)
    assert (found.texts.decode(), found.count, found.length, found.are_tokens) == (texts, count, length, are_tokens)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("[]", "the body is no JSON object"),
        ('{"input": "a", "input": "b"}', "the body has a member twice"),
        ('{"model": "m"}', "it has no input"),
        ('{"input": ""}', "its input has another form"),
        ('{"input": []}', "its input has another form"),
        ('{"input": ["a", ""]}', "its input has another form"),
        ('{"input": ["a", [1]]}', "its input has another form"),
        ('{"input": [1, true]}', "its input has another form"),
        ('{"input": [1.5]}', "its input has another form"),
        ('{"input": {"text": "a"}}', "its input has another form"),
        ('{"input": null}', "its input has another form"),
        ('{"input": ["a", "b", "c", "d"]}', "it has too many inputs"),
        ('{"input": "' + "x" * MOST_BYTES + '"}', "the body is too long"),
    ],
)
def test_what_is_not(body: str, why: str) -> None:
    assert read_inputs(body.encode(), 3) == why


def test_what_makes_a_difference() -> None:
    same = inputs('{"input": "a", "model": "m", "dimensions": 256}')
    assert inputs('{"dimensions": 256,"model":"m" , "input": ["b", "c"]}').others == same.others
    for other in (
        '{"input": "a", "model": "m"}',
        '{"input": "a", "model": "n", "dimensions": 256}',
        '{"input": "a", "model": "m", "dimensions": 2560}',
        '{"input": "a", "m": "odel", "dimensions": 256}',
    ):
        assert inputs(other).others != same.others


def test_what_goes_out() -> None:
    body = '{"input": "é", "model": "m", "x": 1.0e2}'
    others = [inputs('{"input": ["b", "c"], "model": "m"}'), inputs('{"input": "d"}')]
    whole = combined(body.encode(), inputs(body), others)
    assert whole.decode() == '{"input": ["é","b", "c","d"], "model": "m", "x": 1.0e2}'
    tokens = '{"input": [1, 2]}'
    assert (
        combined(tokens.encode(), inputs(tokens), [inputs('{"input": [[3], [4]]}')]) == b'{"input": [[1, 2],[3], [4]]}'
    )


REQUESTS = [inputs('{"input": "aa"}'), inputs('{"input": ["b", "c"]}'), inputs('{"input": "dddd"}')]


def answer(usage: str | None = '{"prompt_tokens":10,"total_tokens":10}', **changed: str) -> bytes:
    data = (
        '[{"object":"embedding","embedding":[1.10, -2E-5],"index":3},'
        '{"object":"embedding","index":0,"embedding":[0.1]},'
        '{"embedding":"AAAA","index":2}, {"index":1,"embedding":[0.30000000000000004]}]'
    )
    members = {"object": '"list"', "data": data, "model": '"m-1"', "usage": usage} | changed
    return ("{" + ",".join(f'"{name}": {text}' for name, text in members.items() if text is not None) + "}").encode()


def test_each_gets_its_vectors_digit_by_digit() -> None:
    first, second, third = split(answer(), REQUESTS)
    assert first == (
        b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1]}],"model":"m-1",'
        b'"usage":{"prompt_tokens":3,"total_tokens":3}}'
    )
    assert b'"data":[{"index":0,"embedding":[0.30000000000000004]},{"embedding":"AAAA","index":1}]' in second
    assert b'"data":[{"object":"embedding","embedding":[1.10, -2E-5],"index":0}]' in third
    assert [json.loads(each)["usage"]["total_tokens"] for each in (first, second, third)] == [3, 2, 5]


@pytest.mark.parametrize(
    ("usage", "parts"),
    [
        (None, [None, None, None]),
        ("null", [None, None, None]),
        ('{"total_tokens":7}', [{"total_tokens": n} for n in (2, 2, 3)]),
        (
            '{"prompt_tokens":11,"total_tokens":11,"completion_tokens":0,"prompt_tokens_details":{"cached_tokens":10},'
            '"tier":"x"}',
            [
                {"prompt_tokens": n, "total_tokens": n, "completion_tokens": 0, "prompt_tokens_details":
                 {"cached_tokens": cached}, "tier": "x"}
                for n, cached in ((3, 3), (3, 3), (5, 4))
            ],
        ),
        ('{"total_tokens":0}', [{"total_tokens": 0}] * 3),
    ],
)  # fmt: skip
def test_the_usage_is_shared(usage: str | None, parts: list[Any]) -> None:
    assert [json.loads(each).get("usage") for each in split(answer(usage), REQUESTS)] == parts


def test_an_amount_is_shared_to_the_last_digit() -> None:
    parts = split(answer('{"total_tokens":8,"cost":0.00000123456789012345}'), REQUESTS)
    amounts = [json.loads(each, parse_float=Decimal)["usage"]["cost"] for each in parts]
    assert sum(amounts) == Decimal("0.00000123456789012345")
    assert amounts[0] == Decimal("0.00000030864197253086")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the answer cannot be read"),
        (b"[]", "the answer cannot be read"),
        (answer()[:-1], "the answer cannot be read"),
        (answer(data="null"), "the answer cannot be read"),
        (b'{"object": "list"}', "the answer cannot be read"),
        (answer(data="[]"), "the answer has another number of vectors"),
        (answer(data='[{"index":0,"embedding":[]}]'), "the answer has another number of vectors"),
        (
            answer(data="[" + ",".join(['{"index":1,"embedding":[1]}'] * 4) + "]"),
            "the answer does not say which vector is whose",
        ),
        (answer(data="[" + ",".join(['{"embedding":[1]}'] * 4) + "]"), "the answer cannot be read"),
        (
            answer(data="[" + ",".join(f'{{"index":{n}}}' for n in range(4)) + "]"),
            "the answer does not say which vector is whose",
        ),
        (answer(meta='{"billed_units":{"input_tokens":9}}'), "the answer has another form"),
        (answer('{"total_tokens":-1}'), "the usage cannot be shared"),
        (answer('{"cost":1e999999}'), "the usage cannot be shared"),
        (answer('{"cost":NaN}'), "the answer cannot be read"),
    ],
)
def test_what_is_no_answer_to_all(body: bytes, why: str) -> None:
    with pytest.raises(UnsplittableError, match=why):
        split(body, REQUESTS)


def test_shares_add_up_whatever_the_lengths() -> None:
    chance = random.Random(7)
    for _ in range(500):
        weights = [chance.randint(1, 10 ** chance.randint(1, 5)) for _ in range(chance.randint(1, 100))]
        whole = chance.randint(0, 10 ** chance.randint(1, 7))
        parts = shares(whole, weights)
        assert sum(parts) == whole
        exact = [Decimal(whole) * weight / sum(weights) for weight in weights]
        assert all(abs(part - share) < 1 for part, share in zip(parts, exact, strict=True))
        some = chance.randint(0, whole)
        assert all(inner <= outer for inner, outer in zip(shares(some, parts), parts, strict=True))
