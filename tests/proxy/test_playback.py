"""Flows that mitmproxy replays are new requests: metered and given the stored key, or refused; nothing walks around."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http as mitmproxy_http
from mitmproxy.io import FlowReader, FlowWriter
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from metrion import store
from metrion.cli.tables import as_json
from tests.credentials import OWN_KEY, UNKNOWN
from tests.processes import (
    MITMDUMP,
    MITMDUMP_MODES,
    PROVIDERS,
    ROOT,
    STORED_KEYS,
    Proxy,
    eventually,
    free_port,
    prepare_home,
    running_by_path,
    store_keys,
)
from tests.rawclient import CHAT, connected, labelled, request
from tests.upstream import Upstream, running_upstream

MITMWEB = (sys.executable, "-c", "from mitmproxy.tools.main import mitmweb; mitmweb()")
BODY = b'{"model": "gpt-4o"}'


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    """A provider of this file's own, so that nobody else's requests are counted."""
    with running_upstream() as running:
        yield running


def configuration(provider: Upstream) -> dict[str, Any]:
    return {
        "providers": {name: {"upstream": provider.url} for name in PROVIDERS},
        "plans": {"pro": {"requests_per_minute": 0, "timeout": 2}},
    }


@dataclass
class Web:
    """A running mitmweb, asked as its page asks it."""

    proxy: Proxy
    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            headers = {"authorization": "Bearer letmein", "cookie": "_mitmproxy_xsrf=00ff", "x-xsrftoken": "00ff"}
            content = json.dumps(body) if body is not None else ""
            connection.request(method, path, content, headers | {"content-type": "application/json"})
            response = connection.getresponse()
            said = response.read()
            assert response.status < 300, (response.status, said)
            return json.loads(said) if said.startswith((b"{", b"[")) else said

    def flow(self, label: str) -> dict[str, Any]:
        """The one flow of the request labelled so."""
        (flow,) = [
            flow for flow in self.call("GET", "/flows") if ["x-metrion-user", label] in flow["request"]["headers"]
        ]
        found: dict[str, Any] = flow
        return found

    def replay(self, flow: dict[str, Any]) -> dict[str, Any]:
        """Replay a flow as its button does; returns it with its new answer."""
        self.call("POST", f"/flows/{flow['id']}/replay")

        def again() -> dict[str, Any]:
            (found,) = [each for each in self.call("GET", "/flows") if each["id"] == flow["id"]]
            return dict(found)

        return eventually(again, until=lambda each: (each.get("response") or each.get("error")) and each != flow)


@pytest.fixture(scope="module", params=list(MITMDUMP_MODES))
def web(request: pytest.FixtureRequest, provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    port = free_port()
    arguments = ["--web-host", "127.0.0.1", "--web-port", str(port), "--no-web-open-browser"]
    arguments += ["--set", "web_password=letmein", "--set", "store_streamed_bodies=true"]
    home = tmp_path_factory.mktemp("web") / "home"
    mode = MITMDUMP_MODES[request.param]
    with running_by_path(home, configuration(provider), mode, arguments=arguments, program=MITMWEB) as proxy:
        yield Web(proxy, port)
        assert "Traceback" not in proxy.log.read_text()


def ask(proxy: Proxy, *lines: str, target: str = CHAT, token: str | None = None) -> tuple[str, int]:
    """Make one call; returns its label and the answer's status."""
    label, line = labelled()
    head = request(proxy, line, *lines, f"Content-Length: {len(BODY)}", target=target, token=token)
    with connected(proxy.port) as client:
        client.send(head + BODY)
        return label, client.read().status


def a_script() -> str:
    """A header by which the provider knows the requests of one test."""
    return f"x-script: {uuid.uuid4().hex}"


def rows(proxy: Proxy, label: str, count: int) -> list[dict[str, Any]]:
    query = f"SELECT * FROM events WHERE user_label = '{label}' ORDER BY event_id"  # noqa: S608 -- our own label
    return eventually(lambda: proxy.events(query), until=lambda found: len(found) == count)


# --- mitmweb ----------------------------------------------------------------------------------------------------------


