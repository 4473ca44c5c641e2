"""The recipes for running the proxy: what their pages show is accepted by nginx, Caddy and systemd, and works.

A test skips where its program is not installed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pytest

from metrion.simulator.delivery import Delivery
from tests.pages import ROOT, blocks, sections
from tests.processes import Proxy, accepts, eventually, free_port
from tests.simulated import Simulator
from tests.store.events import Home, event
from tests.tls import self_signed

RECIPES = ROOT / "docs" / "recipes"
NAME = "metrion.example.com"


def shown(page: str, language: str) -> str:
    """The one block of a recipe in a language."""
    (block,) = (block for block in blocks(RECIPES / f"{page}.md") if block.language == language)
    return block.text


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@contextlib.contextmanager
def running(command: Sequence[str], port: int, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: accepts(port) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(20)


def adapted(text: str, changes: Mapping[str, str]) -> str:
    for written, here in changes.items():
        assert written in text, written
        text = text.replace(written, here)
    return text


@pytest.fixture(params=["nginx", "caddy"])
def front(request: pytest.FixtureRequest, serve_lane: Proxy, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A server with the page's configuration before a proxy: its port, and the certificate to trust."""
    program, port = need(request.param), free_port()
    certificate, key = self_signed(tmp_path)
    proxy = f"127.0.0.1:{serve_lane.port}"
    environment = {**os.environ, "HOME": str(tmp_path)}
    if request.param == "nginx":
        changes = {
            "127.0.0.1:8080": proxy, "443 ssl": f"127.0.0.1:{port} ssl", NAME: "localhost",
            "/etc/ssl/metrion/cert.pem": str(certificate), "/etc/ssl/metrion/key.pem": str(key),
        }  # fmt: skip
        server = adapted(shown("nginx", "nginx"), changes)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = " ".join(f"{kind}_temp_path {tmp_path / kind};" for kind in kinds)
        own = f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr;\nevents {{}}\n"
        config = tmp_path / "nginx.conf"
        config.write_text(f"{own}http {{\naccess_log off; {places}\n{server}}}\n")
        command = [program, "-p", str(tmp_path), "-c", str(config)]
    else:
        site = f"https://localhost:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}"
        own = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
        config = tmp_path / "Caddyfile"
        config.write_text(own + adapted(shown("caddy", "caddy"), {f"{NAME} {{": site, "127.0.0.1:8080": proxy}))
        command = [program, "run", "--adapter", "caddyfile", "--config", str(config)]
    with running(command, port, environment, tmp_path / "front.log"):
        yield port, certificate


def test_a_stream_passes_piece_by_piece_behind_tls(
    front: tuple[int, Path], serve_lane: Proxy, simulator: Simulator
) -> None:
    port, certificate = front
    trust = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=trust)
    body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    body["stream_options"] = {"include_usage": True}
    label = f"front-{port}"
    headers = {"authorization": f"Bearer {serve_lane.token}", "x-metrion-user": label}
    held = simulator.select(delivery=Delivery(hold=200))
    connection.request("POST", "/openai/v1/chat/completions", json.dumps(body), headers | held)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.read1(50)  # while the provider holds the rest back
    simulator.release()
    assert answer.read().endswith(b"data: [DONE]\n\n")
    connection.close()
    row = serve_lane.event(label)
    assert (row["status"], row["end_reason"], row["cost_source"]) == (200, "complete", "computed")


def test_the_refusals_of_the_proxy_reach_the_caller(front: tuple[int, Path]) -> None:
    port, certificate = front
    trust = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=trust)
    connection.request("POST", "/openai/v1/chat/completions", b"{}")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["x-metrion-error"]) == (401, "missing_token")
    connection.close()


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = need("systemd-analyze")
    unit = tmp_path / "metrion.service"
    here = {"/opt/metrion/.venv/bin/metrion": sys.executable, "User=metrion\n": "", "Group=metrion\n": ""}
    unit.write_text(adapted(shown("systemd", "systemd"), here))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])


def test_the_unit_waits_longer_than_requests_may_take_to_end() -> None:
    unit = shown("systemd", "systemd")
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(stop) > 30


def test_tools_get_a_copy_of_all_rows(tmp_path: Path) -> None:
    home = Home(tmp_path / ".metrion")
    home.initialise()
    home.record(event(user_label="alice", model="gpt-5"))
    for _ in range(2):  # the second takes the place of the first
        done = subprocess.run(
            [sys.executable, "-c", shown("bi-tools", "python")],
            env={"HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "addon")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    with duckdb.connect(str(tmp_path / "metrion-events.duckdb"), read_only=True) as copy:
        assert copy.execute("SELECT user_label, model FROM events").fetchall() == [("alice", "gpt-5")]
        assert copy.execute(shown("bi-tools", "sql")).fetchall()


def test_the_recipes_are_all_listed() -> None:
    listed = "".join(sections(RECIPES / "README.md").values()) + (RECIPES / "README.md").read_text()
    assert all(f"({page.name})" in listed for page in RECIPES.glob("*.md") if page.name != "README.md")
