"""What a newcomer sends first: a look whether somebody is there, and requests to mistaken addresses."""

from __future__ import annotations

import http.client
import json
import subprocess
import uuid
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.processes import (
    METRION,
    MITMDUMP,
    ROOT,
    Proxy,
    eventually,
    free_port,
    running_proxy,
    running_serve,
    upstreams,
)
from tests.simulated import Simulator

MESSAGES: Any = [{"role": "user", "content": "hello"}]


def ask(proxy: Proxy, method: str, path: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    return httpx2.request(method, proxy.url() + path, headers=headers or {}, timeout=20)


def doctor(proxy: Proxy) -> str:
    """What `metrion doctor` says, whatever else is wrong."""
    done = subprocess.run(
        [*METRION, "doctor"], env=proxy.environment, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_somebody_is_there(method: str, serve: Proxy, simulator: Simulator) -> None:
    label = uuid.uuid4().hex
    for path in (
        "/",
        "/?x=1",
        "/api/proxy",
        "/api/proxy/",
        "/anthropic",
        "/anthropic/",
        "/openai?y",
        "/gemini",
        "/grok",
    ):
        answer = ask(serve, method, path, {"x-metrion-user": label})
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "application/json"
        assert int(answer.headers["content-length"]) > 100
        assert (answer.content == b"") == (method == "HEAD")
    assert simulator.received() == []
    # What comes after it has its row: then these have none.
    ask(serve, "GET", "/openai/v1/models", {"x-metrion-user": f"{label}-after"})
    serve.event(f"{label}-after")
    assert serve.events(f"SELECT 1 FROM events WHERE user_label = '{label}'") == []  # noqa: S608 -- our own label


def test_a_browser_gets_a_page(serve: Proxy) -> None:
    answer = ask(serve, "GET", "/", {"accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert f"http://127.0.0.1:{serve.port}/anthropic" in answer.text


def test_a_misspelt_provider_is_explained_and_counted(serve: Proxy, simulator: Simulator) -> None:
    before = serve.health()["unknown_addresses"]
    client = anthropic.Anthropic(base_url=serve.url("antropic"), api_key=serve.token)
    with pytest.raises(anthropic.BadRequestError, match="Did you mean /anthropic/") as refused:
        client.messages.create(model="claude-haiku-4-5-20251001", max_tokens=5, messages=MESSAGES)
    assert refused.value.response.headers["x-metrion-error"] == "unknown_route"
    chat = openai.OpenAI(base_url=f"{serve.url()}/v1", api_key=serve.token).chat.completions
    with pytest.raises(openai.BadRequestError, match="/openai/v1/chat"):
        chat.create(model="gpt-4o", messages=MESSAGES)
    embeddings = openai.OpenAI(base_url=f"{serve.url()}/v1", api_key=serve.token).embeddings
    with pytest.raises(openai.NotFoundError, match="/openai/v1/embeddings"):
        embeddings.create(model="m", input="x")
    assert serve.health()["unknown_addresses"] == before + 3  # and none was tried again
    assert "/v1/embeddings" in doctor(serve)
    assert "/v1/embeddings" not in json.dumps(serve.health())
    assert "Nothing is served at the address of a request" in serve.log.read_text()
    assert simulator.received() == []


def test_a_doubled_version_has_its_row(serve: Proxy, simulator: Simulator) -> None:
    label = uuid.uuid4().hex
    client = anthropic.Anthropic(
        base_url=f"{serve.url('anthropic')}/v1", api_key=serve.token, default_headers={"x-metrion-user": label}
    )
    with pytest.raises(anthropic.BadRequestError, match="version"):
        client.messages.create(model="claude-haiku-4-5-20251001", max_tokens=5, messages=MESSAGES)
    event = serve.event(label)
    assert (event["provider"], event["status"], event["error_type"]) == ("anthropic", 400, "unknown_route")
    assert (event["path"], event["cost_source"]) == ("/anthropic/v1/v1/messages", "not_billed")
    assert simulator.received() == []


def test_what_claude_code_sends_beside_its_calls_goes_out_as_it_is(serve: Proxy, simulator: Simulator) -> None:
    for path in ("/api/event_logging/batch", "/api/claude_code/metrics", "/api/hello?x=1"):
        label = uuid.uuid4().hex
        ask(serve, "POST", f"/anthropic{path}", {"authorization": f"Bearer {serve.token}", "x-metrion-user": label})
        (received,) = simulator.received(1)
        assert received.target == f"/anthropic{path}".encode()
        event = serve.event(label)
        assert (event["operation"], event["cost_source"]) == ("telemetry", "not_billed")


def test_with_a_default_provider(simulator: Simulator, tmp_path: Any) -> None:
    with running_serve(tmp_path / "home", upstreams(simulator) | {"default_provider": "openai"}) as proxy:
        for path in ("/", "/api/proxy", "/openai", "/anthropic/"):
            assert ask(proxy, "HEAD", path).status_code == 200
        headers = {"authorization": f"Bearer {proxy.token}"}
        assert ask(proxy, "POST", "/antropic/v1/messages", headers).headers.get("x-metrion-error") is None
        assert proxy.health()["unknown_addresses"] == 0


def test_workers_count_together_and_a_restart_keeps_the_home(simulator: Simulator, tmp_path: Any) -> None:
    homes = set()
    for _ in range(2):
        with running_serve(tmp_path / "home", upstreams(simulator), arguments=["--workers", "2"]) as proxy:
            for number in range(6):
                assert ask(proxy, "POST", f"/nowhere/{number}").status_code == 404
            assert proxy.health()["unknown_addresses"] == 6
            homes.add(proxy.health()["home"])
    assert len(homes) == 1


def test_the_addon_in_regular_mode(simulator: Simulator, tmp_path: Any) -> None:
    port = free_port()
    command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "--set", f"confdir={tmp_path / 'mitmproxy'}"]
    with running_proxy(tmp_path / "home", [*command, "-p", str(port)], upstreams(simulator), ports=[port]) as proxy:
        proxy.port = port
        assert ask(proxy, "HEAD", "/anthropic").status_code == 200
        assert "<h1>" in ask(proxy, "GET", "/", {"accept": "text/html"}).text
        assert ask(proxy, "POST", "/antropic/v1/messages").status_code == 400
        assert ask(proxy, "POST", "/anthropic/v1/v1/messages").status_code == 400
        assert proxy.health()["unknown_addresses"] == 1
        (event,) = eventually(proxy.events)
        assert event["path"] == "/anthropic/v1/v1/messages"


def test_a_look_with_a_body_ends_the_connection(serve: Proxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=20)
    connection.request("GET", "/", b"x" * 100)
    assert connection.getresponse().read().startswith(b"{")
    connection.close()
