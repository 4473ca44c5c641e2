"""mitmproxy quotes the bytes that it cannot read; nothing that it keeps, shows or logs has a key or a token in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import MITMDUMP_MODES, PROVIDERS, STORED_KEYS, Proxy, running_by_path
from tests.rawclient import connected, labelled, request
from tests.upstream import PLAIN, Upstream, answering

KEY = STORED_KEYS["openai"].encode()
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module", params=list(MITMDUMP_MODES))
def kept(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """``mitmdump -s`` with everything on by which it keeps or shows a flow; at its end that is looked through."""
    folder = tmp_path_factory.mktemp("quoted")
    config = {
        "providers": {name: {"upstream": upstream.url} for name in PROVIDERS},
        "plans": {"pro": {"requests_per_minute": 0}},
    }
    arguments = ["-w", str(folder / "flows.mitm"), "--set", f"hardump={folder / 'flows.har'}", "--flow-detail", "4"]
    arguments += ["--set", "store_streamed_bodies=true", "--set", "termlog_verbosity=debug"]
    mode = MITMDUMP_MODES[request.param]
    with running_by_path(folder / "home", config, mode, arguments=arguments) as proxy:
        yield proxy
        assert proxy.stop() == 0
    written = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("control.db")]
    assert {"flows.mitm", "flows.har"} <= {path.name for path in written}
    leaks = [path.name for path in written for secret in (KEY, KEY.hex().encode()) if secret in path.read_bytes()]
    leaks += [path.name for path in written if proxy.token.encode() in path.read_bytes()]
    assert leaks == []
    log = next(folder.glob("*.log")).read_text()
    assert "crashed" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    "wire",
    [
        b"%s\r\n\r\n" % KEY,
        b"HTTP/1.1 %s\r\n\r\n" % KEY,
        b"HTTP/1.1 200 OK\r\nX-Key: %s" % KEY,
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX-Key: %s\r\n" % KEY,
        OK + b"%s\r\n\r\n" % KEY,
        OK + b"%s x: y\r\n\r\n" % KEY,
        OK + b"X-Nul: %s\x00\r\n\r\n" % KEY,
        OK + b"Content-Length: %s\r\n\r\n" % KEY,
        OK + b"Content-Length: 2\r\nContent-Length: %s\r\n\r\n{}" % KEY,
        OK + b"Transfer-Encoding: chunked\r\n\r\n%s\r\n" % KEY,
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n%s\r\n\r\n" % KEY,
    ],
    ids=[
        "no http",
        "status",
        "half a head",
        "half a head after an interim",
        "no colon",
        "space",
        "nul",
        "length",
        "second length",
        "chunk",
        "trailer",
    ],
)  # fmt: skip
def test_what_a_provider_sends_and_nobody_can_read(wire: bytes, kept: Proxy, upstream: Upstream) -> None:
    label, line = labelled()
    script = upstream.script(answering(wire, close=True))
    with connected(kept.port) as client:
        client.send(request(kept, script, line, "Content-Length: 2") + b"{}")
        answer = client.read()
        assert KEY not in answer.body
        assert answer.status == 502 or not answer.whole
    assert kept.event(label)["end_reason"] == "upstream_error"


@pytest.mark.parametrize("stray", [b"%s\r\n\r\n" % KEY, b"HTTP/1.1 200 OK\r\nX-Key: %s\r\n\r\n" % KEY])
def test_what_a_provider_sends_unasked(stray: bytes, kept: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN + stray))
    with connected(kept.port) as client:
        client.send(request(kept, script, "Content-Length: 2") + b"{}")
        assert client.read().status == 200


@pytest.mark.parametrize(
    "raw",
    [
        "{token}\r\n\r\n",
        "GET /openai/v1/models {token} HTTP/1.1\r\n\r\n",
        "GET http://{token}@x:y/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT {token}:y HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /openai/v1/models HTTP/1.1\r\nHost: x\r\n{token}\r\n\r\n",
        "GET /openai/v1/models HTTP/1.1\r\nHost: x\r\nX-Api-Key: {token}\r\n",
        "GET /openai/v1/models HTTP/1.1\r\nHost: x\r\nX-Api-Key: {token}\x00\r\n\r\n",
        "POST /openai/v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: {token}\r\n\r\n",
        "POST /openai/v1/models HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {token}\r\n\r\n",
        "POST /openai/v1/models HTTP/1.1\r\nHost: x\r\nX-Api-Key: {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        "{token}\r\n",
        "POST /openai/v1/models HTTP/1.1\r\nHost: x\r\nX-Api-Key: {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\nAuthorization: Bearer {token}\r\nX-Metrion-Token: {token}\r\nCookie: {token}\r\n\r\n",
    ],
    ids=[
        "no http",
        "line",
        "host",
        "tunnel",
        "no colon",
        "half a head",
        "nul",
        "length",
        "coding",
        "chunk",
        "trailers",
    ],
)  # fmt: skip
def test_what_a_client_sends_and_nobody_can_read(raw: str, kept: Proxy, upstream: Upstream) -> None:
    with connected(kept.port) as client:
        client.send(raw.format(token=kept.token).encode("latin-1"))
        client.half_close()
        assert kept.token.encode() not in client.rest()


def test_trailers_that_are_admitted_are_shown_masked(kept: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN))
    trailers = f"X-Sum: 1\r\nX-Api-Key: {kept.token}\r\nX-Metrion-User: x\r\nX-Other: {kept.token}\r\n"
    with connected(kept.port) as client:
        head = request(kept, script, "Transfer-Encoding: chunked")
        client.send(head + b"2\r\n{}\r\n0\r\n" + trailers.encode() + b"\r\n")
        assert client.read().status == 200
    (asked,) = upstream.asked(script)
    assert asked.trailers == [(b"X-Sum", b"1")]
