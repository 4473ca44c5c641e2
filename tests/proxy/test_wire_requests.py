"""What clients should not send: a head that two servers may read differently goes to no provider."""

from __future__ import annotations

import json

import pytest

from tests.credentials import OWN_KEY, UNKNOWN
from tests.processes import Proxy, cpu_seconds
from tests.rawclient import CHAT, MODELS, connected, labelled, request
from tests.upstream import PLAIN, Upstream, answering

CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "X-Odd: a\rb",
        "X-Odd: a\r",
        "X-Odd: \ra",
        "X-Odd: a\x00b",
        "X-Odd: \x00",
        "X\x00Odd: a",
        "X\rOdd: a",
        "\r",
        ": a",
    ],
    ids=["cr", "cr at the end", "cr first", "nul", "only nul", "nul in a name", "cr in a name", "cr alone", "no name"],
)
def test_bytes_that_no_head_may_have(line: str, wired: Proxy, upstream: Upstream) -> None:
    """What follows is no request: nobody knows where the head ends."""
    before = upstream.total()
    with connected(wired.port) as client:
        client.send(request(wired, line, "Content-Length: 2") + b"{}" + request(wired, method="GET", target=MODELS))
        assert client.read().status == 400
        assert client.rest() == b""
    assert upstream.total() == before


@pytest.mark.parametrize(
    "target",
    ["/openai/v1/models#part", "/openai/v1/models?a=b#c", "#", "openai/v1/models", "", "/openai/v1/mod\x00els", "*"],
)
def test_targets_that_are_none(target: str, wired: Proxy, upstream: Upstream) -> None:
    before = upstream.total()
    with connected(wired.port) as client:
        client.send(request(wired, method="GET", target=target))
        assert client.read("GET").status in {400, 404}
    assert upstream.total() == before


