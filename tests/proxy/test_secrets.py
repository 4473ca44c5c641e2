"""Whatever the proxy writes while it is called in every way, no provider key and no token is in it."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from metrion.simulator.delivery import Delivery
from tests.credentials import OWN_KEY
from tests.processes import (
    LANE,
    MITMDUMP,
    MITMPROXY,
    ROOT,
    STORED_KEYS,
    Proxy,
    eventually,
    free_port,
    running_mitmdump,
    running_proxy,
    running_serve,
    upstreams,
)
from tests.simulated import Simulator

STRANGER = "sk-metrion-" + "stranger" * 6
MITMWEB = (sys.executable, "-c", "from mitmproxy.tools.main import mitmweb; mitmweb()")
PROMPT = "what nobody but the provider is to read"
BODY = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}]}).encode()


def call_in_every_way(proxy: Proxy, simulator: Simulator) -> None:
    """Allowed and refused, in each place of a credential, with each way of failing."""
    bearer = {"authorization": f"Bearer {proxy.token}"}
    own = {"authorization": f"Bearer {OWN_KEY}", "x-metrion-token": proxy.token}
    garbage = simulator.select(delivery=Delivery(garbage=f"HTTP/9 {proxy.token}\r\n\r\n"))
    for headers in (
        bearer,
        own,
        {"x-api-key": proxy.token},
        {"api-key": proxy.token},
        {"x-goog-api-key": proxy.token},
        {"x-api-key": OWN_KEY, "x-metrion-token": proxy.token},
        {"authorization": f"Bearer {STRANGER}"},
        {"authorization": f"Bearer {STRANGER}", "x-api-key": proxy.token},
        {"authorization": f"Bearer {OWN_KEY}"},
        {"cookie": f"session={OWN_KEY}", "proxy-authorization": f"Bearer {proxy.token}", **bearer},
        bearer | simulator.select(error=401),
        bearer | simulator.select(delivery=Delivery(cut="head")),
        bearer | garbage,
    ):
        request(proxy, f"/v1/chat/completions?key={proxy.token}", headers)
        request(proxy, f"/v1/chat/completions?alt=sse&key={OWN_KEY}", headers)
        request(proxy, "/v1/chat/completions", headers)
        request(proxy, f"/v1/models/{proxy.token}", headers)
    for raw in (
        f"POST /v1/chat/completions {proxy.token} HTTP/1.1\r\n\r\n",
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{proxy.token}\r\n\r\n",
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {proxy.token}\r\n",
        f"CONNECT api.openai.com:443 HTTP/1.1\r\nproxy-authorization: Bearer {proxy.token}\r\n\r\n",
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {proxy.token}\r\n"
        "content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {proxy.token}\r\ncontent-length: a\r\n\r\n",
        f"{proxy.token}\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", proxy.ports.get("openai", proxy.port)), timeout=10) as client:
            client.sendall(raw.encode())
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass


def request(proxy: Proxy, path: str, headers: dict[str, str]) -> None:
    base = proxy.url("openai").removeprefix("http://")
    host, _, prefix = base.partition("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request("POST", f"/{prefix}{path}" if prefix else path, BODY, headers)
        connection.getresponse().read()
    finally:
        connection.close()


def leaks(folder: Path, secrets: list[str]) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            yield from (
                f"{path.relative_to(folder)}: …{secret[-6:]}" for secret in secrets if secret.encode() in content
            )


type Run = Callable[[Path, Simulator], AbstractContextManager[Proxy]]


def _lane(home: Path, simulator: Simulator) -> AbstractContextManager[Proxy]:
    return running_serve(home, upstreams(simulator), environment=LANE)


def _mitmproxy(home: Path, simulator: Simulator) -> AbstractContextManager[Proxy]:
    return running_serve(home, upstreams(simulator), environment=MITMPROXY)


def _mitmdump(home: Path, simulator: Simulator) -> AbstractContextManager[Proxy]:
    """With everything on by which mitmproxy keeps or shows a flow."""
    folder = home.parent
    arguments = ["-w", str(folder / "flows.mitm"), "--set", f"hardump={folder / 'flows.har'}", "--flow-detail", "4"]
    arguments += ["--set", "store_streamed_bodies=true", "--set", "termlog_verbosity=debug"]
    return running_mitmdump(home, simulator, arguments=arguments, program=MITMDUMP)


def _console(home: Path, simulator: Simulator) -> AbstractContextManager[Proxy]:
    """The screen is what the process writes; `script` is the terminal."""
    arguments = [sys.executable, "-c", "from mitmproxy.tools.main import mitmproxy; mitmproxy()"]
    arguments += ["-s", str(ROOT / "addon" / "metrion_addon.py"), "--set", f"confdir={home.parent / 'confdir'}"]
    arguments += ["--set", "console_focus_follow=true", "--set", "store_streamed_bodies=true"]
    port = free_port()
    arguments += ["--mode", f"regular@127.0.0.1:{port}"]
    config = {"providers": {"openai": {"upstream": simulator.upstream_by_port("openai")}}}
    screen = [
        "env",
        "TERM=xterm",
        "script",
        "-qec",
        f"stty rows 50 cols 200; exec {shlex.join(arguments)}",
        "/dev/null",
    ]

    @contextmanager
    def running() -> Iterator[Proxy]:
        with running_proxy(home, screen, config, ports=[port]) as proxy:
            proxy.port = port
            yield proxy

    return running()


@pytest.mark.parametrize("run", [_lane, _mitmproxy, _mitmdump, _console])
def test_nothing_written_holds_a_secret(run: Run, simulator: Simulator, tmp_path: Path) -> None:
    with run(tmp_path / "home", simulator) as proxy:
        call_in_every_way(proxy, simulator)
        eventually(lambda: proxy.events("SELECT count(*) AS n FROM events")[0]["n"] >= 30)
        shown = proxy.metrion("sql", "FROM events", "--format", "csv") + proxy.metrion("key", "list")
        shown += proxy.metrion("token", "list")
        (tmp_path / "shown.txt").write_text(shown)
        secrets = [*STORED_KEYS.values(), proxy.token, OWN_KEY, STRANGER]
        assert list(leaks(tmp_path, secrets)) == []
        assert proxy.stop() == 0 or run is _console  # it asks whether to quit
    assert list(leaks(tmp_path, secrets)) == []
    if run is _mitmdump:
        assert (tmp_path / "flows.mitm").stat().st_size > 10_000
        entries = json.loads((tmp_path / "flows.har").read_text())["log"]["entries"]
        assert len(entries) > 30


def completions(answer: bytes) -> list[str]:
    return [choice["message"]["content"] for choice in json.loads(answer)["choices"]]


@pytest.mark.parametrize("run", [_lane, _mitmproxy])
def test_nothing_written_holds_a_prompt_or_a_completion(run: Run, simulator: Simulator, tmp_path: Path) -> None:
    with run(tmp_path / "home", simulator) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        connection.request("POST", "/openai/v1/chat/completions", BODY, {"authorization": f"Bearer {proxy.token}"})
        (completion,) = completions(connection.getresponse().read())
        assert len(completion) > 10
        eventually(lambda: proxy.events("SELECT count(*) AS n FROM events")[0]["n"] == 1)
        assert list(leaks(tmp_path, [PROMPT, completion])) == []
        assert proxy.stop() == 0
    assert list(leaks(tmp_path, [PROMPT, completion])) == []


def test_mitmweb_shows_masked_flows(simulator: Simulator, tmp_path: Path) -> None:
    web = f"127.0.0.1:{free_port()}"
    arguments = ["--web-host", "127.0.0.1", "--web-port", web.partition(":")[2], "--no-web-open-browser"]
    arguments += ["--set", "web_password=letmein", "--set", "store_streamed_bodies=true"]
    with running_mitmdump(tmp_path / "home", simulator, arguments=arguments, program=MITMWEB) as proxy:
        call_in_every_way(proxy, simulator)
        connection = http.client.HTTPConnection(web, timeout=20)
        connection.request("GET", "/flows", headers={"authorization": "Bearer letmein"})
        flows = connection.getresponse().read().decode()
        connection.close()
    paths = [flow["request"]["path"] for flow in json.loads(flows)]
    assert len(paths) > 30
    assert any("key=***" in path for path in paths)
    assert "sk-metrion-…" in json.dumps(json.loads(flows), ensure_ascii=False)
    for secret in (*STORED_KEYS.values(), proxy.token, OWN_KEY, STRANGER):
        assert secret not in flows
