"""Tokens that no provider reports, through a running proxy: when they are estimated, and what waits for it."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metrion.estimates.tokenizers import is_available
from metrion.simulator.delivery import Delivery
from tests.corpus import Exchange, exchanges, needs_corpus
from tests.estimates.test_accuracy import without_usage
from tests.processes import Proxy, Road, eventually, running_serve, upstreams
from tests.simulated import Simulator

pytestmark = pytest.mark.skipif(not is_available(), reason="there is no tokenizer: pip install 'metrion[estimates]'")

SSE = [("content-type", "text/event-stream")]


def sse(*events: dict[str, Any] | str) -> list[bytes]:
    return [f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode() for event in events]


def asked(model: str, **more: Any) -> bytes:
    messages = [{"role": "user", "content": "Say this is a test"}]
    return json.dumps({"model": model, "stream": True, "messages": messages} | more).encode()


# What OpenAI counts for these: 12 tokens of input, 5 of output ("This", " is", " a", " test", ".").
CHAT = "/openai/v1/chat/completions"
WORDS = sse(
    *(
        {"id": "c-1", "model": "gpt-4o-2024-08-06", "choices": [{"index": 0, "delta": {"content": word}}]}
        for word in ("This", " is", " a", " test", ".")
    )
)
STOP = sse({"id": "c-1", "model": "gpt-4o-2024-08-06", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
DONE = sse("[DONE]")

MESSAGES = "/anthropic/v1/messages"
OPENING = {"input_tokens": 25, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 0, "output_tokens": 1}
CLAUDE = sse(
    {"type": "message_start", "message": {"id": "msg_1", "model": "claude-sonnet-4-5-20250929", "usage": OPENING}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    *(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in ("This is", " a test of", " a stream that breaks", " off in the middle of a")
    ),
)


@dataclass(frozen=True, slots=True)
class Call:
    """A request under way."""

    label: str
    response: http.client.HTTPResponse
    connection: http.client.HTTPConnection


def call(proxy: Proxy, path: str, body: bytes, headers: dict[str, str]) -> Call:
    label = uuid.uuid4().hex
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    credential = {"authorization": f"Bearer {proxy.token}", "x-metrion-user": label, "content-type": "application/json"}
    connection.request("POST", path, body, credential | headers)
    return Call(label, connection.getresponse(), connection)


def answer(simulator: Simulator, pieces: Sequence[bytes]) -> str:
    return simulator.register_answer(uuid.uuid4().hex, pieces=pieces, headers=SSE, chunked=True)


def known(event: dict[str, Any]) -> tuple[Any, ...]:
    return event["usage_source"], event["cost_source"], event["input_tokens"], event["output_tokens"]


def test_stream_without_usage_is_estimated_before_its_end_goes_on(serve: Proxy, simulator: Simulator) -> None:
    """Its row is there as soon as the client has read ``[DONE]``, though the provider never closes the stream."""
    headers = simulator.select(answer(simulator, [*WORDS, *STOP, *DONE]), Delivery(hold="end"))
    under_way = call(serve, CHAT, asked("gpt-4o"), headers)
    assert b"".join(iter(under_way.response.readline, b"data: [DONE]\n"))
    assert under_way.response.readline() == b"\n"
    (event,) = serve.events(f"SELECT * FROM events WHERE user_label = '{under_way.label}'")  # noqa: S608 -- our own label
    under_way.connection.close()
    assert known(event) == ("estimated", "estimated", 12, 5)
    assert event["end_reason"] == "complete"
    assert event["usage"] is None  # what the provider said, and it said nothing
    assert event["cost_usd"] == "0.000080000000"  # 12 at $2.50 and 5 at $10 a million


def test_a_request_that_asks_has_no_estimate(serve: Proxy, simulator: Simulator) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300}
    told = sse({"id": "c-1", "model": "gpt-4o-2024-08-06", "choices": [], "usage": usage})
    headers = simulator.select(answer(simulator, [*WORDS, *STOP, *told, *DONE]))
    under_way = call(serve, CHAT, asked("gpt-4o"), headers)
    under_way.response.read()
    assert known(serve.event(under_way.label)) == ("reported", "computed", 100, 200)


@pytest.mark.parametrize("words", [1, 3])
def test_what_passed_before_the_client_left_is_estimated(words: int, proxy: Proxy, simulator: Simulator) -> None:
    """On one port and in reverse mode, where mitmproxy's own hooks run as well."""
    sent = b"".join(WORDS[:words])
    headers = simulator.select(answer(simulator, [*WORDS, *STOP, *DONE]), Delivery(hold=len(sent)))
    port = proxy.ports.get("openai", proxy.port)
    reached = Proxy(proxy.home, proxy.process, proxy.log, proxy.environment, port, token=proxy.token)
    under_way = call(reached, CHAT.removeprefix("/openai") if proxy.ports else CHAT, asked("gpt-4o"), headers)
    assert under_way.response.read(len(sent)) == sent
    under_way.response.close()
    under_way.connection.close()
    event = proxy.event(under_way.label)
    assert event["end_reason"] == "client_abort"
    assert known(event) == ("estimated", "estimated", 12, words)


