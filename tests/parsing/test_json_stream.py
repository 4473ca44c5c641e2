"""What is wanted of a JSON document, against ``json.loads`` of the whole."""

import json
import random
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrion.parsing import json_stream as documents
from metrion.parsing.json_stream import Scanner
from metrion.parsing.json_values import EACH, Object, Path, Tree, tree

WANTED: tuple[Path, ...] = (
    ("a",),
    ("b", "a"),
    ("b", "c", "d"),
    ("list", EACH, "a"),
    ("list", EACH, "b", EACH, "c"),
    (EACH, "a"),
)


def scanned(pieces: list[bytes], paths: tuple[Path, ...] = WANTED) -> Scanner:
    scanner = Scanner(tree(paths))
    for piece in pieces:
        scanner.feed(piece)
    return scanner


def pruned(value: Any, wanted: Tree | None) -> Any:
    """Do to a whole document what a scanner does to one that arrives in pieces."""
    if wanted is None:
        return value
    if isinstance(value, dict):
        return {name: pruned(below, wanted[name]) for name, below in value.items() if name in wanted}
    if isinstance(value, list) and EACH in wanted:
        return [pruned(below, wanted[EACH]) for below in value]
    return None


NAMES = st.sampled_from(["a", "b", "c", "d", "list", "x", "", 'q"\\', "é€", EACH]) | st.text(max_size=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(['"', "\\", "\\\\", '\\"', "{[", "]}", "é"]),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(NAMES, below, max_size=5),
    max_leaves=30,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5) | st.lists(
    st.dictionaries(NAMES, VALUES, max_size=3), max_size=4
)
STYLES: list[dict[str, Any]] = [
    {"separators": (",", ":")},
    {"indent": 2},
    {"ensure_ascii": False, "separators": (" ,", " : ")},
]


@pytest.mark.parametrize("searched_at_once", [1 << 13, 24, 2])
@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, st.sampled_from(STYLES), st.lists(st.integers(1, 40)))
def test_any_document_at_any_cut(searched_at_once: int, document: Any, style: dict[str, Any], sizes: list[int]) -> None:
    text = json.dumps(document, **style).encode()
    pieces: list[bytes] = []
    rest = text
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "SLICE", searched_at_once)
        for cut in ([text], [*pieces, rest], [text[at : at + 1] for at in range(len(text))]):
            scanner = scanned(cut)
            assert scanner.complete
            assert scanner.document == pruned(document, tree(WANTED))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ab1 \n', max_size=60).map(str.encode), st.integers(0, 60))
def test_whatever_is_no_json_raises_nothing(junk: bytes, cut: int) -> None:
    scanned([junk[:cut], junk[cut:]])
    scanned([b'{"a": 1, "b": ' + junk[:cut], junk[cut:]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"b": {"a": 1}, "b": null}', {"b": None}),
        (b'{"b": null, "b": {"a": 1}}', {"b": {"a": 1}}),
        (b'{"b": {"a": 1}, "b": {"c": {"d": 2}}}', {"b": {"c": {"d": 2}}}),
        (b'{"list": [{"a": 1}, {"a": 2}], "list": []}', {"list": []}),
        (b'{"b": "text"}', {"b": None}),
        (b'{"b": [{"a": 1}]}', {"b": None}),
        (b'{"list": {"a": 1}}', {"list": {}}),
        (b'{"list": [1, null, [], {"a": 1}]}', {"list": [None, None, None, {"a": 1}]}),
        (b'{"\\u0061": 1, "b": {"\\u0061": "\\u20ac"}}', {"a": 1, "b": {"a": "€"}}),
        (b'\xef\xbb\xbf {"a": 1}', {"a": 1}),
        (b'\r\n\t {"a"\n:\t1\r}', {"a": 1}),
        (b'[{"a": 1}, {"x": 1}]', [{"a": 1}, {}]),
        (b"[]", []),
        (b"{}", {}),
        (b'{"a": "\xff\xfe"}', {"a": "\ufffd\ufffd"}),
        (b'{"a": 0.1000000000000000055511151231257827}', {"a": Decimal("0.1000000000000000055511151231257827")}),
        (b'{"a": 1e400}', {"a": Decimal("1e400")}),
        (b'{"a": -0}', {"a": 0}),
        (b'{"a": 1} trailing', {"a": 1}),
        # Cut off or broken: what there was up to there; a number that may go on is none.
        (b'{"a": 1', {"a": None}),
        (b'{"a": 1 ', {"a": 1}),
        (b'{"a": {"b": 1}, "b": {"a": 2, "c": {"d', {"a": {"b": 1}, "b": {"a": 2, "c": {}}}),
        (b'{"a": {"b": 1', {"a": None}),
        (b'{"a": "half', {"a": None}),
        (b'{"a": 1, "b": {"a": 2], "list": [{"a": 1}]}', {"a": 1, "b": {"a": 2}}),
        (b'{"a": 1,, "b": {"a": 1}}', {"a": 1}),
        (b'{"a" 1}', {}),
        (b'{"a": }', {"a": None}),
        (b'{a: 1}', {}),
        (b'{"a": tru, "b": {"a": 1}}', {"a": None, "b": {"a": 1}}),
        (b'{"a": {"x" 1}, "b": {"a": 1}}', {"a": None, "b": {"a": 1}}),
        (b"1", None),
        (b'"text"', None),
        (b"", None),
        (b"<html>", None),
        (b"data: {}\n\n", None),
    ],
)  # fmt: skip
def test_documents_at_every_cut(text: bytes, expected: Any) -> None:
    for at in range(len(text) + 1):
        assert scanned([text[:at], text[at:]]).document == expected
    assert scanned([text[at : at + 1] for at in range(len(text))]).document == expected


