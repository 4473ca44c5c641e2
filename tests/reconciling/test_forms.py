"""How a file is recognised; what each form has is in the test of its reader."""

from __future__ import annotations

import json
from contextlib import suppress
from random import Random

import pytest

from metrion.errors import BillError
from metrion.reconciling.forms import DOCUMENTS, SHEETS, read_bill
from tests.reconciling import (
    test_anthropic_exports,
    test_anthropic_pages,
    test_google_bills,
    test_openai_exports,
    test_openai_pages,
    test_plain,
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("{", "line 1, column 2: this is not JSON"),
        ('{"a": 1}\n{"b": ', "line 2, column 6: this is not JSON"),
        ('{"a": NaN}', "a number or a depth that no bill has"),
        ("[" * 100_000, "a number or a depth that no bill has"),
        ('{"cost": ' + "9" * 5_000 + "}", "a number or a depth that no bill has"),
        ("[]", "no form that is known"),
        ("[1, 2]", "no form that is known"),
        ('{"error": {"type": "authentication_error"}}', "an error that the provider answered with"),
        ("a,b\n1,2\n", "no form that is known.*OpenAI's costs.*docs/reconcile.md"),
        ("<html>", "no form that is known"),
        ("a,b\n" + "x" * 200_000, "is not CSV"),
    ],
)
def test_what_is_no_bill_is_told_what_is(text: str, message: str) -> None:
    with pytest.raises(BillError, match=message):
        read_bill(text)


def test_every_form_is_named_in_the_message() -> None:
    with pytest.raises(BillError) as raised:
        read_bill("nothing")
    assert all(name in str(raised.value) for name in [form.name for form in DOCUMENTS] + [form.name for form in SHEETS])


def test_another_name_may_be_given_for_the_provider() -> None:
    assert read_bill(test_anthropic_exports.COSTS, "my-claude", "anthropic").provider == "my-claude"
    assert read_bill(test_anthropic_exports.COSTS, "mistral", "mistral").provider == "anthropic", "the file says so"
    assert read_bill(test_openai_pages.page(test_openai_pages.bucket(test_openai_pages.cost(1)))).provider == "openai"


FILES = [
    test_openai_pages.page(test_openai_pages.bucket(test_openai_pages.cost(1, "gpt-5, input"))),
    test_openai_pages.page(test_openai_pages.bucket(test_openai_pages.usage(input_tokens=1, output_tokens=2))),
    test_anthropic_pages.page(test_anthropic_pages.COST),
    test_anthropic_pages.page(test_anthropic_pages.USAGE),
    test_openai_exports.COSTS,
    test_openai_exports.USAGE,
    test_anthropic_exports.COSTS,
    test_anthropic_exports.USAGE,
    test_google_bills.REPORT,
    json.dumps([test_google_bills.ROW]),
    test_plain.TEXT,
]
ODD = ("null", "-1", "1e400", '"x"', "[]", "{", "}", ",", "\n", "\0", "9" * 30, "NaN", "9999-12-31", "\ud800", ";", '"')


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_whatever_is_in_a_file_it_is_a_bill_or_an_error_with_words(text: str) -> None:
    random = Random(text)
    for _ in range(300):
        bent = text
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(bent) + 1)
            bent = bent[:at] + random.choice(("", *ODD)) + bent[at + random.randint(0, 6) :]
        with suppress(BillError):
            assert read_bill(bent, "xai").provider in {"openai", "anthropic", "google", "xai"}