def test_what_was_reported_before_a_cut_stays_and_is_completed(serve: Proxy, simulator: Simulator) -> None:
    """The opening of Anthropic's streams has the whole input."""
    headers = simulator.select(answer(simulator, CLAUDE), Delivery(cut=len(b"".join(CLAUDE))))
    under_way = call(serve, MESSAGES, asked("claude-sonnet-4-5", max_tokens=100), headers)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        under_way.response.read()
    event = serve.event(under_way.label)
    assert event["end_reason"] == "upstream_error"
    assert (event["usage_source"], event["cost_source"]) == ("estimated", "estimated")
    assert (event["input_tokens"], event["cache_read_tokens"], event["cache_write_tokens"]) == (1025, 1000, 0)
    assert 12 <= event["output_tokens"] <= 20
    assert event["usage"] == OPENING


def test_an_error_within_a_stream_is_not_estimated(serve: Proxy, simulator: Simulator) -> None:
    headers = simulator.select(answer(simulator, [*WORDS, *STOP, *DONE]), error_event=2)
    under_way = call(serve, CHAT, asked("gpt-4o"), headers)
    assert b'"error"' in under_way.response.read()
    assert known(serve.event(under_way.label)) == ("none", "unknown", None, None)


@pytest.fixture(scope="module")
def without_tokenizer(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy in whose environment the optional package is not, nor anything of it but the name."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "bpe_openai").mkdir()
    (folder / "bpe_openai" / "__init__.py").touch()
    environment = {"PYTHONPATH": str(folder)}
    with running_serve(folder / "home", upstreams(simulator), environment=environment) as running:
        yield running


def test_without_a_tokenizer_what_nobody_reports_is_not_known(without_tokenizer: Proxy, simulator: Simulator) -> None:
    under_way = call(
        without_tokenizer, CHAT, asked("gpt-4o"), simulator.select(answer(simulator, [*WORDS, *STOP, *DONE]))
    )
    assert under_way.response.read() == b"".join([*WORDS, *STOP, *DONE])
    assert known(without_tokenizer.event(under_way.label)) == ("none", "unknown", None, None)


def test_of_a_long_stream_the_end_is_extrapolated(serve: Proxy, simulator: Simulator) -> None:
    """It is longer than what is kept of it."""
    headers = simulator.select(answer(simulator, [*(WORDS[1] * 50 for _ in range(2000)), *STOP, *DONE]))
    under_way = call(serve, CHAT, asked("gpt-4o"), headers)
    under_way.response.read()
    event = serve.event(under_way.label)
    assert known(event)[:3] == ("estimated", "estimated", 12)
    assert event["output_tokens"] == pytest.approx(100_000, rel=0.02)


# Enough words for an estimate of a quarter of a second.
SPEECH = [
    b"".join(sse(*({"model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": f" {at * 31}"}}]} for at in part)))
    for part in itertools.batched(range(32_000), 1000)
]


def in_their_last_event(proxy: Proxy, simulator: Simulator, count: int) -> list[Call]:
    """Long streams of which nothing but ``[DONE]`` is to come, once the simulator is told to."""
    whole = b"".join(SPEECH)
    headers = simulator.select(answer(simulator, [*SPEECH, *DONE]), Delivery(hold=len(whole)))
    calls = [call(proxy, CHAT, asked("gpt-4o"), headers) for _ in range(count)]
    for under_way in calls:
        assert under_way.response.read(len(whole)) == whole
    return calls


