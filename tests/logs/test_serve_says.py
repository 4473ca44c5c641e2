"""What a real ``serve`` writes while it is used: the first of each kind, into a pipe and a terminal, with no secret."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import pty
import re
import select
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import (
    METRION,
    ROADS,
    STORED_KEYS,
    Proxy,
    Road,
    eventually,
    free_port,
    prepare_home,
    running_serve,
    store_keys,
    upstreams,
)
from tests.simulated import Simulator
from tests.upstream import answering, running_upstream

CHAT = "/openai/v1/chat/completions"
WHOLE = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]})
STREAM = json.dumps({"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO|WARNING|ERROR|DEBUG) ")


def ask(port: int, path: str, token: str, body: str | None = WHOLE, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    method = "GET" if body is None else "POST"
    connection.request(method, path, body, {"authorization": f"Bearer {token}", **headers})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


@contextlib.contextmanager
def started(*arguments: str, port: int, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run ``serve`` with streams of its own; whatever happens, it is gone afterwards."""
    process = subprocess.Popen([*METRION, "serve", "--port", str(port), *arguments], **options)
    try:
        yield process
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def lines_of(proxy: Proxy) -> list[str]:
    """What was said on standard error."""
    return [line for line in proxy.log.read_text().splitlines() if LINE.match(line) or line.startswith("{")]


def said(proxy: Proxy, words: str, count: int = 1) -> None:
    eventually(lambda: [line for line in lines_of(proxy) if words in line], until=lambda found: len(found) >= count)
    assert sum(words in line for line in lines_of(proxy)) == count, proxy.log.read_text()


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest) -> Road:
    return ROADS[request.param]


def test_the_first_of_each_kind_is_said_once(simulator: Simulator, tmp_path: Path, road: Road) -> None:
    port = free_port()
    config = upstreams(simulator)
    config["providers"]["mistral"] = {"upstream": f"http://127.0.0.1:{port}"}
    with running_serve(tmp_path / "home", config, arguments=("--workers", "2"), environment=road) as proxy:
        for _ in range(4):
            assert ask(proxy.port, CHAT, proxy.token) == 200
            assert ask(proxy.port, CHAT, proxy.token, STREAM) == 200
            assert ask(proxy.port, CHAT, "nobody") == 401
            assert ask(proxy.port, "/antropic/v1/models", proxy.token, None) == 404
            assert ask(proxy.port, "/mistral/v1/chat/completions", proxy.token) == 502
        said(proxy, "First request of token tests (account default): openai chat, status 200.")
        said(proxy, "A stream from openai (token tests) reported no usage")
        said(proxy, "providers: {openai: {include_usage: inject}} in metrion.yaml")
        said(proxy, "A request to openai was refused: 401 missing_token: No Metrion token.")
        eventually(lambda: "address of a request: GET /antropic/v1/models" in proxy.log.read_text())
        said(proxy, f"mistral cannot be reached. No usable answer from mistral at http://127.0.0.1:{port}")
        others = sum("Nothing is served at" in line for line in lines_of(proxy))  # a line a minute of each worker
        assert len(lines_of(proxy)) == 4 + others
        assert proxy.token not in proxy.log.read_text()


def test_a_provider_that_is_there_again(tmp_path: Path, road: Road) -> None:
    port = free_port()
    config = {"providers": {"openai": {"upstream": f"http://127.0.0.1:{port}"}}}
    with running_serve(tmp_path / "home", config, environment=road) as proxy:
        assert ask(proxy.port, CHAT, proxy.token) == 502
        said(proxy, "openai cannot be reached")
        with running_answer(port):
            assert ask(proxy.port, CHAT, proxy.token) == 200
            said(proxy, "openai can be reached again, after")
        assert "1 request failed." in proxy.log.read_text()