@pytest.mark.parametrize("version", ["HTTP/1.10", "HTTP/1,1", "HTTP/1", "http/1.1", "XTTP/1.1"])
def test_versions_that_are_none(version: str, wired: Proxy, upstream: Upstream) -> None:
    before = upstream.total()
    with connected(wired.port) as client:
        client.send(request(wired, "Connection: close", method="GET", target=MODELS, version=version))
        assert client.rest()[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 505"}
    assert upstream.total() == before


@pytest.mark.parametrize(
    ("lines", "version", "body"),
    [
        (["Transfer-Encoding: gzip, chunked"], "HTTP/1.1", CHUNKS),
        (["Transfer-Encoding: chunked, gzip"], "HTTP/1.1", CHUNKS),
        (["Transfer-Encoding: chunked, identity"], "HTTP/1.1", CHUNKS),
        (["Transfer-Encoding: xchunked"], "HTTP/1.1", CHUNKS),
        (["Transfer-Encoding:"], "HTTP/1.1", CHUNKS),
        (["Transfer-Encoding: \x0bchunked"], "HTTP/1.1", CHUNKS),
        (["Transfer-Encoding : chunked"], "HTTP/1.1", CHUNKS),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: gzip"], "HTTP/1.1", CHUNKS),
        (["Transfer-Encoding: chunked"], "HTTP/1.0", CHUNKS),
        (["Transfer-Encoding: chunked", "Content-Length: 2"], "HTTP/1.1", CHUNKS),
        (["Content-Length: 12", "Transfer-Encoding: chunked"], "HTTP/1.1", CHUNKS),
        (["Content-Length: 2", "Content-Length: 3"], "HTTP/1.1", b"{}"),
        (["Content-Length: 2, 3"], "HTTP/1.1", b"{}"),
        (["Content-Length: +2"], "HTTP/1.1", b"{}"),
        (["Content-Length: -2"], "HTTP/1.1", b"{}"),
        (["Content-Length: 0x2"], "HTTP/1.1", b"{}"),
        (["Content-Length: 2_0"], "HTTP/1.1", b"{}"),
        (["Content-Length: 2 2"], "HTTP/1.1", b"{}"),
        (["Content-Length:"], "HTTP/1.1", b"{}"),
        (["Content-Length: \u00b2"], "HTTP/1.1", b"{}"),
        ([f"Content-Length: {'9' * 30}"], "HTTP/1.1", b"{}"),
        (["Content-Length : 2"], "HTTP/1.1", b"{}"),
    ],
    ids=lambda value: ", ".join(value)[:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_framing_that_is_unclear_ends_the_connection(
    lines: list[str], version: str, body: bytes, wired: Proxy, upstream: Upstream
) -> None:
    """One answer, and what comes behind it is read as nothing at all."""
    before = upstream.total()
    with connected(wired.port) as client:
        smuggled = request(wired, method="GET", target=MODELS)
        client.send(request(wired, *lines, version=version) + body + smuggled)
        answer = client.read()
        assert answer.status in {400, 413, 501}
        assert answer.headers[b"connection"] == b"close"
        assert client.rest() == b""
    assert upstream.total() == before


@pytest.mark.parametrize(
    "body",
    [
        b"xyz\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n",
        b"0x2\r\n{}\r\n",
        b"2\r\n{}no\r\n",
        b"2\r\n{}\r\n0\r\nno colon\r\n\r\n",
        b"\r\n2\r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n",
    ],
    ids=["word", "negative", "mark", "no crlf", "bad trailer", "blank line", "lf"],
)
def test_chunks_that_are_none(body: bytes, wired: Proxy, upstream: Upstream) -> None:
    """The provider gets no whole request, and what comes behind is none; the client reads what is wrong."""
    script = upstream.script(answering(PLAIN))
    smuggled = upstream.script(answering(PLAIN))
    with connected(wired.port) as client:
        client.send(request(wired, script, "Transfer-Encoding: chunked") + body)
        client.send(request(wired, smuggled, method="GET", target=MODELS))
        answer = client.read()
        assert (answer.status, answer.headers[b"x-metrion-error"]) == (400, b"bad_request")
        assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"
        assert client.rest() == b""
    assert not any(asked.complete for asked in upstream.asked(script))
    assert upstream.asked(smuggled) == []


def test_a_broken_body_has_a_row_and_costs_nothing(wired: Proxy, upstream: Upstream) -> None:
    script, (label, line) = upstream.script(answering(PLAIN)), labelled()
    with connected(wired.port) as client:
        client.send(request(wired, script, line, "Transfer-Encoding: chunked") + b"2\r\n{}\r\nxyz\r\n")
        assert client.read().status == 400
    event = wired.event(label)
    assert (event["status"], event["end_reason"], event["error_type"]) == (400, "refused", "bad_request")
    assert event["cost_source"] == "not_billed"


def test_a_body_that_breaks_after_the_answer_has_begun_ends_the_connection(wired: Proxy, upstream: Upstream) -> None:
    script = upstream.script(lambda asked: asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"))
    with connected(wired.port) as client:
        client.send(request(wired, script, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n")
        while not client.peek().endswith(b"hello"):
            pass
        client.send(b"xyz\r\n")
        assert client.rest().endswith(b"hello")


def test_a_request_without_a_host(wired: Proxy, upstream: Upstream) -> None:
    """HTTP/1.1 asks for one, HTTP/1.0 does not."""
    script = upstream.script(answering(PLAIN))
    with connected(wired.port) as client:
        client.send(request(wired, script, method="GET", target=MODELS, host=()))
        assert client.read("GET").status == 400
    assert upstream.asked(script) == []
    with connected(wired.port) as client:
        client.send(request(wired, script, method="GET", target=MODELS, host=(), version="HTTP/1.0"))
        assert client.read("GET").status == 200
    assert len(upstream.asked(script)) == 1


def test_spaces_around_a_value_do_not_matter(wired: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN))
    lines = ["X-Trailing: value \t ", "X-Leading: \t value", "X-None:value", "X-Empty:   ", "X-Within: a  b"]
    with connected(wired.port) as client:
        client.send(request(wired, script, *lines, "Content-Length:   2  ") + b"{}")
        assert client.read().status == 200
    (asked,) = upstream.asked(script)
    odd = [(name, value) for name, value in asked.headers if name.startswith(b"X-")]
    values = [b"value", b"value", b"value", b"", b"a  b"]
    assert odd == [(line.partition(":")[0].encode(), value) for line, value in zip(lines, values, strict=True)]


# --- connections ------------------------------------------------------------------------------------------------------


def test_two_requests_in_one_packet_of_which_the_second_has_no_token(wired: Proxy, upstream: Upstream) -> None:
    """Who asked first on a connection says nothing of who asks next, in either order."""
    mine, stranger = (upstream.script(answering(PLAIN)) for _ in range(2))
    good = request(wired, mine, "Content-Length: 2") + b"{}"
    bad = request(wired, stranger, method="GET", target=MODELS, token="")
    unknown = request(wired, stranger, method="GET", target=MODELS, token=UNKNOWN)
    for packet in (good + bad, good + unknown, bad + good, unknown + good):
        methods = ["POST", "GET"] if packet.startswith(b"POST") else ["GET", "POST"]
        with connected(wired.port) as client:
            client.send(packet)
            answers = [client.read(method) for method in methods]
        statuses = [200, 401] if methods[0] == "POST" else [401, 200]
        assert [answer.status for answer in answers] == statuses
    assert len(upstream.asked(mine)) == 4
    assert upstream.asked(stranger) == []


@pytest.mark.parametrize("known", [True, False], ids=["token", "no token"])
def test_1200_requests_in_one_go(known: bool, wired: Proxy, upstream: Upstream) -> None:
    """They are answered one after the other, and keep nobody waiting."""
    script = upstream.script(answering(PLAIN))
    token = None if known else ""
    packet = request(wired, script, method="GET", target=MODELS, token=token) * 1200
    with connected(wired.port) as many, connected(wired.port) as other:
        many.socket.setblocking(True)
        many.send(packet[:100_000])
        waits, workers = [], wired.workers()
        for _ in range(5):
            began = cpu_seconds(workers)
            other.send(request(wired, method="GET", target=MODELS))
            assert other.read("GET").status == 200
            waits.append(cpu_seconds(workers) - began)
        many.send(packet[100_000:])
        statuses = [many.read("GET").status for _ in range(1200)]
    assert statuses == [200 if known else 401] * 1200
    assert max(waits) < 0.5
    assert len(upstream.asked(script)) == (1200 if known else 0)


def test_http_1_0(wired: Proxy, upstream: Upstream) -> None:
    """Such a client knows no chunks: its answer ends with the connection."""
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n"
    script = upstream.script(answering(wire))
    label, line = labelled()
    with connected(wired.port) as client:
        client.send(request(wired, script, line, "Content-Length: 2", version="HTTP/1.0") + b"{}")
        head, _, body = client.rest().partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 "))
    assert b"transfer-encoding" not in head.lower()
    assert body == b"{} "
    assert wired.event(label)["end_reason"] == "complete"


def test_h2c_is_not_taken_up(wired: Proxy, upstream: Upstream) -> None:
    """Java's client asks for it with every request."""
    script = upstream.script(answering(PLAIN))
    lines = [
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    ]
    with connected(wired.port) as client:
        for _ in range(2):
            client.send(request(wired, script, *lines, "Content-Length: 2") + b"{}")
            answer = client.read()
            assert (answer.status, answer.body) == (200, b"{}")
    assert len(upstream.asked(script)) == 2


# --- trailers ---------------------------------------------------------------------------------------------------------


def test_nothing_secret_leaves_in_trailers(wired: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN))
    secrets = [
        f"Authorization: Bearer {wired.token}",
        f"authorization: Bearer {OWN_KEY}",
        f"X-Api-Key: {OWN_KEY}",
        f"api-key: {OWN_KEY}",
        f"x-goog-api-key: {OWN_KEY}",
        f"x-metrion-token: {wired.token}",
        "x-metrion-user: somebody",
        "X-Metrion-Tag-Team: a-team",
        f"X-Note: {wired.token}",
        f"Proxy-Authorization: Bearer {wired.token}",
    ]
    body = "\r\n".join(["2", "{}", "0", "X-First: 1", *secrets, "X-Last: 2", "", ""]).encode()
    with connected(wired.port) as client:
        client.send(request(wired, script, "Transfer-Encoding: chunked") + body)
        assert client.read().status == 200
    (asked,) = upstream.asked(script)
    assert asked.body == b"{}"
    assert asked.trailers == [(b"X-First", b"1"), (b"X-Last", b"2")]


def test_a_token_in_trailers_lets_nobody_in(wired: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN))
    body = f"2\r\n{{}}\r\n0\r\nAuthorization: Bearer {wired.token}\r\n\r\n".encode()
    with connected(wired.port) as client:
        client.send(request(wired, script, "Transfer-Encoding: chunked", token="") + body)
        answer = client.read()
    assert (answer.status, answer.headers[b"x-metrion-error"]) == (401, b"missing_token")
    assert upstream.asked(script) == []


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "shape"),
    [(CHAT, ("error", "message")), ("/v1/messages", ("type", "error")), ("/gemini/v1beta/models", ("error", "status"))],
    ids=["openai", "anthropic", "google"],
)
@pytest.mark.parametrize("token", [None, ""], ids=["token", "no token"])
def test_a_head_beyond_128_kb(
    target: str, shape: tuple[str, str], token: str | None, wired: Proxy, upstream: Upstream
) -> None:
    """It is refused in the words of whom it was for, who never hears of it."""
    before = upstream.total()
    with connected(wired.port) as client:
        client.send(request(wired, *[f"X-{n}: {'v' * 1000}" for n in range(130)], target=target, token=token))
        answer = client.read()
        assert client.rest() == b""
    assert answer.status == 431
    assert answer.headers[b"x-should-retry"] == b"false"
    assert answer.headers[b"x-metrion-error"]
    error = json.loads(answer.body)
    assert shape[0] in error
    assert shape[1] in error or shape[1] in error["error"]
    assert upstream.total() == before


def test_a_head_of_nearly_128_kb_passes(wired: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN))
    with connected(wired.port) as client:
        client.send(
            request(wired, script, *[f"X-{n:03}: {'v' * 1000}" for n in range(126)], "Content-Length: 2") + b"{}"
        )
        assert client.read().status == 200
    (asked,) = upstream.asked(script)
    assert sum(name.startswith(b"X-") for name, _ in asked.headers) == 126


