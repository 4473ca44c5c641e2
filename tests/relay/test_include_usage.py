"""A stream's usage, asked for and taken out again: tables of bodies, and every recorded stream that was asked."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.parsing.sse import EventReader
from metrion.relay import include_usage
from metrion.relay.include_usage import UsageFilter, ask_for_usage
from tests.corpus import Exchange, at_least, exchanges

# --- the request ------------------------------------------------------------------------------------------------------

ASKED = [
    # (what the client sends, what goes out)
    (b'{"stream":true}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
    (
        b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"stream":true}',
        b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"stream":true'
        b',"stream_options":{"include_usage":true}}',
    ),
    # Whitespace, the spelling of numbers, escapes and the order of members stay.
    (
        b'\r\n{ "stream" : true ,\n\t"temperature" : 1.0e+0, "top_p": 1.00 }\n',
        b'\r\n{ "stream" : true ,\n\t"temperature" : 1.0e+0, "top_p": 1.00,"stream_options":{"include_usage":true} }\n',
    ),
    (
        '{"stream":true,"prompt":"\\u00e9 é \\/ 🙂 \\ud83d","seed":12345678901234567890123}'.encode(),
        '{"stream":true,"prompt":"\\u00e9 é \\/ 🙂 \\ud83d","seed":12345678901234567890123'
        ',"stream_options":{"include_usage":true}}'.encode(),
    ),
    # There are options already.
    (b'{"stream_options":null,"stream":true}', b'{"stream_options":{"include_usage":true},"stream":true}'),
    (b'{"stream_options":{},"stream":true}', b'{"stream_options":{"include_usage":true},"stream":true}'),
    (b'{"stream_options": { } ,"stream":true}', b'{"stream_options": {"include_usage":true } ,"stream":true}'),
    (
        b'{"stream":true,"stream_options":{"include_obfuscation":false}}',
        b'{"stream":true,"stream_options":{"include_obfuscation":false,"include_usage":true}}',
    ),
    (
        b'{"stream":true, "stream_options" : { "x": {"include_usage": false} , "y":[1] } }',
        b'{"stream":true, "stream_options" : { "x": {"include_usage": false} , "y":[1],"include_usage":true } }',
    ),
    (
        b'{"stream":true,"stream_options":{"include_usage":false}}',
        b'{"stream":true,"stream_options":{"include_usage":true}}',
    ),
    (
        b'{"stream_options":{"include_usage" : null , "x":1},"stream":true}',
        b'{"stream_options":{"include_usage" : true , "x":1},"stream":true}',
    ),
    # What is not at the top is not meant.
    (
        b'{"stream":true,"messages":[{"stream_options":{"include_usage":true}}],"metadata":{"stream_options":"x"}}',
        b'{"stream":true,"messages":[{"stream_options":{"include_usage":true}}],"metadata":{"stream_options":"x"}'
        b',"stream_options":{"include_usage":true}}',
    ),
    (
        b'{"prompt":"\\"stream_options\\":{\\"include_usage\\":true}","stream":true}',
        b'{"prompt":"\\"stream_options\\":{\\"include_usage\\":true}","stream":true'
        b',"stream_options":{"include_usage":true}}',
    ),
    (
        b'{"stream":true,"tools":[{"stream":1,"stream":2}]}',
        b'{"stream":true,"tools":[{"stream":1,"stream":2}],"stream_options":{"include_usage":true}}',
    ),
]

UNTOUCHED = {
    "no stream": b'{"model":"gpt-4o"}',
    "a whole answer": b'{"stream":false}',
    "null": b'{"stream":null}',
    "one": b'{"stream":1}',
    "a word": b'{"stream":"true"}',
    "an escape in stream": b'{"str\\u0065am":true}',
    "a stream inside": b'{"metadata":{"stream":true}}',
    "asked for": b'{"stream":true,"stream_options":{"include_usage":true}}',
    "asked for among others": b'{"stream_options":{"x":1, "include_usage" : true},"stream":true}',
    "strange": b'{"stream":true,"stream_options":{"include_usage":1}}',
    "strange nought": b'{"stream":true,"stream_options":{"include_usage":0}}',
    "strange text": b'{"stream":true,"stream_options":{"include_usage":"false"}}',
    "options are text": b'{"stream":true,"stream_options":"include_usage"}',
    "options are a list": b'{"stream":true,"stream_options":[]}',
    "options are false": b'{"stream":true,"stream_options":false}',
    "stream twice": b'{"stream":false,"stream":true}',
    "model twice": b'{"model":"a","stream":true,"model":"b"}',
    "options twice": b'{"stream":true,"stream_options":{},"stream_options":{}}',
    "an option twice": b'{"stream":true,"stream_options":{"include_usage":false,"include_usage":null}}',
    "an escape in a name": b'{"stream":true,"stream\\u005foptions":{"include_usage":true}}',
    "an escape in an option": b'{"stream":true,"stream_options":{"include\\u005fusage":true}}',
    "nothing": b"",
    "empty": b"{}",
    "a list": b'[{"stream":true}]',
    "text": b'"stream"',
    "a form": b"stream=true",
    "cut off": b'{"stream":true',
    "cut off in a value": b'{"stream":true,"model":"gpt',
    "cut off behind a comma": b'{"stream":true,',
    "a comma too many": b'{"stream":true,}',
    "no comma": b'{"stream":true "model":"x"}',
    "no colon": b'{"stream" true}',
    "a brace for a comma": b'{"stream":true{"model":"x"}',
    "no value": b'{"stream":true,"model":}',
    "more behind it": b'{"stream":true}{"stream":true}',
    "a comment": b'{"stream":true}//',
    "one quote": b"{'stream':true}",
    "a line end in text": b'{"stream":true,"prompt":"\n"}',
    "a number of its own": b'{"stream":true,"seed":' + b"1" * 5000 + b"}",
    "not UTF-8": b'{"stream":true,"prompt":"\xff"}',
    "half a character": b'{"stream":true,"prompt":"\xc3"}',
    "UTF-16": '{"stream":true}'.encode("utf-16"),
    "a mark before it": b'\xef\xbb\xbf{"stream":true}',
    "too deep": b'{"stream":true,"metadata":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "too deep and open": b'{"stream":true,"metadata":' + b'{"a":' * 200_000,
}


@pytest.mark.parametrize(("body", "sent"), ASKED)
def test_the_option_is_put_into_a_request_that_lacks_it(body: bytes, sent: bytes) -> None:
    assert ask_for_usage(body) == sent
    assert json.loads(sent) == _asking(json.loads(body))
    assert ask_for_usage(sent) is None


@pytest.mark.parametrize("body", UNTOUCHED.values(), ids=UNTOUCHED)
def test_another_request_is_left_alone(body: bytes) -> None:
    assert ask_for_usage(body) is None


def _asking(request: dict[str, Any]) -> dict[str, Any]:
    return request | {"stream_options": (request.get("stream_options") or {}) | {"include_usage": True}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
PLAIN_NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=8)
STYLES = st.fixed_dictionaries(
    {
        "ensure_ascii": st.booleans(),
        "indent": st.sampled_from([None, 0, 2, "\t"]),
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" , ", " :\r\n")]),
    }
)


@given(
    st.dictionaries(PLAIN_NAMES, JSON, max_size=5),
    st.sampled_from([..., None, {}, {"include_usage": False}, {"include_usage": None, "x": 1}, {"y": "é", "x": [{}]}]),
    STYLES,
    st.randoms(use_true_random=False),
)
def test_any_request_is_changed_in_one_place_only(
    members: dict[str, Any], options: Any, style: dict[str, Any], chance: random.Random
) -> None:
    request = members | {"stream": True} | ({} if options is ... else {"stream_options": options})
    request = dict(chance.sample(list(request.items()), len(request)))
    body = json.dumps(request, **style).encode()
    sent = ask_for_usage(body)
    assert sent is not None
    assert json.loads(sent) == _asking(request)
    _assert_spliced(body, sent)


def _assert_spliced(body: bytes, sent: bytes) -> None:
    """See that what is put in, taken out again, leaves the body; only a false or a null makes room for it."""
    for old in (b"", b"false", b"null"):
        for new in (
            b'"stream_options":{"include_usage":true}',
            b'{"include_usage":true}',
            b'"include_usage":true',
            b"true",
        ):
            for comma in (b",", b""):
                for found in re.finditer(re.escape(comma + new), sent):
                    if sent[: found.start()] + old + sent[found.end() :] == body:
                        return
    raise AssertionError(sent)


def test_recorded_requests_for_a_stream() -> None:
    asked = untouched = 0
    for exchange in exchanges({"chat", "completions"}):
        sent = ask_for_usage(exchange.request_body)
        try:
            request = json.loads(exchange.request_body)
        except ValueError:
            request = None
        if not isinstance(request, dict) or request.get("stream") is not True:
            assert sent is None
        elif (request.get("stream_options") or {}).get("include_usage"):
            assert sent is None
            untouched += 1
        else:
            assert sent is not None
            assert json.loads(sent) == _asking(request)
            _assert_spliced(exchange.request_body, sent)
            asked += 1
    assert asked >= at_least(101, 5)
    assert untouched >= at_least(101, 5)


# --- the response -----------------------------------------------------------------------------------------------------

USAGE = b'"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"details":{"usage":null}}'

EVENTS = [
    # (what the provider sends, what the client sees)
    # Events of nothing but usage go.
    (b'data: {"id":"1","choices":[],' + USAGE + b"}\n\n", b""),
    (b'data: {"id":"1","choices":[],' + USAGE + b"}\r\n\r\n", b""),
    (b'data: {"id":"1","choices":[],' + USAGE + b"}\r\r", b""),
    (b'data: {"id":"1","choices":[],' + USAGE + b"}\n\r\n", b""),
    (b'data: {"id":"1","choices":[],' + USAGE + b"}\r\n\r", b""),
    (b"data:{" + USAGE + b"}\n\n", b""),
    (b'data: { "choices" : null , "usage" : { } }  \n\n', b""),
    (b'data: {"choices": [ ], "usage": 3}\n\n', b""),
    (b'event: message\nid: 7\nretry: 1\ndata: {"choices":[],' + USAGE + b"}\n\n", b""),
    (b': ping\ndata: {"choices":[],' + USAGE + b"}\n: pong\n\n", b": ping\n: pong\n"),
    (b'\n\ndata: {"choices":[],' + USAGE + b"}\n\n\n\n", b"\n\n\n\n"),
    # The member goes out of the others: at the end, in the middle, at the beginning, alone; null or not.
    (b'data: {"id":"1","choices":[{}],"usage":null}\n\n', b'data: {"id":"1","choices":[{}]}\n\n'),
    (b'data: {"id":"1","usage":null,"choices":[{}]}\n\n', b'data: {"id":"1","choices":[{}]}\n\n'),
    (b'data: {"usage":null,"id":"1","choices":[{}]}\n\n', b'data: {"id":"1","choices":[{}]}\n\n'),
    (b'data: {"usage":null}\n\n', b"data: {}\n\n"),
    (b'data: {"choices":[{"delta":{}}],' + USAGE + b',"x":1}\n\n', b'data: {"choices":[{"delta":{}}],"x":1}\n\n'),
    (b'data: {"choices":[],"usage":null,"x":1}\n\n', b'data: {"choices":[],"x":1}\n\n'),
    (b'data:{"id":"1","choices":[{}],"usage":null}\r\n\r\n', b'data:{"id":"1","choices":[{}]}\r\n\r\n'),
    (b'data: { "id": "1", "usage": null, "choices": [{}] }\n\n', b'data: { "id": "1", "choices": [{}] }\n\n'),
    (b'data: { "id" : "1" , "choices" : [{}] , "usage" : null }\n\n', b'data: { "id" : "1" , "choices" : [{}] }\n\n'),
    (b'data: { "usage" : null , "choices" : [{}] }\n\n', b'data: { "choices" : [{}] }\n\n'),
    (
        b'event: x\nid: 1\n: c\ndata: {"choices":[{}],"usage":null}\n\n',
        b'event: x\nid: 1\n: c\ndata: {"choices":[{}]}\n\n',
    ),
    (
        'data: {"choices":[{"delta":{"content":"é \\u00e9 🙂 \\" 1.0e+2"}}],"n":1.50,"usage":null}\n\n'.encode(),
        'data: {"choices":[{"delta":{"content":"é \\u00e9 🙂 \\" 1.0e+2"}}],"n":1.50}\n\n'.encode(),
    ),
    (
        b'data: {"choices":[{"delta":{"content":"\\"usage\\":null"},"usage":null}],"usage":null}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"usage\\":null"},"usage":null}]}\n\n',
    ),
    (b'data: {"x":"usage","usage":null,"choices":["usage"]}\n\n', b'data: {"x":"usage","choices":["usage"]}\n\n'),
    (b'data: {"error":null,"usage":null,"choices":[{}]}\n\n', b'data: {"error":null,"choices":[{}]}\n\n'),
    # One after the other.
    (
        b'data: {"choices":[{}],"usage":null}\n\ndata: {"choices":[],' + USAGE + b"}\n\ndata: [DONE]\n\n",
        b'data: {"choices":[{}]}\n\ndata: [DONE]\n\n',
    ),
    (
        b'data: {"choices":[{}],"usage":null}\r\n\r\ndata: {"choices":[],' + USAGE + b"}\r\n\r\ndata: [DONE]\r\n\r\n",
        b'data: {"choices":[{}]}\r\n\r\ndata: [DONE]\r\n\r\n',
    ),
    # At the end a blank line may be missing.
    (b'data: [DONE]\n\ndata: {"choices":[],' + USAGE + b"}\n", b"data: [DONE]\n\n"),
    (b'data: [DONE]\n\ndata: {"choices":[{}],"usage":null}', b'data: [DONE]\n\ndata: {"choices":[{}]}'),
]

UNTOUCHED_EVENTS = [
    b"",
    b"\n",
    b"\r\n\r\n\n\r\r",
    b": ping\n\n",
    b": ping\r\n\r\n: pong\r\n\r\n",
    b': "usage"\n\n',
    b"data: [DONE]\n\n",
    b'data: "usage"\n\n',
    b'data: ["usage"]\n\n',
    b'data: {"choices":[{}]}\n\ndata: {"choices":[]}\n\n',
    b'data: {"choices":[{"usage":{"prompt_tokens":1}}]}\n\n',
    b'data: {"choices":[],"x_groq":{"usage":{"prompt_tokens":1}}}\n\n',
    b'data: {"choices":[{"delta":{"content":"{\\"usage\\":null}"}}]}\n\n',
    b'data: {"error":{"message":"no"},"usage":{"prompt_tokens":1}}\n\n',
    b'data: {"error":"no","usage":null,"choices":[]}\n\n',
    b'event: error\ndata: {"message":"no","usage":{"prompt_tokens":1}}\n\n',
    b'event: error\r\ndata: {"message":"no","usage":null}\r\n\r\n',
    b'data: {"choices":[],\ndata: "usage":null}\n\n',
    b'data: {"choices":[],"usage":null}\ndata\n\n',
    b'data: {"usage":null,"usage":{"prompt_tokens":1}}\n\n',
    b'data: {"choices":[{}],"choices":[],"usage":{"prompt_tokens":1}}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":1}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":1}}}\n\n',
    b'data: {"choices":[],"usage":nul}\n\n',
    b'data: {"choices":[],"usage":\n\n',
    b'data: {"choices":[],"usage"\n\n',
    b'data: x{"choices":[],"usage":{}}\n\n',
    b'data : {"choices":[],"usage":{}}\n\n',
    b' data: {"choices":[],"usage":{}}\n\n',
    b'datax: {"choices":[],"usage":{}}\n\n',
    b'{"choices":[],"usage":{}}\n\n',
    b'data: {"usage":null,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n\n",
    b'data: {"usage":null,\xff\x00\'}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tok',
    b'<html>"usage"</html>',
]


def seen(*pieces: bytes) -> bytes:
    """What the client sees of a stream that comes in these pieces."""
    usage_filter = UsageFilter()
    return b"".join([*map(usage_filter.feed, pieces), usage_filter.finish()])


def crumbs(stream: bytes, size: int = 1) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


@pytest.mark.parametrize(("stream", "expected"), [*EVENTS, *((stream, stream) for stream in UNTOUCHED_EVENTS)])
def test_the_usage_is_taken_out_at_every_cut(stream: bytes, expected: bytes) -> None:
    assert seen(stream) == expected
    if len(stream) > 10_000:
        assert seen(*crumbs(stream, 999)) == expected
        return
    assert seen(*crumbs(stream)) == expected
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1, 7):
            assert seen(stream[:first], stream[first:second], stream[second:]) == expected


@given(
    st.lists(st.sampled_from([*EVENTS, *((stream, stream) for stream in UNTOUCHED_EVENTS if len(stream) < 500)])),
    st.lists(st.integers(0, 60)),
)
def test_one_event_does_not_change_another(chosen: list[tuple[bytes, bytes]], sizes: list[int]) -> None:
    whole = [(stream, expected) for stream, expected in chosen if stream.endswith((b"\n\n", b"\r\n\r\n"))]
    stream = b"".join(stream for stream, _ in whole)
    cuts = sorted({0, len(stream), *(min(sum(sizes[: end + 1]), len(stream)) for end in range(len(sizes)))})
    pieces = [stream[start:end] for start, end in pairwise(cuts)]
    assert seen(*pieces) == b"".join(expected for _, expected in whole)


BITS = [
    b"data: ",
    b"\n",
    b"\r",
    b"\r\n",
    b'{"usage":null',
    b',"choices":[]',
    b'"usage":1',
    b"}",
    b"{",
    b":",
    b"x",
    b"event: error",
]


@given(st.lists(st.sampled_from(BITS)), st.lists(st.integers(1, 9)))
def test_junk_is_the_same_at_every_cut_and_raises_nothing(bits: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(bits)
    pieces = []
    rest = stream
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert seen(*pieces, rest) == seen(stream)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\n\r", b"\r\n\r"])
@pytest.mark.parametrize("data", [b'{"choices":[{}]}', b'{"choices":[{}],"usage":null}', b"[DONE]"])
def test_an_event_is_given_as_soon_as_its_blank_line_is_there(data: bytes, end: bytes) -> None:
    usage_filter = UsageFilter()
    expected = b"data: " + data.replace(b',"usage":null', b"") + end
    for _ in range(3):
        given = [usage_filter.feed(byte) for byte in crumbs(b"data: " + data + end)]
        assert (b"".join(given), given[-1][-1:], b"".join(given[: -len(end)])) == (expected, end[-1:], b"")
    assert usage_filter.feed(b"data: half") == b""
    assert usage_filter.finish() == b"data: half"


def test_whole_events_do_not_wait_for_a_half_one() -> None:
    usage_filter = UsageFilter()
    assert usage_filter.feed(b'data: 1\n\ndata: {"choices":[{}],"usage":null}\n\ndata: 2') == (
        b'data: 1\n\ndata: {"choices":[{}]}\n\n'
    )
    assert usage_filter.feed(b"\n") == b""
    assert usage_filter.feed(b"\ndata: 3\n\n") == b"data: 2\n\ndata: 3\n\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_an_event_that_is_too_large_passes_as_it_is(size: int, end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(include_usage, "LIMIT", 100)
    small = b'data: {"choices":[{}],"usage":null}' + end
    large = b": " + b"x" * 150 + end[: len(end) // 2] + small
    fitting = b'data: {"usage":null,"x":"%b"}' % (b"x" * 73)
    assert len(fitting) == 100
    one_more = fitting.replace(b"x", b"xx", 1) + end
    fitting += end
    stream = small + large + small + fitting + one_more + small
    unasked = small.replace(b',"usage":null', b"")
    expected = unasked + large + unasked + fitting.replace(b'"usage":null,', b"") + one_more + unasked
    assert seen(*crumbs(stream, size)) == expected
    assert seen(stream) == expected


def test_no_more_than_the_limit_is_ever_held() -> None:
    usage_filter = UsageFilter()
    fed = given = most = 0
    for piece in [b'data: {"x":"', *[b"x" * 65_536] * 64, b'","usage":null}\n\n']:
        fed += len(piece)
        given += len(usage_filter.feed(piece))
        most = max(most, fed - given)
    assert (given, usage_filter.finish()) == (fed, b"")
    assert include_usage.LIMIT - 65_536 < most <= include_usage.LIMIT


# --- recorded streams -------------------------------------------------------------------------------------------------


def recorded_streams(*providers: str, asked: bool) -> list[Exchange]:
    """Recorded streams of requests that asked for their usage, or that did not."""
    return [
        exchange
        for exchange in exchanges({"chat", "completions"}, providers)
        if exchange.stream_format == "sse"
        and exchange.request_body
        and bool((json.loads(exchange.request_body).get("stream_options") or {}).get("include_usage")) is asked
    ]


def documents(stream: bytes) -> list[Any]:
    """The data of every event: JSON, or the bytes that are none."""
    found: list[Any] = []
    for part in EventReader().feed(stream):
        try:
            found.append(json.loads(part.data))
        except ValueError:
            found.append(part.data)
    return found


def unasked(document: Any) -> Any:
    """What a client that had not asked would have got; ``None``: nothing."""
    if not isinstance(document, dict) or "usage" not in document:
        return document
    if not document["choices"] and document["usage"]:
        return None
    return {name: value for name, value in document.items() if name != "usage"}


def test_recorded_streams_are_seen_without_their_usage() -> None:
    providers = Counter[str]()
    for exchange in recorded_streams("openai", "azure", "deepseek", asked=True):
        recorded = exchange.response_body
        shown = seen(recorded)
        expected = [unasked(document) for document in documents(recorded)]
        assert documents(shown) == [document for document in expected if document is not None], exchange.id
        _assert_only_usage_is_missing(recorded, shown)
        for size in (1, 17, 1024):
            assert seen(*crumbs(recorded, size)) == shown, exchange.id
        if shown != recorded:
            providers[exchange.provider] += 1
    assert providers["openai"] >= at_least(65)
    assert providers["azure"] >= at_least(5)
    assert providers["deepseek"] >= at_least(40)


def _assert_only_usage_is_missing(recorded: bytes, shown: bytes) -> None:
    """See that each event is there byte for byte but for one gap, which is the usage and a comma; or is usage alone."""
    left = shown.split(b"\n\n")
    for event in recorded.split(b"\n\n"):
        if b'"usage"' not in event:
            assert left.pop(0) == event
        elif b'"choices":[]' in event:
            continue
        else:
            kept = left.pop(0)
            gap = len(event) - len(kept)
            assert any(
                re.fullmatch(rb',"usage":(null|\{.*\})', event[at : at + gap])
                and event[:at] + event[at + gap :] == kept
                for at in (found.start() for found in re.finditer(rb',"usage":', event))
            )
    assert left == []


def test_recorded_streams_that_did_not_ask_pass_byte_for_byte() -> None:
    silent = recorded_streams("openai", "azure", asked=False)
    assert len(silent) >= at_least(20)
    for exchange in silent:
        assert b'"usage"' not in exchange.response_body
        assert seen(*crumbs(exchange.response_body, 100)) == exchange.response_body


@pytest.mark.parametrize("provider", ["groq", "mistral", "openrouter", "perplexity"])
def test_recorded_streams_where_asking_would_take_something_away(provider: str) -> None:
    """These report their usage unasked, and the client sees it: that is why the option is refused for them."""
    silent = recorded_streams(provider, asked=False)
    assert any(seen(exchange.response_body) != exchange.response_body for exchange in silent)
