"""``metrion serve``: first start, start that fails, and every way to stop it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from metrion.simulator.delivery import Delivery
from tests.processes import (
    METRION,
    MITMDUMP,
    ROOT,
    Proxy,
    eventually,
    free_port,
    prepare_home,
    printed_token,
    running_serve,
    upstreams,
)
from tests.simulated import Simulator


def test_first_start_prints_one_token_that_works(simulator: Simulator, tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home", upstreams(simulator)) | {"OPENAI_API_KEY": "key-from-environment"}
    port = free_port()
    with subprocess.Popen(
        [*METRION, "serve", "--port", str(port)], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        seen = "".join(next(lines) for _ in range(9))
        token = printed_token(seen)
        assert re.search(r"openai +http://127\.0\.0\.1:\d+/openai +from the environment", seen)
        assert "metrion key set anthropic" in seen
        assert (tmp_path / "home" / "usage.duckdb").exists()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/openai/v1/models", headers={"authorization": f"Bearer {token}"})
        assert connection.getresponse().status == 200
        process.terminate()
        assert process.wait(20) == 0
    assert simulator.received(1)[0].header("authorization") == [b"Bearer key-from-environment"]
    again = _start_and_stop(environment)
    assert "sk-metrion-" not in again


def test_a_server_without_keys_is_called_without_one(simulator: Simulator, tmp_path: Path) -> None:
    local = {"like": "openai", "upstream": simulator.upstream("openai"), "credential": "none"}
    with running_serve(tmp_path / "home", {"providers": {"local": local}}, keys=False) as proxy:
        assert re.search(r"local +http://127\.0\.0\.1:\d+/local +needs none", proxy.log.read_text())
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        own = {"authorization": f"Bearer {proxy.token}", "x-metrion-user": "keyless"}
        answer = simulator.register_answer("keyless", pieces=[b'{"data": []}'])
        connection.request("GET", "/local/v1/models", headers=simulator.select(answer) | own)
        assert connection.getresponse().status == 200
        connection.close()
        assert proxy.event("keyless")["credential"] is None
    assert simulator.received(1)[0].header("authorization") == []


def _start_and_stop(environment: dict[str, str]) -> str:
    with subprocess.Popen(
        [*METRION, "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        greeting = "".join(iter(process.stdout.readline, "\n"))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        return greeting


def test_port_in_use_is_an_error(serve: Proxy, tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home")
    command = [*METRION, "serve", "--port", str(serve.port)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert str(serve.port) in done.stderr
    assert "--port" in done.stderr
    assert "sk-metrion-" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "A Metrion proxy of another METRION_HOME holds the port" in done.stderr


def test_port_of_the_same_home_s_proxy(serve: Proxy) -> None:
    command = [*METRION, "serve", "--port", str(serve.port)]
    done = subprocess.run(command, env=serve.environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"A Metrion proxy of this METRION_HOME holds the port: http://127.0.0.1:{serve.port}" in done.stderr


def test_the_greeting_s_query_is_one_to_read(simulator: Simulator, tmp_path: Path) -> None:
    with running_serve(tmp_path / "home", upstreams(simulator)) as proxy:
        for number in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
            headers = {"authorization": f"Bearer {proxy.token}"}
            body = json.dumps({"model": "claude-sonnet-4-5-20250929" if number else "gpt-4o-mini", "messages": []})
            path = "/anthropic/v1/messages" if number else "/openai/v1/chat/completions"
            connection.request("POST", path, body, headers)
            connection.getresponse().read()
        greeting = proxy.log.read_text()
        query = re.search(r'metrion sql "(SELECT [^"]+)"', greeting)
        assert query
        assert all(len(line) <= 100 for line in greeting.splitlines() if " INFO " not in line), greeting
        lines = proxy.metrion("sql", query[1]).splitlines()
    assert all(len(line) <= 100 for line in lines), "\n".join(lines)
    assert re.split(r"[ |│]+", lines[0].strip(" |│")) == ["time", "token", "model", "input", "output", "cost_usd"]
    assert sum("tests" in line for line in lines) == 3


@pytest.mark.parametrize(
    ("host", "warns"),
    [("0.0.0.0", True), ("127.0.0.1", False)],  # noqa: S104 -- what it is to listen on
)
def test_an_address_that_people_can_use_and_a_word_about_plain_http(
    simulator: Simulator, tmp_path: Path, host: str, *, warns: bool
) -> None:
    with running_serve(tmp_path / "home", upstreams(simulator), arguments=("--host", host, "--insecure")) as proxy:
        greeting = proxy.log.read_text()
        assert "0.0.0.0" not in greeting  # noqa: S104 -- see above
        assert ("This is plain HTTP" in greeting) is warns
        assert f"http://127.0.0.1:{proxy.port}" in greeting
        url = re.search(r"openai +http://([^:]+):\d+/openai", greeting)
        assert url
        connection = http.client.HTTPConnection(url[1], proxy.port, timeout=20)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200


@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "option"])  # noqa: S104 -- nobody listens
def test_nobody_listens_for_others_without_tls_by_mistake(listen: str, tmp_path: Path) -> None:
    arguments = ["--host", "0.0.0.0"] if listen == "option" else []  # noqa: S104 -- nobody listens
    host = f"[{listen}]" if ":" in listen else listen
    config = {} if listen == "option" else {"listen": f"{host}:0"}
    environment = prepare_home(tmp_path / "home", config)
    command = [*METRION, "serve", "--port", "0", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    shown = "0.0.0.0" if listen == "option" else listen  # noqa: S104 -- as above
    assert f"write: metrion serve --host {shown} --insecure" in done.stderr
    assert "--tls-cert" in done.stderr
    assert not (tmp_path / "home" / "journal").exists()


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("providers: [", "metrion.yaml"),
        ("lisen: 127.0.0.1:80", "lisen"),
        ("providers: {openai: {upstream: nowhere}}", "upstream"),
        ("pricing: [nowhere.yaml]", "nowhere.yaml"),
        (None, "metrion.yaml"),
    ],
    ids=["no YAML", "unknown key", "bad value", "no prices", "unreadable"],
)
@pytest.mark.parametrize("program", ["serve", "mitmdump"])
def test_unusable_configuration_starts_nothing(program: str, content: str | None, names: str, tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home")
    file = tmp_path / "home" / "metrion.yaml"
    if content is None:
        file.mkdir()  # root may read every file, but no folder
    else:
        file.write_text(content)
    port = free_port()
    command = [*METRION, "serve", "--port", str(port)]
    if program == "mitmdump":
        command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "-p", str(port)]
        command += ["--set", f"confdir={tmp_path}", "--mode", "reverse:http://127.0.0.1:9"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert names in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_requests_in_flight_end_before_it_stops(simulator: Simulator, tmp_path: Path) -> None:
    with running_serve(tmp_path / "home", upstreams(simulator)) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        body = json.dumps({"model": "gpt-4o", "messages": [], "stream": True})
        headers = {"authorization": f"Bearer {proxy.token}", **simulator.select(delivery=Delivery(hold=40))}
        connection.request("POST", "/openai/v1/chat/completions", body, headers)
        response = connection.getresponse()
        first = response.read(40)
        proxy.process.terminate()
        eventually(lambda: _refuses(proxy.port))
        assert proxy.process.poll() is None
        simulator.release()
        assert (first + response.read()).endswith(b"data: [DONE]\n\n")
        assert proxy.process.wait(20) == 0
        (event,) = proxy.events()
        assert event["end_reason"] == "complete"
        assert "Traceback" not in proxy.log.read_text()


def test_what_outlasts_the_drain_is_recorded_as_it_stands(simulator: Simulator, tmp_path: Path) -> None:
    with running_serve(tmp_path / "home", upstreams(simulator), arguments=("--drain", "0.2")) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        headers = {"authorization": f"Bearer {proxy.token}", **simulator.select(delivery=Delivery(hold="head"))}
        connection.request("POST", "/openai/v1/chat/completions", "{}", headers)
        simulator.received(1, finished=False)
        assert proxy.stop() == 0
        (event,) = proxy.events()
        assert (event["status"], event["cost_source"]) == (None, "unknown")


def test_listening_again_on_the_same_port_works_at_once(simulator: Simulator, tmp_path: Path) -> None:
    port = free_port()
    for _ in range(2):
        with running_serve(tmp_path / "home", upstreams(simulator), port=port) as proxy:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/openai/v1/models", headers={"authorization": f"Bearer {proxy.token}"})
            assert connection.getresponse().status == 200
            assert proxy.stop() == 0


def test_everything_ends_with_it(simulator: Simulator, tmp_path: Path) -> None:
    """Worker and ingester are in its process group, and leave with it."""
    with running_serve(tmp_path / "home", upstreams(simulator)) as proxy:
        group = proxy.process.pid
        assert len(_members(group)) == 3
        assert proxy.stop() == 0
        eventually(lambda: not _members(group))


def test_ingester_that_dies_is_replaced(simulator: Simulator, tmp_path: Path) -> None:
    with running_serve(tmp_path / "home", upstreams(simulator)) as proxy:
        ingester = proxy.health()["ingester"]["pid"]
        os.kill(ingester, signal.SIGKILL)
        eventually(lambda: proxy.health()["ingester"]["pid"] not in {None, ingester})


def _members(group: int) -> set[int]:
    members = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            members.add(int(stat.parent.name))
    return members


def _refuses(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return True
    finally:
        connection.close()
    time.sleep(0.01)
    return False


def test_the_authority_of_tunnels_is_there_before_the_first_request(simulator: Simulator, tmp_path: Path) -> None:
    """A client has to trust it before it asks. A second start leaves it as it is."""
    made = []
    for _ in range(2):
        with running_serve(tmp_path / "home", upstreams(simulator)):
            made.append((tmp_path / "home" / "ca" / "mitmproxy-ca-cert.pem").read_bytes())
    assert made[0].startswith(b"-----BEGIN CERTIFICATE-----")
    assert made[0] == made[1]
