"""HTTP/2 within a tunnel: what becomes of one request is no concern of the others on its connection."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from metrion.estimates.tokenizers import is_available
from metrion.simulator.delivery import Delivery
from tests.http2 import Http2Client
from tests.processes import Proxy, running_serve
from tests.proxy.test_estimates import SPEECH
from tests.proxy.test_include_usage import ASKED, ASKING, EVENTS, SEEN, SSE
from tests.simulated import Simulator
from tests.tls import tls_in_front_of

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"


@dataclass(frozen=True, slots=True)
class Hop:
    """A proxy that asks for the usage of OpenAI's streams, and waits for a second only."""

    proxy: Proxy
    upstream: int
    """The port at which OpenAI speaks TLS."""

    def connect(self) -> Http2Client:
        return Http2Client(self.proxy, "localhost", self.upstream)


@pytest.fixture(scope="module")
def hop(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hop]:
    with tls_in_front_of(simulator.ports["openai"], tmp_path_factory.mktemp("tls")) as tls:
        openai = {"upstream": f"https://localhost:{tls.port}", "include_usage": "inject"}
        config = {"providers": {"openai": openai}, "plans": {"pro": {"requests_per_minute": 0, "timeout": 1}}}
        home = tmp_path_factory.mktemp("http2") / "home"
        with running_serve(home, config, environment={"SSL_CERT_FILE": str(tls.certificate)}) as proxy:
            yield Hop(proxy, tls.port)
            assert "crashed" not in proxy.log.read_text()


@pytest.fixture
def stream(simulator: Simulator) -> str:
    return simulator.register_answer("asked", pieces=EVENTS, headers=[SSE], chunked=True)


def test_requests_end_each_in_its_own_way(hop: Hop, simulator: Simulator, stream: str) -> None:
    """One goes on all the while, for longer than any of the others could take to be done away with."""
    garbled = simulator.register_answer("garbled", pieces=EVENTS, headers=[SSE, ("content-encoding", "gzip")])
    labels: dict[int, str] = {}

    def post(delivery: Delivery, answer: str = stream, *, end: bool = True, **headers: str) -> int:
        label = uuid.uuid4().hex
        asked = {"x-metrion-user": label, "content-type": "application/json", **simulator.select(answer, delivery)}
        number = client.post(CHAT, asked | headers, ASKED if end else ASKED[:20], end=end)
        labels[number] = label
        return number

    with hop.connect() as client:
        slow = post(Delivery(size=60, chunk_delay=0.7))
        left = post(Delivery(), end=False)
        silent = post(Delivery(hold="head"))
        stalled = post(Delivery(), end=False)
        halted = post(Delivery(hold=len(EVENTS[0])))
        dead = post(Delivery(cut="head"))
        undecodable = post(Delivery(), garbled)
        refused = post(Delivery(), end=False, **{"x-metrion-token": "sk-metrion-" + "x" * 43})
        quick = post(Delivery())
        client.reset(left)
        late = client.read(slow, quick, halted, silent, stalled, dead, undecodable, refused)

    assert [stream.status for stream in late] == [200, 200, 200, 504, 504, 502, 200, 401]
    assert [stream.ended for stream in late] == [True, True, True, True, True, True, False, True]
    assert [stream.body for stream in late[:2]] == [SEEN, SEEN]
    begun, _, last_words = late[2].body.partition(b"\n\n")
    assert begun + b"\n\n" == EVENTS[0].replace(b',"usage":null', b"")
    assert json.loads(last_words.removeprefix(b"data: "))["error"]["code"] == "timeout"
    ends = {
        slow: "complete",
        left: "client_abort",
        silent: "timeout",
        stalled: "timeout",
        halted: "timeout",
        dead: "upstream_error",
        undecodable: "upstream_error",
        refused: "refused",
        quick: "complete",
    }
    assert {number: hop.proxy.event(label)["end_reason"] for number, label in labels.items()} == ends


@pytest.mark.parametrize(("path", "sent"), [(CHAT, ASKING), (RESPONSES, ASKED)], ids=["held", "streamed"])
def test_body_of_which_no_length_is_told(path: str, sent: bytes, hop: Hop, simulator: Simulator, stream: str) -> None:
    """Nothing has to tell it in HTTP/2; the provider's HTTP/1 needs to know where the body ends."""
    headers = {"content-type": "application/json", **simulator.select(stream)}
    with hop.connect() as client:
        client.read(client.post(path, headers, ASKED))
    (received,) = simulator.received(1)
    assert (received.body, received.malformed) == (sent, None)


@pytest.mark.skipif(not is_available(), reason="there is no tokenizer: pip install 'metrion[estimates]'")
def test_row_is_there_before_the_trailers_that_end_a_response(hop: Hop, simulator: Simulator) -> None:
    """Though its estimate takes long, and no event of the stream says that it is the last."""
    answer = simulator.register_answer("trailing", pieces=SPEECH * 2, headers=[SSE], chunked=True)
    label = uuid.uuid4().hex
    delivery = Delivery(trailers={"x-end": "yes"})
    headers = {"content-type": "application/json", "x-metrion-user": label, **simulator.select(answer, delivery)}
    with hop.connect() as client:
        (response,) = client.read(client.post(CHAT, headers, ASKED))
        (event,) = hop.proxy.events(f"SELECT * FROM events WHERE user_label = '{label}'")  # noqa: S608 -- our own label
    assert response.ended
    assert (response.body, response.headers["x-end"]) == (b"".join(SPEECH * 2), "yes")
    assert (event["end_reason"], event["usage_source"]) == ("complete", "estimated")


def test_server_that_comes_back_is_found_again(simulator: Simulator, stream: str, tmp_path: Path) -> None:
    """By a client that never had to connect anew, since its connection was well all the while."""
    with tls_in_front_of(simulator.ports["openai"], tmp_path) as gone:
        pass
    config = {"providers": {"openai": {"upstream": f"https://localhost:{gone.port}"}}}
    headers = {"content-type": "application/json", **simulator.select(stream)}
    with (
        running_serve(tmp_path / "home", config, environment={"SSL_CERT_FILE": str(gone.certificate)}) as proxy,
        Http2Client(proxy, "localhost", gone.port) as client,
    ):
        for listening, status in ((False, 502), (True, 200), (False, 502), (True, 200)):
            with tls_in_front_of(simulator.ports["openai"], tmp_path, listen=gone.port) if listening else nullcontext():
                (response,) = client.read(client.post(CHAT, headers, ASKED))
            assert response.status == status
        assert "crashed" not in proxy.log.read_text()
