import json

import pytest

from metrion.dialects.reading.results_body import is_results
from metrion.metering.tap import Tap

RESULTS = [
    b'{"id":"batch_req_1","custom_id":"a","response":{"status_code":200,"body":{"usage":{}}},"error":null}',
    b'{"custom_id":"a","response":null,"error":{"code":"x"}}',
    b'{"key":"a","response":{"candidates":[],"usageMetadata":{"promptTokenCount":1}}}',
    b'{"response":{"candidates":[],"usageMetadata":{"promptTokenCount":1}},"key":"a"}',
    b'{"response":{"modelVersion":"gemini-2.5-flash"}}',
    b'{"custom_id":"a","result":{"type":"succeeded","message":{}}}',
    json.dumps({"results": [{"batch_request_id": "a", "batch_result": {"response": {}}}]}, indent=1).encode(),
]
OTHERS = [
    b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"response":{}}}',
    b'{"key":"a","request":{"contents":[]}}',
    b'{"messages":[{"role":"user","content":"custom_id response"}]}',
    b'{"response":"text"}',
    b'[{"custom_id":"a","response":{}}]',
    b"custom_id,response\na,b",
    b"\x89PNG\r\n",
]


def read(body: bytes, size: int) -> bool:
    tap = Tap(None, content_type="application/octet-stream", content_encoding=None, status=200, seeks_results=True)
    for at in range(0, len(body), size):
        tap.feed(body[at : at + size])
    tap.finish()
    reading = tap.reading
    assert (reading.usage, reading.warnings, reading.wire_format) == (None, (), None)
    return reading.is_results


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("body", RESULTS)
def test_results_are_known_by_their_first_document(body: bytes, size: int) -> None:
    assert read(b"\n" + body + b"\n" + body, size)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("body", OTHERS)
def test_no_other_body_is_taken_for_results(body: bytes, size: int) -> None:
    assert not read(body + b"\n" + RESULTS[0], size)


def test_an_empty_body_is_none() -> None:
    assert not read(b"", 1)
    assert not read(b"\n\n", 1)


def test_what_is_no_object_is_no_result() -> None:
    assert not any(map(is_results, (None, [], "custom_id", 5, {})))