@contextlib.contextmanager
def running_answer(port: int) -> Iterator[None]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def test_all_of_it_as_json(simulator: Simulator, tmp_path: Path, road: Road) -> None:
    """Standard error is JSON to its last line, of every process; a secret is nowhere in it."""
    secret = "sk-proj-0123456789abcdefABCDEF"
    spelt = "".join(f"%{ord(character):02X}" for character in secret)
    environment = prepare_home(tmp_path / "home", upstreams(simulator)) | dict(road)
    token = store_keys(tmp_path / "home", environment)
    port = free_port()
    arguments = ("--access-log", "--log-level", "debug", "--log-format", "json")
    errors = tmp_path / "errors"
    with (
        errors.open("wb") as file,
        started(*arguments, port=port, env=environment, stdout=subprocess.PIPE, stderr=file, text=True) as process,
    ):
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()
        paths = [CHAT, f"{CHAT}/{secret}", f"{CHAT}/{spelt}", f"/nowhere/{token}", f"{CHAT}?key={secret}&x={token}"]
        statuses = [ask(port, path, token) for path in paths]
        statuses.append(ask(port, CHAT, secret))
        statuses.append(ask(port, "/health", token, None))
        eventually(lambda: errors.read_text().count('"status":') >= len(statuses))
    text = errors.read_text()
    records = [json.loads(line) for line in text.splitlines()]
    access = [record for record in records if "duration_ms" in record]
    assert [record["status"] for record in access] == statuses
    assert {record["address"] for record in access} == {"127.0.0.1"}
    assert [record["method"] for record in access] == ["POST"] * 6 + ["GET"]
    assert access[0]["path"] == CHAT
    assert access[-1]["path"] == "/health"
    assert access[0]["event_id"]
    assert access[-1]["event_id"] is None
    assert access[0]["token"] == "tests"
    decisions = [record["message"] for record in records if record.get("logger") == "metrion.decisions"]
    assert any("credential stored, sent as authorization" in message for message in decisions)
    assert any("refused with 401 missing_token at openai" in message for message in decisions)
    for hidden in (token, secret, spelt, *STORED_KEYS.values()):
        assert hidden not in text


def test_a_provider_that_repeats_its_key_puts_it_in_no_line(tmp_path: Path, road: Road) -> None:
    key = STORED_KEYS["openai"]
    body = json.dumps({"model": key, "object": key, "usage": {"prompt_tokens": 1}, "error": {"type": key}}).encode()
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    with running_upstream() as upstream:
        config = {"providers": {"openai": {"upstream": upstream.url}}}
        arguments = ("--access-log", "--log-level", "debug")
        with running_serve(tmp_path / "home", config, arguments=arguments, environment=road) as proxy:
            script = upstream.script(answering(head + body)).rpartition(" ")[2]
            assert ask(proxy.port, CHAT, proxy.token, **{"x-script": script}) == 400
            said(proxy, "openai answered 400 Bad Request.")
            eventually(lambda: '"status":400' in proxy.log.read_text())
            assert key not in proxy.log.read_text()


def test_it_is_silent_about_requests_where_that_is_wanted(simulator: Simulator, tmp_path: Path) -> None:
    with running_serve(tmp_path / "home", upstreams(simulator), arguments=("--log-level", "error")) as proxy:
        assert ask(proxy.port, CHAT, proxy.token) == 200
        assert ask(proxy.port, CHAT, "nobody") == 401
        eventually(lambda: proxy.events("SELECT 1 FROM events"), until=lambda rows: len(rows) == 2)
        assert proxy.stop() == 0
        assert lines_of(proxy) == []


def test_a_terminal_reads_the_same(simulator: Simulator, tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home", upstreams(simulator))
    token = store_keys(tmp_path / "home", environment)
    port = free_port()
    ours, theirs = pty.openpty()
    with started(port=port, env=environment, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        seen = b""

        def shows(words: bytes) -> bool:
            nonlocal seen
            if select.select([ours], [], [], 0)[0]:
                seen += os.read(ours, 1 << 16)
            return words in seen

        eventually(lambda: shows(b"LIMIT 10"))
        assert ask(port, CHAT, token) == 200
        eventually(lambda: shows(b"First request of token tests"))
    os.close(ours)


def test_a_pipe_that_nobody_reads_holds_no_request_up(simulator: Simulator, tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home", upstreams(simulator) | {"plans": {"pro": {"requests_per_minute": 0}}})
    token = store_keys(tmp_path / "home", environment)
    port = free_port()
    arguments = ("--access-log", "--log-level", "debug")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started(*arguments, port=port, env=environment, **pipes) as process:
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()
        path = f"{CHAT}/{'x' * 180}"
        for _ in range(150):  # over 100 kB of lines
            assert ask(port, path, token, None) < 500