def test_long_estimates_keep_no_other_stream_waiting(serve: Proxy, simulator: Simulator) -> None:
    """Neither one that needs no estimate, nor one that needs a short one."""
    long = in_their_last_event(serve, simulator, 4)
    ends = [threading.Thread(target=under_way.response.read) for under_way in long]
    for end in ends:
        end.start()
    headers = simulator.select(answer(simulator, [*WORDS, *STOP, *DONE]))
    short = 0
    simulator.release(len(long))
    while any(end.is_alive() for end in ends):
        call(serve, CHAT, asked("gpt-4o"), headers).response.read()
        short += 1
    assert short > 30  # there is time for hundreds of them
    assert {known(serve.event(under_way.label))[0] for under_way in long} == {"estimated"}


def test_client_that_leaves_while_its_estimate_is_made(serve: Proxy, simulator: Simulator) -> None:
    (under_way,) = in_their_last_event(serve, simulator, 1)
    simulator.release()
    under_way.response.close()
    under_way.connection.close()
    event = serve.event(under_way.label)
    assert event["usage_source"] == "estimated"
    assert event["end_reason"] in {"complete", "client_abort"}  # whichever was heard of first
    eventually(lambda: serve.health()["in_flight"], until=lambda count: count == 0)


def test_end_of_the_proxy_while_an_estimate_is_made(road: Road, simulator: Simulator, tmp_path: Path) -> None:
    """Told to end, it waits for it."""
    with running_serve(tmp_path / "home", upstreams(simulator), environment=road) as proxy:
        (under_way,) = in_their_last_event(proxy, simulator, 1)
        simulator.release()
        proxy.process.terminate()
        assert under_way.response.read() == b"data: [DONE]\n\n"
        assert proxy.process.wait(20) == 0
        (event,) = proxy.events()
    assert (event["end_reason"], event["usage_source"]) == ("complete", "estimated")


def test_death_of_the_proxy_while_an_estimate_is_made(road: Road, simulator: Simulator, tmp_path: Path) -> None:
    """Nobody has seen a response whole that has no row."""
    with running_serve(tmp_path / "home", upstreams(simulator), environment=road) as proxy:
        (under_way,) = in_their_last_event(proxy, simulator, 1)
        simulator.release()
        proxy.kill()
        try:
            is_whole = b"[DONE]\n\n" in under_way.response.read()
        except (http.client.IncompleteRead, ConnectionResetError):
            is_whole = False
        assert len(proxy.events()) in ({1} if is_whole else {0, 1})


def recorded() -> list[Exchange]:
    """Streams of OpenAI's that were asked for their usage, and whose request is here as a whole."""
    return [
        exchange
        for exchange in exchanges({"chat"}, {"openai"})
        if exchange.streamed
        and exchange.provenance == "recorded"
        and not exchange.elided
        and exchange.expected["has_usage"]
        and "gpt-4" in (exchange.expected["model"] or "")
    ]


@needs_corpus
def test_recorded_streams_whose_usage_is_hidden_come_out_nearly_right(serve: Proxy, simulator: Simulator) -> None:
    labels: dict[str, Exchange] = {}
    for exchange in recorded():
        body = without_usage(exchange)
        assert body is not None
        headers = simulator.select(answer(simulator, [body]))
        under_way = call(serve, CHAT, exchange.request_body, headers)
        assert under_way.response.read() == body
        under_way.connection.close()
        labels[under_way.label] = exchange
    rows = serve.events(
        "SELECT user_label, output_tokens, usage_source FROM events"  # noqa: S608 -- our own labels
        f" WHERE user_label IN ({', '.join(repr(label) for label in labels)})"
    )
    assert len(rows) == len(labels) > 20
    found = [row for row in rows if row["usage_source"] == "estimated"]
    assert len(found) > 0.9 * len(rows)  # of the others the output is not known well
    true = sum(labels[row["user_label"]].expected["output_tokens_total"] for row in found)
    assert sum(row["output_tokens"] for row in found) == pytest.approx(true, rel=0.02)
