"""What has to hold for every row of the table of wire formats."""

import json
import pkgutil
from importlib import import_module

import pytest

from metrion import dialects
from metrion.dialects import DIALECTS, FORMATS
from metrion.dialects.dialect import WireFormat
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_stream import Scanner
from metrion.parsing.json_values import tree


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_announces_its_usage_and_says_how_a_stream_ends(name: str) -> None:
    dialect = DIALECTS[name]
    assert dialect.marks or "usage" in dialect.nullable
    assert dialect.ends_with_body is not bool(dialect.end_data or dialect.end_types)
    assert not dialect.end_types or ("type",) in dialect.wanted


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("junk", [None, 1, "text", [], [1, None, {}], {}, {"usage": 1, "id": []}])
def test_a_document_of_any_shape_is_read_without_an_error(name: str, junk: object) -> None:
    dialect = DIALECTS[name]
    draft = dialect.draft()
    for path in dialect.wanted:
        scanner = Scanner(tree(dialect.wanted))
        scanner.feed(json.dumps({path[0]: junk}).encode())
        dialect.read(scanner.document, draft)
    assert draft.model in (None, junk)
    assert dialect.usage(UsageReader({"input_tokens": junk, "prompt_tokens_details": junk})) is not None
    assert dialect.usage(UsageReader({})) == Usage()


def test_every_row_is_in_a_table_under_its_own_name() -> None:
    modules = [import_module(each.name) for each in pkgutil.walk_packages(dialects.__path__, "metrion.dialects.")]
    rows = [value for module in modules for value in vars(module).values() if isinstance(value, WireFormat)]
    assert {id(row) for row in rows} == {id(row) for row in FORMATS.values()}
    assert all(row.name == name for name, row in FORMATS.items())