@pytest.mark.parametrize(
    ("body", "passes"),
    [
        (b"2;%s\r\n{}\r\n0\r\n\r\n" % (b"e" * 4000), True),
        (b"2;%s\r\n{}\r\n0\r\n\r\n" % (b"e" * 4200), False),
        (b"%s2\r\n{}\r\n0\r\n\r\n" % (b"0" * 4200), False),
        (b"2\r\n{}\r\n0\r\n%s\r\n" % (b"X-Sum: %s\r\n" % (b"v" * 1000) * 15), True),
        (b"2\r\n{}\r\n0\r\n%s\r\n" % (b"X-Sum: %s\r\n" % (b"v" * 1000) * 17), False),
    ],
    ids=["chunk line", "chunk line too long", "zeros too long", "trailers", "trailers too long"],
)
def test_chunk_lines_and_trailers_have_a_greatest_size(
    body: bytes, passes: bool, wired: Proxy, upstream: Upstream
) -> None:
    script = upstream.script(answering(PLAIN))
    with connected(wired.port) as client:
        client.send(request(wired, script, "Transfer-Encoding: chunked") + body)
        if passes:
            assert client.read().status == 200
        else:
            assert client.read().status == 400
    assert [asked.body for asked in upstream.asked(script) if asked.complete] == ([b"{}"] if passes else [])


@pytest.mark.parametrize(("lines", "passes"), [(8, True), (9, False)])
def test_blank_lines_before_a_request(lines: int, passes: bool, wired: Proxy, upstream: Upstream) -> None:
    """Sixteen bytes of them are forgiven, of the first request and of the next."""
    script = upstream.script(answering(PLAIN))
    blank = b"\r\n" * lines
    with connected(wired.port) as client:
        client.send(blank + request(wired, script, method="GET", target=MODELS))
        if not passes:
            assert client.rest()[:12] in {b"", b"HTTP/1.1 400"}
            assert upstream.asked(script) == []
            return
        assert client.read("GET").status == 200
        client.send(blank + request(wired, script, method="GET", target=MODELS))
        assert client.read("GET").status == 200
    assert len(upstream.asked(script)) == 2
