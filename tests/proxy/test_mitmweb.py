"""What mitmweb shows of metered flows, read through its own HTTP API."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.parsing.test_websocket_messages import frame
from tests.processes import STORED_KEYS, eventually, free_port
from tests.proxy.many_flows import send, serve_answers
from tests.proxy.mitmweb import Mitmweb, running_mitmweb
from tests.proxy.test_sessions import DONE
from tests.proxy.test_sessions import session as open_session
from tests.upstream import Upstream, answering

CHAT = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "A secret question?"}],
}
STREAM = b"".join(
    b"data: " + json.dumps({"model": "gpt-4o-mini-2024-07-18", "choices": choices, **more}).encode() + b"\n\n"
    for choices, more in (
        ([{"index": 0, "delta": {"role": "assistant", "content": "A secret "}}], {}),
        ([{"index": 0, "delta": {"content": "answer."}, "finish_reason": "stop"}], {}),
        ([], {"usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}}),
    )
)
STREAM += b"data: [DONE]\n\n"


@pytest.fixture(scope="module")
def web(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmweb]:
    with running_mitmweb(
        tmp_path_factory.mktemp("web") / "home", upstream.url, "--set", "store_streamed_bodies=true"
    ) as running:
        yield running
        assert "Traceback" not in running.proxy.log.read_text()


def ask(web: Mitmweb, upstream: Upstream, label: str, *, wire: bytes = b"", session: str = "") -> bytes:
    """Send a request whose answer is a stream, or these bytes."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    wire = wire or head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(STREAM), STREAM)
    name, _, value = upstream.script(answering(wire)).partition(": ")
    connection = http.client.HTTPConnection("127.0.0.1", web.proxy.port, timeout=20)
    sent = {"Authorization": f"Bearer {web.proxy.token}", "x-metrion-user": label, name: value}
    sent |= {"session-id": session} if session else {}
    connection.request("POST", "/openai/v1/chat/completions", json.dumps(CHAT | {"stream": True}), sent)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def flow_of(web: Mitmweb, label: str) -> dict[str, Any]:
    """The flow whose comment names this user, waited for."""
    (flow,) = eventually(lambda: [flow for flow in web.flows() if f" {label} " in flow["comment"]])
    return flow


def test_a_flow_has_a_comment_and_is_shown_as_a_conversation(web: Mitmweb, upstream: Upstream) -> None:
    assert ask(web, upstream, "alice") == STREAM
    flow, event = flow_of(web, "alice"), web.proxy.event("alice")
    assert flow["comment"] == f"$0.000003300 · gpt-4o-mini-2024-07-18 · 10 in, 3 out · alice · {event['event_id']}"
    asked, answered = web.view(flow, "request"), web.view(flow, "response")
    assert (asked["view_name"], answered["view_name"]) == ("Conversation", "Conversation")
    assert "system:\n  Be short.\n \nuser:\n  A secret question?\n" in asked["text"]
    assert "assistant:\n  A secret answer.\n \nfinish: stop\n" in answered["text"]
    foot = answered["text"].partition("# metered\n")[2]
    assert foot.startswith("cost: $0.000003300\n")
    assert "model: gpt-4o-mini requested, gpt-4o-mini-2024-07-18 served\nfirst byte: " in foot
    assert f"user: alice\nevent: {event['event_id']}\n" in foot
    assert web.view(flow, "response", "raw")["text"] == STREAM.decode()


def test_no_content_is_in_a_comment_and_no_credential_is_anywhere(web: Mitmweb, upstream: Upstream) -> None:
    ask(web, upstream, "bob")
    flow = flow_of(web, "bob")
    assert "secret" not in flow["comment"]
    shown = json.dumps([web.flows(), web.view(flow, "request"), web.view(flow, "response"), web.log()])
    assert web.proxy.token not in shown
    assert not [key for key in STORED_KEYS.values() if key in shown]


def test_a_key_that_a_provider_repeats_is_masked(web: Mitmweb, upstream: Upstream) -> None:
    key = STORED_KEYS["openai"]
    body = json.dumps({"error": {"type": "auth", "message": f"Incorrect API key provided: {key}."}}).encode()
    head = b"HTTP/1.1 401 No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    assert ask(web, upstream, "mallory", wire=head + body) == body
    shown = web.view(flow_of(web, "mallory"), "response")
    assert shown["view_name"] == "Conversation"
    assert "error: auth: Incorrect API key provided: ***" in shown["text"]
    assert key not in shown["text"]