def test_a_replay_is_metered_and_given_the_stored_key(web: Web, provider: Upstream) -> None:
    script = a_script()
    label, status = ask(web.proxy, script, "x-metrion-tag-step: one")
    assert status == 200
    again = web.replay(web.flow(label))
    assert again["response"]["status_code"] == 200
    first, second = provider.asked(script, 2)
    for asked in (first, second):
        assert asked.header(b"authorization") == [f"Bearer {STORED_KEYS['openai']}".encode()]
        assert (asked.method, asked.target, asked.body) == (b"POST", b"/v1/chat/completions", BODY)
        assert not [name for name, value in asked.headers if b"metrion" in name.lower() or b"metrion" in value]
    one, two = rows(web.proxy, label, 2)
    assert one["request_id"] != two["request_id"]
    assert {row["token_name"] for row in (one, two)} == {"tests"}
    assert {(row["status"], row["credential"], row["end_reason"]) for row in (one, two)} == {
        (200, "stored", "complete")
    }
    assert two["tags"] == {"step": "one"}
    shown = json.dumps(web.call("GET", "/flows"))
    assert web.proxy.token not in shown
    assert STORED_KEYS["openai"] not in shown


def test_a_replay_of_a_replay(web: Web, provider: Upstream) -> None:
    script = a_script()
    label, _ = ask(web.proxy, script)
    for count in (2, 3):
        assert web.replay(web.flow(label))["response"]["status_code"] == 200
        rows(web.proxy, label, count)
    assert len(provider.asked(script, 3)) == 3


@pytest.mark.parametrize(
    ("lines", "target"),
    [
        (["x-api-key: {token}"], "/v1/messages"),
        (["api-key: {token}"], CHAT),
        (["x-metrion-token: {token}"], CHAT),
        (["x-goog-api-key: {token}"], "/gemini/v1beta/models/gemini-2.5-flash:generateContent"),
        ([], "/gemini/v1beta/models/gemini-2.5-flash:generateContent?a=b&key={token}&c=d"),
    ],
    ids=["x-api-key", "api-key", "x-metrion-token", "x-goog-api-key", "query"],
)
def test_a_replay_from_each_place_of_a_credential(lines: list[str], target: str, web: Web, provider: Upstream) -> None:
    own = [line.format(token=web.proxy.token) for line in lines]
    before = provider.total()
    label, status = ask(web.proxy, *own, target=target.format(token=web.proxy.token), token="")
    assert status == 200
    assert web.replay(web.flow(label))["response"]["status_code"] == 200
    assert provider.total() == before + 2
    one, two = rows(web.proxy, label, 2)
    assert (one["path"], one["provider"], one["credential"]) == (two["path"], two["provider"], two["credential"])


def test_an_edited_flow_is_replayed_as_it_is_now(web: Web, provider: Upstream) -> None:
    script = a_script()
    label, _ = ask(web.proxy, script)
    flow = web.flow(label)
    edited = '{"model": "gpt-4o-mini", "messages": []}'
    web.call("PUT", f"/flows/{flow['id']}", {"request": {"content": edited}})
    assert web.replay(flow)["response"]["status_code"] == 200
    assert provider.asked(script, 2)[1].body == edited.encode()
    assert [row["model_requested"] for row in rows(web.proxy, label, 2)] == ["gpt-4o", "gpt-4o-mini"]


def test_a_replay_to_another_host_is_refused(web: Web, provider: Upstream) -> None:
    label, _ = ask(web.proxy)
    flow = web.flow(label)
    before = provider.total()
    web.call("PUT", f"/flows/{flow['id']}", {"request": {"host": "localhost", "port": provider.port}})
    assert web.replay(flow)["response"]["status_code"] == 403
    assert provider.total() == before