def test_an_object_remembers_its_text() -> None:
    text = b'{"a": {"cost" : 1.50,\n "n": 1E2}, "x": 0}'
    for at in range(len(text)):
        found = scanned([text[:at], text[at:]]).document["a"]
        assert isinstance(found, Object)
        assert found.source == '{"cost" : 1.50,\n "n": 1E2}'
        assert str(found["cost"]) == "1.50"


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (b'{"n": NaN}', '{"n": null}'),
        (b'{"n": [-Infinity, 1.5]}', '{"n": [null, 1.5]}'),
        (b'{"n": "line\nend"}', '{"n": "line\\nend"}'),
        (b'{"n": 1e99999999999999999999}', '{"n": 1e99999999999999999999}'),
    ],
)
def test_text_that_is_no_strict_json_is_written_anew(value: bytes, source: str) -> None:
    found = scanned([b'{"a": ' + value + b"}"]).document["a"]
    assert found.source == source
    json.loads(found.source)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b'"' + b"x" * documents.LIMIT + b'"', "a is too large to be read"),
        (b"[" * 32_000 + b"]" * 32_000, "a is no valid JSON"),
        (b"{1}", "a is no valid JSON"),
        (b'{"n": ' + b"9" * 60_000 + b"}", None),
    ],
    ids=["large", "deep", "broken", "many digits"],
)
def test_a_wanted_value_that_cannot_be_read_is_left_out_and_told(value: bytes, fault: str | None) -> None:
    body = b'{"a": ' + value + b', "b": {"a": 1}}'
    for pieces in ([body], [body[at : at + 1000] for at in range(0, len(body), 1000)]):
        scanner = scanned(pieces)
        assert scanner.faults == ([fault] if fault else [])
        assert (scanner.document["a"] is None) == (fault is not None)
        assert scanner.document["b"] == {"a": 1}


def test_a_name_may_have_any_length() -> None:
    body = b'{"' + b"x\\n" * documents.LIMIT + b'": 1, "a": 2}'
    assert scanned([body[at : at + 5000] for at in range(0, len(body), 5000)]).document == {"a": 2}


LARGE: dict[str, Callable[[], bytes]] = {
    "base64": lambda: b'{"data": [{"b64_json": "' + b"QUJD" * 5_000_000 + b'"}], "a": 1}',
    "embeddings": lambda: b'{"data": [' + b"[-0.0123, 0.25, 1e-05], " * 400_000 + b'[]], "a": 1}',
    "messages": lambda: b'{"messages": [' + rb'{"content": [{"text": "say \"hi\"\n"}]}, ' * 60_000 + b'{}], "a": 1}',
    "up and down": lambda: b'{"x": [' + (b"[" * 3000 + b"]" * 3000 + b",") * 500 + b'[]], "a": 1}',
    "deep": lambda: b'{"x": ' + b'{"x": [' * 500_000 + b"]}" * 500_000 + b', "a": 1}',
    "many wanted": lambda: b'{"list": [' + b'{"a": 1}, ' * 50_000 + b'{}], "a": 1}',
    "escapes": lambda: b'{"x": "' + b"\\\\" * 2_000_000 + b'\\"", "a": 1}',
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_a_large_document_is_not_held(name: str) -> None:
    body = LARGE[name]()
    scanner = Scanner(tree(WANTED))
    tracemalloc.start()
    for start in range(0, len(body), 1 << 16):
        scanner.feed(body[start : start + (1 << 16)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scanner.complete
    assert scanner.document["a"] == 1
    assert scanner.faults == (["elements are too many to be read"] if name == "many wanted" else [])
    assert peak < (3 << 20 if name == "many wanted" else 1 << 20)


def test_large_documents_are_cut_anywhere_too() -> None:
    rng = random.Random(4)
    document = {
        "x": [
            {"y": ["\\" * rng.randrange(5) + '"' * rng.randrange(3) for _ in range(rng.randrange(6))]}
            for _ in range(1500)
        ],
        "b": {"x": {"c": [[[[{"d": "}]"}]]]] * 300}, "a": "wanted"},
    }
    text = json.dumps(document).encode()
    assert len(text) > 2 * documents.SLICE
    for _ in range(200):
        cut = rng.randrange(len(text))
        scanner = scanned([text[:cut], text[cut:]])
        assert scanner.complete
        assert scanner.document == {"b": {"a": "wanted"}}
