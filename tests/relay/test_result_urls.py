"""The URL of a batch's results: what becomes of it, of the bytes around it, and of the head."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from metrion.model import EndReason, Forward, Head, Headers, Inbound, Origin
from metrion.relay.effects import AbortResponse, Effects, EndResponse, SendRequest, SendResponse, SendResponseData
from metrion.relay.held_body import MOST_HELD
from metrion.relay.relay import Relay
from metrion.relay.result_urls import own_base, with_own_urls
from metrion.relay.rewrites import ResultUrls
from tests.relay.ways import JSON, WIRE, Gate, forward, recorded

BASE = b"http://proxy:8080/anthropic"
PATH = b"/v1/messages/batches/msgbatch_1/results"
THEIRS = b"https://api.anthropic.com" + PATH
BATCH = b'{"id": "msgbatch_1", "results_url": "%s",\n "type" : "message_batch"}'
UPSTREAM = Origin("https", "api.anthropic.com", 443)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (BATCH % THEIRS, BATCH % (BASE + PATH)),
        (BATCH % (b"http://127.0.0.1:9000" + PATH), BATCH % (BASE + PATH)),
        (b'{"results_url"\t:\n"' + THEIRS + b'"}', b'{"results_url"\t:\n"' + BASE + PATH + b'"}'),
        (b'{"results_url": "https:\\/\\/a.com\\/v1\\/x"}', b'{"results_url": "' + BASE + b'\\/v1\\/x"}'),
        (
            b'{"data": [%s, %s]}' % (BATCH % THEIRS, BATCH % THEIRS),
            b'{"data": [%s, %s]}' % (BATCH % (BASE + PATH), BATCH % (BASE + PATH)),
        ),
        # nothing else, wherever it is
        (b'{"results_url": null}', b'{"results_url": null}'),
        (b'{"results_url": "/v1/x"}', b'{"results_url": "/v1/x"}'),
        (b'{"url": "%s"}' % THEIRS, b'{"url": "%s"}' % THEIRS),
        (b'{"a": "\\"results_url\\": \\"https://a.com/x\\""}',) * 2,
        (b'{"my_results_url": "%s"}' % THEIRS,) * 2,
        (b"", b""),
        (b"\xff\xfe no JSON", b"\xff\xfe no JSON"),
    ],
)
def test_only_the_url_of_the_results_changes(body: bytes, expected: bytes) -> None:
    assert with_own_urls(body, BASE) == expected


@pytest.mark.parametrize(
    ("inbound", "expected"),
    [
        (Inbound(b"GET", b"/", ((b"Host", b"proxy:8080"),)), BASE),
        (Inbound(b"GET", b"/", ((b"host", b"[::1]:80"),)), b"http://[::1]:80/anthropic"),
        (Inbound(b"GET", b"/", ((b"host", b"proxy"),), secure=True), b"https://proxy/anthropic"),
        (Inbound(b"GET", b"/", ((b"host", b"p"), (b"X-Forwarded-Proto", b"https"))), b"https://p/anthropic"),
        # a proxy that is not addressed by path leaves the path to the provider
        (Inbound(b"GET", b"/", ((b"host", b"proxy:8101"),), UPSTREAM), b"http://proxy:8101"),
        (Inbound(b"GET", b"/", ()), None),
        (Inbound(b"GET", b"/", ((b"host", b'a"b'),)), None),
    ],
)
def test_the_proxy_is_where_its_client_found_it(inbound: Inbound, expected: bytes | None) -> None:
    assert own_base(inbound, anthropic().route) == expected


def anthropic(*, rewrites: bool = True) -> Forward:
    usual = forward()
    route = replace(
        usual.route,
        provider="anthropic",
        upstream=UPSTREAM,
        dialect="anthropic_batches",
        rewrites_result_urls=rewrites,
    )
    return replace(usual, route=route)


def asked(gate: Gate) -> tuple[Relay, Effects]:
    """A relay that has asked about a batch, and what it did."""
    relay = gate.relay()
    request = Inbound(b"GET", b"/anthropic/v1/messages/batches/msgbatch_1", ((b"host", b"proxy:8080"),))
    relay.request_head(request, ends=True, began=0.0)
    return relay, relay.connected()


def seen(effects: Effects) -> tuple[Headers | None, bytes]:
    """What the client gets: the fields of the head, and the body."""
    heads = [effect.headers for effect in effects if isinstance(effect, SendResponse)]
    body = b"".join(effect.data for effect in effects if isinstance(effect, SendResponseData))
    return (heads[0] if heads else None), body


def length(size: int) -> tuple[bytes, bytes]:
    return b"Content-Length", b"%d" % size


def test_it_asks_for_an_answer_that_can_be_read() -> None:
    _, effects = asked(Gate(anthropic()))
    (request,) = [effect for effect in effects if isinstance(effect, SendRequest)]
    assert request.head == Head(WIRE.target, (*WIRE.headers, (b"accept-encoding", b"identity")))


def test_nobody_asks_for_it_by_default() -> None:
    assert ResultUrls.suiting(anthropic(rewrites=False), Inbound(b"GET", b"/", ((b"host", b"proxy"),))) is None


WHOLE, CHANGED = BATCH % THEIRS, BATCH % (BASE + PATH)


@pytest.mark.parametrize(
    ("status", "headers", "pieces", "expected"),
    [
        (200, (*JSON, length(len(WHOLE))), [WHOLE], ((*JSON, length(len(CHANGED))), CHANGED)),
        (200, (*JSON, length(len(WHOLE))), [WHOLE[:40], WHOLE[40:]], ((*JSON, length(len(CHANGED))), CHANGED)),
        (200, JSON, [WHOLE[:60], WHOLE[60:]], (JSON, CHANGED)),
        (200, (*JSON, length(0)), [], ((*JSON, length(0)), b"")),
        # what cannot be read, or says nothing of results, passes as it came
        (404, (*JSON, length(len(WHOLE))), [WHOLE], ((*JSON, length(len(WHOLE))), WHOLE)),
        (200, ((b"content-type", b"text/plain"),), [WHOLE], (((b"content-type", b"text/plain"),), WHOLE)),
        (
            200,
            (*JSON, (b"content-encoding", b"gzip")),
            [gzip.compress(WHOLE, mtime=0)],
            ((*JSON, (b"content-encoding", b"gzip")), gzip.compress(WHOLE, mtime=0)),
        ),
    ],
)
def test_the_client_reads_results_at_the_proxy(
    status: int, headers: Headers, pieces: list[bytes], expected: tuple[Headers, bytes]
) -> None:
    gate = Gate(anthropic())
    relay, _ = asked(gate)
    effects = relay.response_head(status, b"OK", headers, ends=False)
    for piece in pieces:
        effects += relay.response_data(piece)
    effects += relay.response_end()
    assert seen(effects) == expected
    assert isinstance(effects[-3], EndResponse)
    assert recorded(effects, relay) is EndReason.COMPLETE
    assert gate.events[0].response_bytes == sum(map(len, pieces)), "what the provider sent"


def test_an_answer_that_breaks_off_is_as_it_came() -> None:
    relay, _ = asked(Gate(anthropic()))
    headers = (*JSON, length(999))
    effects = relay.response_head(200, b"OK", headers, ends=False) + relay.response_data(WHOLE[:70])
    assert seen(effects) == (None, b"")
    effects = relay.upstream_failed("it closed the connection")
    assert seen(effects) == (headers, WHOLE[:70])
    assert any(isinstance(effect, AbortResponse) for effect in effects)


def test_an_answer_whose_rest_does_not_come_is_as_it_came() -> None:
    gate = Gate(replace(anthropic(), caller=replace(anthropic().caller, timeout=5.0)))
    relay, _ = asked(gate)
    relay.response_head(200, b"OK", JSON, ends=False)
    relay.response_data(WHOLE[:70])
    gate.now = 6.0
    assert seen(relay.time_passed(client_is_slow=False)) == (JSON, WHOLE[:70])


def test_an_answer_that_is_too_long_to_be_held_is_as_it_came() -> None:
    relay, _ = asked(Gate(anthropic()))
    effects = relay.response_head(200, b"OK", JSON, ends=False)
    pieces = [WHOLE, bytes(MOST_HELD), b"rest"]
    for piece in pieces:
        effects += relay.response_data(piece)
    assert seen(effects + relay.response_end()) == (JSON, b"".join(pieces))