def test_a_callers_own_key_is_not_kept_for_a_replay(web: Web, provider: Upstream) -> None:
    """Its own key went out, and is in no flow; the stored one would be another's money."""
    label, status = ask(web.proxy, f"authorization: Bearer {OWN_KEY}", f"x-metrion-token: {web.proxy.token}", token="")
    assert status == 200
    before = provider.total()
    again = web.replay(web.flow(label))
    assert again["response"]["status_code"] == 401
    said = web.call("GET", f"/flows/{again['id']}/response/content.data")
    assert "cannot be replayed as it is" in json.dumps(said)
    assert provider.total() == before


def test_a_copy_is_refused_and_a_token_lets_it_through(web: Web, provider: Upstream) -> None:
    """A copy has all that the flow has, its metadata too."""
    script = a_script()
    label, _ = ask(web.proxy, script)
    flow = web.flow(label)
    copied = web.call("POST", f"/flows/{flow['id']}/duplicate").decode()
    (copy,) = [each for each in web.call("GET", "/flows") if each["id"] == copied]
    assert web.replay(copy)["response"]["status_code"] == 401
    assert len(provider.asked(script)) == 1
    headers = [[name, value] for name, value in copy["request"]["headers"] if name.lower() != "authorization"]
    headers.append(["Authorization", f"Bearer {web.proxy.token}"])
    web.call("PUT", f"/flows/{copied}", {"request": {"headers": headers}})
    assert eventually(lambda: web.replay(copy), until=lambda each: each["response"]["status_code"] == 200)
    assert len(provider.asked(script, 2)) == 2
    assert web.proxy.token not in json.dumps(web.call("GET", "/flows"))


def test_a_replay_without_an_answer_times_out(web: Web, provider: Upstream) -> None:
    """Nobody else's replay waits for it for ever."""
    silent = provider.script(lambda asked: asked.wait_until_gone())
    label, status = ask(web.proxy, silent)
    assert status == 504
    web.replay(web.flow(label))
    assert [row["end_reason"] for row in rows(web.proxy, label, 2)] == ["timeout"] * 2


def test_a_revoked_token_lets_no_replay_through(web: Web, provider: Upstream) -> None:
    token = web.proxy.metrion("token", "create", f"revoked-{provider.total()}").strip()
    label, status = ask(web.proxy, token=token)
    assert status == 200
    web.proxy.metrion("token", "revoke", rows(web.proxy, label, 1)[0]["token_name"])
    before = provider.total()
    eventually(lambda: ask(web.proxy, token=token)[1] == 401)
    assert web.replay(web.flow(label))["response"]["status_code"] == 401
    assert provider.total() >= before


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass
class Replayed:
    """What came of a file that ``mitmdump -C`` replayed to its end."""

    token: str
    printed: str
    rows: dict[str, dict[str, Any]]
    """By label."""