def test_a_refused_request_has_a_comment_too(web: Mitmweb) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", web.proxy.port, timeout=20)
    connection.request("POST", "/openai/v1/chat/completions", b"{}", {"x-metrion-user": "eve"})
    assert connection.getresponse().status == 401
    connection.close()
    flow = eventually(
        lambda: [each for each in web.flows() if each["comment"] and each["response"]["status_code"] == 401]
    )[0]
    assert flow["comment"].startswith("$0.00 · ")
    assert "error: " in web.view(flow, "response", "conversation")["text"]


def test_a_session_has_a_running_total(web: Mitmweb, upstream: Upstream) -> None:
    def comment() -> str:
        flows = [flow for flow in web.flows() if "realtime" in flow["request"]["path"]]
        return str(flows[-1]["comment"]) if flows else ""

    with open_session(web.proxy, upstream) as held:
        said = frame(1, DONE)
        held.send(said, from_client=False)
        assert held.received(len(said), by_client=True) == said
        once = eventually(comment, until=lambda text: held.label in text)
        assert "rows" not in once
        held.send(said, from_client=False)
        assert held.received(len(said), by_client=True) == said
        twice = eventually(comment, until=lambda text: "2 rows" in text)
        assert Decimal(twice.split()[0].strip("~$")) == 2 * Decimal(once.split()[0].strip("~$")) > 0


def test_the_flows_of_a_session_are_marked(web: Mitmweb, upstream: Upstream) -> None:
    for label, of in (("s1", "one"), ("s2", "one"), ("s3", "two")):
        ask(web, upstream, label, session=of)
    assert web.command("metrion.session", f"@{flow_of(web, 's1')['id']}") == {"value": None}
    assert [bool(flow_of(web, label)["marked"]) for label in ("s1", "s2", "s3")] == [True, True, False]
    web.command("metrion.session", f"@{flow_of(web, 's3')['id']}")
    assert [bool(flow_of(web, label)["marked"]) for label in ("s1", "s2", "s3")] == [False, False, True]
    ask(web, upstream, "alone")
    assert "no session" in web.command("metrion.session", f"@{flow_of(web, 'alone')['id']}")["error"]


def test_a_report_comes_into_the_event_log(web: Mitmweb, upstream: Upstream) -> None:
    ask(web, upstream, "reported")
    web.proxy.event("reported")
    assert web.command("metrion.report", "users", "today") == {"value": None}
    log = eventually(web.log, until=lambda log: "Metrion: users since today\n" in log)
    assert "reported " in log.partition("Metrion: users since today\n")[2]
    for wrong in (("nonsense",), ("costs", "the day before")):
        assert "error" in web.command("metrion.report", *wrong)
    names: Mapping[str, Any] = web.ask("/commands")
    assert {"metrion.report", "metrion.session"} <= names.keys()


def test_a_body_that_was_not_kept_is_explained(upstream: Upstream, tmp_path: Path) -> None:
    with running_mitmweb(tmp_path / "home", upstream.url) as web:
        ask(web, upstream, "carol")
        flow = flow_of(web, "carol")
        for message in ("request", "response"):
            shown = web.view(flow, message)["text"]
            assert "store_streamed_bodies=true" in shown
            assert "\n \n# metered\ncost: $0.000003300\n" in shown


def test_the_oldest_flows_go(tmp_path: Path) -> None:
    port = free_port()
    serve_answers(port)
    most = ("--set", "metrion_max_flows=20", "--set", "store_streamed_bodies=true")
    with running_mitmweb(tmp_path / "home", f"http://127.0.0.1:{port}", *most) as web:
        asyncio.run(send(web, 100))
        assert len(eventually(web.flows, until=lambda flows: len(flows) <= 20)) == 20
        assert len(eventually(web.proxy.events, until=lambda rows: len(rows) == 100)) == 100
        kept = web.flows()[0]
        web.ask(f"/flows/{kept['id']}", {"marked": ":eyes:"}, method="PUT")
        asyncio.run(send(web, 40))
        assert kept["id"] in {flow["id"] for flow in web.flows()}, "a marked flow stays"
        web.ask("/options", {"metrion_max_flows_size": "100k"}, method="PUT")
        asyncio.run(send(web, 1))
        assert len(eventually(web.flows, until=lambda flows: len(flows) <= 10)) > 5
