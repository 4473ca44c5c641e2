"""``metrion run`` before a real proxy and the simulator, with the SDKs as people use them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.console import SCRIPT
from tests.node.sdks import installed
from tests.processes import (
    STORED_KEYS,
    Proxy,
    eventually,
    prepare_home,
    printed_token,
    running_serve,
    store_keys,
    upstreams,
)
from tests.simulated import Simulator
from tests.tls import Terminator, tls_in_front_of

QUESTION = '[{"role": "user", "content": "hi"}]'
OPENAI = f"""
import openai
print(openai.OpenAI().chat.completions.create(model="gpt-4o-mini", messages={QUESTION}).choices[0].message.content)
"""
ANTHROPIC = f"""
import anthropic
api = anthropic.Anthropic().messages
print(api.create(model="claude-haiku-4-5-20251001", max_tokens=20, messages={QUESTION}).content[0].text)
"""
MISTRAL = f"""
import os
from mistralai.client import Mistral
api = Mistral(api_key=os.environ["MISTRAL_API_KEY"], server_url=os.environ["METRION_URL"] + "/mistral").chat
print(api.complete(model="mistral-small-latest", messages={QUESTION}).choices[0].message.content)
"""
UNPRICED = OPENAI.replace("gpt-4o-mini", "nobody-knows-this-model")
SUMMARY = re.compile(r"metrion: \$[\d.]+ · \d+ requests? · .* \(metrion tail --token (?P<token>run-[\w-]+)\)\n")


@pytest.fixture(scope="module")
def proxy(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy of a home, which each run finds."""
    with running_serve(tmp_path_factory.mktemp("run") / "home", upstreams(simulator)) as running:
        yield running


@pytest.fixture
def lonely(simulator: Simulator, tmp_path: Path) -> Mapping[str, str]:
    """The environment of a home in which no proxy runs."""
    environment = prepare_home(tmp_path / "home", upstreams(simulator))
    store_keys(tmp_path / "home", environment)
    return environment