def replay_file(
    folder: Path, provider: Upstream, flows: Callable[[str], list[mitmproxy_http.HTTPFlow]], *arguments: str
) -> Replayed:
    """Run ``mitmdump -C`` in a home of its own, on a file of these flows; they are made with the home's token."""
    home = folder / "home"
    environment = prepare_home(home, configuration(provider))
    token = store_keys(home, environment)
    file = folder / "flows.mitm"
    with file.open("wb") as opened:
        for flow in flows(token):
            FlowWriter(opened).add(flow)
    command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "-n", "-C", str(file), *arguments]
    command += ["--set", f"confdir={folder / 'ca'}", "--flow-detail", "4"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "crashed" not in printed
    assert STORED_KEYS["openai"] not in printed
    table = store.ask(home / "journal", home / "usage.duckdb", "SELECT * FROM events")
    rows = {row["user_label"]: row for row in json.loads(as_json(table))}
    return Replayed(token, printed, rows)


def flow(
    label: str, url: str, *lines: tuple[str, str], method: str = "POST", content: bytes = BODY
) -> mitmproxy_http.HTTPFlow:
    """Make a flow as a file may hold it; it says of itself that it was let through."""
    made = tflow.tflow()
    fields = [(name.encode(), value.encode()) for name, value in [("x-metrion-user", label), *lines]]
    made.request = mitmproxy_http.Request.make(method, url, content, fields)
    made.response = None
    made.metadata["metrion"] = "0197c0de-0000-7000-8000-000000000000"
    return made


def test_a_recorded_file_is_refused(provider: Upstream, tmp_path: Path) -> None:
    """What mitmproxy wrote of a request that was let through; another process, even in the same home, knows nothing."""
    recorded = tmp_path / "recorded.mitm"
    arguments = ["-w", str(recorded), "--set", "store_streamed_bodies=true"]
    config = configuration(provider)
    with running_by_path(tmp_path / "first", config, MITMDUMP_MODES["mitmdump"], arguments=arguments) as proxy:
        label, status = ask(proxy, "x-script: recorded")
        assert status == 200
        assert proxy.stop() == 0
    with recorded.open("rb") as file:
        flows = [each for each in FlowReader(file).stream() if isinstance(each, mitmproxy_http.HTTPFlow)]
    assert flows[0].metadata["metrion"]
    came = replay_file(tmp_path / "second", provider, lambda _: flows)
    assert (came.rows[label]["status"], came.rows[label]["error_type"]) == (401, "missing_token")
    assert "cannot be replayed as it is" in came.printed
    assert len(provider.asked("x-script: recorded")) == 1


def test_a_file_is_as_good_as_its_tokens(provider: Upstream, tmp_path: Path) -> None:
    at_provider, masked = f"{provider.url}/v1/chat/completions", ("authorization", "Bearer sk-metrion-…abcd")
    known, own = f"{provider.url}{CHAT}", ("authorization", f"Bearer {OWN_KEY}")

    def flows(token: str) -> list[mitmproxy_http.HTTPFlow]:
        valid = ("x-metrion-token", token)
        from_transparent = flow("unaware", at_provider, own)
        from_transparent.client_conn.proxy_mode = ProxyMode.parse("transparent")
        through_another = flow("via", at_provider, valid, ("x-script", "via"))
        through_another.server_conn.via = ("http", ("127.0.0.1", 9))
        return [
            flow("by host", at_provider, valid, ("x-script", "by-host")),
            flow("by path", known, valid, ("x-script", "by-path")),
            flow("own key", at_provider, valid, own, ("x-script", "own-key")),
            flow("no token", known),
            flow("masked", known, masked),
            flow("masked own", known, ("x-api-key", "***")),
            flow("unknown", known, ("authorization", f"Bearer {UNKNOWN}")),
            from_transparent,
            through_another,
            flow("foreign", "http://127.0.0.1:9/v1/chat/completions", valid),
            flow("upgrade", known, valid, ("upgrade", "websocket"), ("connection", "upgrade")),
            flow("short", at_provider, valid, ("x-script", "short"), ("content-length", "0")),
            flow("both", at_provider, valid, ("x-script", "both"), ("transfer-encoding", "chunked")),
            flow("split", at_provider, valid, ("x-odd", "a\r\nx-injected: b")),
            flow("method", at_provider, valid, method="POST / HTTP/1.1\r\nx-a: b\r\n\r\nPOST"),
        ]

    before = provider.total()
    came = replay_file(tmp_path, provider, flows)
    assert {label: row["status"] for label, row in came.rows.items()} == {
        "by host": 200,
        "by path": 200,
        "own key": 200,
        "no token": 401,
        "masked": 401,
        "masked own": 401,
        "unknown": 401,
        "unaware": 401,
        "via": 200,
        "upgrade": 400,
        "short": 200,
        "both": 200,
        "split": 400,
        "method": 400,
    }
    for name in ("by host", "by path", "via", "short", "both", "own key"):
        (asked,) = provider.asked(f"x-script: {name.replace(' ', '-')}")
        # Several providers have this host here; the first of them is meant.
        key = OWN_KEY if name == "own key" else STORED_KEYS["openai" if name == "by path" else "anthropic"]
        (credential,) = asked.header(b"authorization") + asked.header(b"x-api-key")
        assert credential.endswith(key.encode())
        assert (asked.target, asked.body) == (b"/v1/chat/completions", BODY)
        assert not asked.header(b"x-metrion-token")
    assert provider.total() == before + 6
    assert provider.malformed == []
    assert came.token not in came.printed
    assert OWN_KEY not in came.printed
