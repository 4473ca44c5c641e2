"""What has to hold for every row of the table of wire formats."""

import json

import pytest

from metrion.dialects import DIALECTS
from metrion.dialects.dialect import Draft
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_stream import Scanner, tree

UNENDED = {
    "anthropic_batch_results",
    "anthropic_batches",
    "anthropic_completions",
    "gemini",
    "gemini_batch_output",
    "gemini_batches",
    "mistral_batch_output",
    "mistral_batches",
    "mistral_ocr",
    "openai_evals",
    "openai_videos",
    "resource",
    "vertex_predict",
    "xai_batch_results",
}
"""Those that are not streamed as events, or whose streams end with their body and not with an event."""


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_announces_its_usage_and_says_how_a_stream_ends(name: str) -> None:
    dialect = DIALECTS[name]
    assert dialect.marks or "usage" in dialect.nullable
    assert (name in UNENDED) is not bool(dialect.end_data or dialect.end_types)
    assert not dialect.end_types or ("type",) in dialect.wanted


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("junk", [None, 1, "text", [], [1, None, {}], {}, {"usage": 1, "id": []}])
def test_a_document_of_any_shape_is_read_without_an_error(name: str, junk: object) -> None:
    dialect = DIALECTS[name]
    draft = Draft()
    for path in dialect.wanted:
        scanner = Scanner(tree(dialect.wanted))
        scanner.feed(json.dumps({path[0]: junk}).encode())
        dialect.read(scanner.document, draft)
    assert draft.model in (None, junk)
    assert dialect.usage(UsageReader({"input_tokens": junk, "prompt_tokens_details": junk})) is not None
    assert dialect.usage(UsageReader({})) == Usage()