def run(environment: Mapping[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, "run", *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def python(program: str) -> tuple[str, str, str, str]:
    return "--", sys.executable, "-c", program


def token_of(done: subprocess.CompletedProcess[str]) -> str:
    found = SUMMARY.fullmatch(done.stderr)
    assert found, done.stderr
    return found["token"]


def states(proxy: Proxy) -> dict[str, str]:
    return {
        each["name"]: each["state"] for each in json.loads(proxy.metrion("token", "list", "--all", "--format", "json"))
    }


def test_scripts_as_they_are(proxy: Proxy, simulator: Simulator) -> None:
    done = run(proxy.environment, *python(OPENAI + ANTHROPIC + MISTRAL))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    token = token_of(done)
    assert "3 requests" in done.stderr
    rows = proxy.events(f"FROM events WHERE token_name = '{token}' ORDER BY started_at")
    assert [(row["provider"], row["status"], row["account"]) for row in rows] == [
        ("openai", 200, "default"),
        ("anthropic", 200, "default"),
        ("mistral", 200, "default"),
    ]
    cost = sum(Decimal(row["cost_usd"]) for row in rows)
    said = Decimal(done.stderr.split()[1].removeprefix("$"))
    assert abs(said - cost) < cost / 1000
    assert states(proxy)[token] == "revoked"
    for received in simulator.received(3):
        assert not [value for _, value in received.headers if b"sk-metrion" in value]


def test_what_is_not_in_the_sum_is_said(proxy: Proxy) -> None:
    done = run(proxy.environment, *python(OPENAI + UNPRICED))
    assert done.returncode == 0, done.stderr
    assert "2 requests" in done.stderr
    assert "not in the sum: 1 of a model without a price" in done.stderr


def test_the_streams_and_the_status_are_the_commands(proxy: Proxy) -> None:
    done = run(proxy.environment, "--quiet", "--", "sh", "-c", "cat; echo wrong >&2; exit 3", stdin="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "in\n", "wrong\n")


def test_options_of_the_command_are_the_commands(proxy: Proxy) -> None:
    done = run(proxy.environment, "-q", "echo", "--account", "nobody", "-q", "--", "--help")
    assert (done.returncode, done.stdout) == (0, "--account nobody -q -- --help\n")


def test_where_no_request_came_the_way_out_is_said(proxy: Proxy) -> None:
    assert "metrion run --intercept" in run(proxy.environment, "--", "true").stderr
    assert "--intercept" not in run(proxy.environment, "--intercept", "--", "true").stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--", "/nowhere/at-all"), 127, ("/nowhere/at-all", "No such file")),
        (("--", "/etc"), 126, ("/etc",)),
        (("--account", "nobody", "--", "true"), 1, ("no account named 'nobody'",)),
        (("--intercept",), 2, ("COMMAND",)),
    ],
)
def test_what_cannot_be_run(proxy: Proxy, arguments: tuple[str, ...], status: int, words: tuple[str, ...]) -> None:
    done = run(proxy.environment, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr
    assert "$" not in done.stderr


def test_a_name_and_an_account_of_its_own(proxy: Proxy) -> None:
    proxy.metrion("account", "create", "team")
    proxy.metrion("key", "set", "openai", "--account", "team", stdin=STORED_KEYS["openai"])
    done = run(proxy.environment, "--account", "team", "--name", "nightly", *python(OPENAI))
    assert done.returncode == 0, done.stderr
    assert "--token nightly" in done.stderr
    (row,) = proxy.events("SELECT account FROM events WHERE token_name = 'nightly'")
    assert row == {"account": "team"}


def test_with_its_own_keys_a_program_is_only_metered(proxy: Proxy, simulator: Simulator) -> None:
    environment = {**proxy.environment, "OPENAI_API_KEY": "sk-the-callers-own-key-0123456789"}
    done = run(environment, "--own-keys", *python(OPENAI))
    assert done.returncode == 0, done.stderr
    (received,) = simulator.received(1)
    assert received.header("authorization") == [b"Bearer sk-the-callers-own-key-0123456789"]
    assert not [name for name, value in received.headers if b"metrion" in name.lower() or b"sk-metrion" in value]
    (row,) = proxy.events(f"FROM events WHERE token_name = '{token_of(done)}'")
    assert row["credential"] == "pass_through"


NODE = """
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import OpenAI from 'openai';
const messages = [{ role: 'user', content: 'hi' }];
await new OpenAI().chat.completions.create({ model: 'gpt-4o-mini', messages });
await new Anthropic().messages.create({ model: 'claude-haiku-4-5-20251001', max_tokens: 20, messages });
await new GoogleGenAI({}).models.generateContent({ model: 'gemini-2.5-flash', contents: 'hi' });
"""


def test_the_sdks_for_node_as_they_are(proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(installed())
    (tmp_path / "script.mjs").write_text(NODE)
    done = run(proxy.environment, "--", "node", str(tmp_path / "script.mjs"))
    assert done.returncode == 0, done.stderr
    rows = proxy.events(f"FROM events WHERE token_name = '{token_of(done)}' ORDER BY started_at")
    assert [(row["provider"], row["status"]) for row in rows] == [("openai", 200), ("anthropic", 200), ("google", 200)]


@pytest.fixture(scope="module")
def tls(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminator]:
    with tls_in_front_of(simulator.ports["openai"], tmp_path_factory.mktemp("tls")) as terminator:
        yield terminator


def test_what_reads_no_base_url_is_intercepted(simulator: Simulator, tls: Terminator, tmp_path: Path) -> None:
    """The host is on this machine, so the command takes it out of what NO_PROXY names."""
    program = """if True:
        import json, os, sys, urllib.request
        os.environ.pop("NO_PROXY"), os.environ.pop("no_proxy")
        asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
        request = urllib.request.Request(sys.argv[1], json.dumps(asked).encode(), {"content-type": "application/json"})
        print(json.load(urllib.request.urlopen(request))["object"])
    """
    url = f"https://localhost:{tls.port}/v1/chat/completions"
    environment = prepare_home(
        tmp_path / "home", {"providers": {"openai": {"upstream": url[: -len("/v1/chat/completions")]}}}
    )
    store_keys(tmp_path / "home", environment)
    proxys = {**environment, "SSL_CERT_FILE": str(tls.certificate)}  # with which it trusts the provider
    done = run(proxys, "--intercept", "--", sys.executable, "-c", program, url)
    assert (done.returncode, done.stdout) == (0, "chat.completion\n"), done.stderr
    assert "1 request ·" in done.stderr
    (received,) = simulator.received(1)
    assert received.header("authorization") == [f"Bearer {STORED_KEYS['openai']}".encode()]


# --- where no proxy runs ----------------------------------------------------------------------------------------------


def test_a_proxy_runs_as_long_as_the_command(lonely: Mapping[str, str]) -> None:
    done = run(lonely, *python(f"import os; print(os.environ['METRION_URL']){OPENAI}"))
    assert done.returncode == 0, done.stderr
    assert "1 request ·" in done.stderr
    url = urlsplit(done.stdout.split()[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(url.hostname), url.port or 0), 5)
    events = subprocess.run(
        [SCRIPT, "sql", "--format", "csv", "SELECT token_name, status FROM ingested"],
        env=lonely,
        capture_output=True,
        text=True,
        check=True,
    )
    assert events.stdout.splitlines()[1:] == [f"{token_of(done)},200"]


def test_the_first_serve_makes_a_token_all_the_same(tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home")
    assert run(environment, "-q", "--", "true").returncode == 0
    with subprocess.Popen(
        [SCRIPT, "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
    ) as serve:
        assert serve.stdout is not None
        greeting = [serve.stdout.readline() for _ in range(3)]
        serve.terminate()
    assert printed_token("".join(greeting))


def test_nobody_else_uses_the_proxy_of_a_run(lonely: Mapping[str, str]) -> None:
    inner = f"{SCRIPT} run -q -- sh -c 'echo $METRION_URL'"
    done = run(lonely, "-q", "--", "sh", "-c", f"echo $METRION_URL; {inner}")
    first, second = done.stdout.split()
    assert first != second


def test_a_run_that_is_killed_leaves_no_proxy(lonely: Mapping[str, str]) -> None:
    process = subprocess.Popen(
        [SCRIPT, "run", "--", "sh", "-c", "echo $METRION_URL $$; exec sleep 60"],
        env=lonely,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    url, child = process.stdout.readline().split()
    process.kill()
    process.wait()
    os.kill(int(child), signal.SIGKILL)
    address = (str(urlsplit(url).hostname), urlsplit(url).port or 0)

    def is_gone() -> bool:
        return socket.socket().connect_ex(address) != 0

    eventually(is_gone)


def test_a_home_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = prepare_home(home, {"pricing": ["bad.yaml"]})
    (home / "bad.yaml").write_text("openai: {gpt-5: {input: cheap}}\n")
    done = run(environment, "--", "true")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "bad.yaml, line 1" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_the_token_is_revoked(proxy: Proxy, number: signal.Signals) -> None:
    program = """if True:
        import signal, sys, time
        signal.signal(int(sys.argv[1]), lambda *_: sys.exit(5))
        print(flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen(
        [SCRIPT, "run", "--", sys.executable, "-c", program, str(int(number))],
        env=proxy.environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    assert process.wait(30) == 5
    assert [name for name, state in states(proxy).items() if state == "active"] == ["tests"]


def test_the_token_is_in_no_command_line(proxy: Proxy) -> None:
    done = run(proxy.environment, "--intercept", "-q", "--", "sh", "-c", "cat /proc/$PPID/cmdline /proc/$$/cmdline")
    assert "sk-metrion" not in done.stdout


def test_it_takes_little_more_than_the_command(proxy: Proxy) -> None:
    """By processor time, which a busy machine does not stretch."""

    def seconds() -> float:
        before = os.times()
        assert run(proxy.environment, "--", "true").returncode == 0
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(3)) < 1.0
