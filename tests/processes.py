"""Run the proxy from a test: the real programs, in processes of their own, with a home of their own.

with running_serve(tmp_path, upstreams(simulator)) as proxy:
    proxy.url("openai"), proxy.token, proxy.events("SELECT …")
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from metrion import store
from metrion.cli import main
from metrion.cli.tables import as_json
from metrion.control import ControlStore
from metrion.settings import load_settings
from metrion.store import follow, schema
from metrion.store.query import Table
from tests.simulated import Simulator

ROOT = Path(__file__).parents[1]
PROVIDERS = ("anthropic", "openai", "google", "mistral", "xai")
STORED_KEYS = {provider: f"stored-{provider}-key-0123456789abcdef" for provider in PROVIDERS}
METRION = (sys.executable, "-m", "metrion")
MITMDUMP = (sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()")

MITMDUMP_MODES = {"mitmdump": "regular@127.0.0.1:{port}", "reverse": "reverse:http://127.0.0.1:9@127.0.0.1:{port}"}
"""Modes of ``mitmdump -s`` in which providers are known by path; nothing is at the target of the second."""

type Road = Mapping[str, str]
"""What in the environment of ``metrion serve`` says by which of its two roads requests go."""
LANE: Road = {}
MITMPROXY: Road = {"METRION_ROAD": "mitmproxy"}
ROADS = {"lane": LANE, "mitmproxy": MITMPROXY}

_OWN_PORTS = range(20_000, 32_000)
_PORT_LOCKS = Path(tempfile.gettempdir()) / f"metrion-test-ports-{os.getuid()}"


_TOKEN = re.compile(r"sk-metrion-[A-Za-z0-9_-]{40,80}")


def eventually[T](ask: Callable[[], T], *, timeout: float = 20, until: Callable[[T], object] = bool) -> T:
    """Ask until the answer satisfies ``until``; fail with the last answer."""
    deadline = time.monotonic() + timeout
    while True:
        answer = ask()
        if until(answer):
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {timeout} s"
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that no other test, here or in another process, is given while this process lives.

    It is below those that the system hands out, so that no connection takes it meanwhile.
    """
    _PORT_LOCKS.mkdir(exist_ok=True)
    for port in random.sample(_OWN_PORTS, len(_OWN_PORTS)):
        lock = os.open(_PORT_LOCKS / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.suppress(OSError), socket.socket() as probe:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe.bind(("127.0.0.1", port))
            return port  # the lock stays open
        os.close(lock)
    raise AssertionError("every port is taken")


@dataclass(slots=True)
class Proxy:
    """A running proxy."""

    home: Path
    process: subprocess.Popen[bytes]
    log: Path
    """Everything that the process wrote to standard output and error."""
    environment: Mapping[str, str]
    port: int = 0
    ports: Mapping[str, int] = field(default_factory=dict)
    """Of reverse modes, by provider."""
    token: str = field(default="", repr=False)

    def url(self, provider: str = "") -> str:
        """The base URL that a person configures for a provider."""
        if provider in self.ports:
            return f"http://127.0.0.1:{self.ports[provider]}"
        return f"http://127.0.0.1:{self.port}" + (f"/{provider}" if provider else "")

    def metrion(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command in the proxy's home, in this process; returns what it printed."""
        done = in_this_process(*arguments, stdin=stdin or "", environment=self.environment)
        assert done.status == 0, done.err
        return done.out.replace("\r\n", "\n")

    def events(self, query: str = "SELECT * FROM events ORDER BY event_id") -> list[dict[str, Any]]:
        """Ask SQL: the values of ``metrion sql --format json``, without a process for each of many questions."""
        table = store.ask(self.home / "journal", self.home / "usage.duckdb", query)
        rows: list[dict[str, Any]] = json.loads(as_json(table))
        return rows

    def event(self, label: str) -> dict[str, Any]:
        """The one event of the request labelled so, waited for."""
        query = f"SELECT * FROM events WHERE user_label = '{label}'"  # noqa: S608 -- the tests' own labels
        (event,) = eventually(lambda: self._from_journal(label) or self.events(query))
        return event

    def _from_journal(self, label: str) -> list[dict[str, Any]]:
        """The same rows, if they are not ingested yet. To ask DuckDB takes a sixth of a second of a core."""
        said = f'"user_label":{json.dumps(label, ensure_ascii=False)}'.encode()
        table = Table(tuple(schema.COLUMN_TYPES), tuple(schema.COLUMN_TYPES.values()), [])
        for path in (self.home / "journal").glob("*.ndjson"):
            with contextlib.suppress(FileNotFoundError):  # ingested just now
                *lines, _ = path.read_bytes().split(b"\n")
                table.rows.extend(follow.values(json.loads(line)) for line in lines if said in line)
        rows: list[dict[str, Any]] = json.loads(as_json(table))
        return rows

    def health(self) -> dict[str, Any]:
        """What ``GET /health`` says, of all workers together."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/health")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def workers(self) -> set[int]:
        """The ids of the worker processes."""
        return {worker["pid"] for worker in self.health()["workers"]}

    def resident_bytes(self) -> int:
        """What the workers hold of the machine's memory, all together."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self.workers()]
        return sum(int(status.partition("VmRSS:")[2].split()[0]) for status in statuses) * 1024

    def kill(self) -> None:
        """Kill -9 of the whole process group: proxy and ingester."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, *, timeout: float = 40) -> int:
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(timeout)


@dataclass(frozen=True, slots=True)
class Result:
    status: int
    out: str
    err: str


def in_this_process(*arguments: str, stdin: str | bytes = b"", environment: Mapping[str, str]) -> Result:
    """Run ``metrion`` here: for what is not about processes, since one takes half a second of a core to start.

    Beside the test that runs, it is a process all the same: output is captured for the whole process.
    """
    if threading.current_thread() is not threading.main_thread():
        sent = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run([*METRION, *arguments], env=environment, input=sent, capture_output=True, check=False)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())
    gone = {name: None for name in os.environ if name.startswith("METRION_")}
    with CliRunner().isolation(stdin, gone | dict(environment)) as (out, err, _):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["metrion", *arguments])
            status = _status_of(main)
        return Result(status, out.getvalue().decode(), err.getvalue().decode())


def _status_of(program: Callable[[], object]) -> int:
    try:
        program()
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("it did not end")


def upstreams(simulator: Simulator) -> dict[str, Any]:
    """The configuration that puts the simulator in every provider's place, by path prefix."""
    return {"providers": {provider: {"upstream": simulator.upstream(provider)} for provider in PROVIDERS}}


def prepare_home(home: Path, config: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Make a home with a configuration; returns the environment that leads there and to nothing else."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if config is not None:
        (home / "metrion.yaml").write_text(yaml.safe_dump(dict(config)))
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    return kept | {"METRION_HOME": str(home), "PYTHONUNBUFFERED": "1"}


def store_keys(home: Path, environment: Mapping[str, str], *, keys: bool = True) -> str:
    """Store a key for each provider and make a token; returns it. The first in a home is named ``tests``."""
    control = ControlStore.open(load_settings(None, environment))
    for provider, key in STORED_KEYS.items() if keys else ():
        control.set_key(provider, key)
    return control.create_token(None if control.tokens() else "tests").secret


@contextlib.contextmanager
def running_serve(
    home: Path,
    config: Mapping[str, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    keys: bool = True,
    port: int = 0,
) -> Iterator[Proxy]:
    """Run ``metrion serve`` for the length of the block, with a token and, with ``keys``, a key for each provider."""
    environment = prepare_home(home, config) | dict(environment or {})
    token = store_keys(home, environment, keys=keys)
    command = [*METRION, "serve", "--port", str(port), *arguments]
    with _running(home, command, environment) as proxy:
        proxy.token = token
        listening = eventually(
            lambda: re.search(r"listens on https?://[^ ]*:(\d+)", proxy.log.read_text()),
            until=lambda found: found or proxy.process.poll() is not None,
        )
        assert listening, proxy.log.read_text()
        proxy.port = int(listening[1])
        yield proxy


@contextlib.contextmanager
def running_mitmdump(
    home: Path, simulator: Simulator, *, arguments: Sequence[str] = (), program: Sequence[str] = MITMDUMP
) -> Iterator[Proxy]:
    """Run ``mitmdump -s`` with one reverse mode per provider. The simulator needs ``port_per_provider=True``."""
    config = {
        "providers": {provider: {"upstream": simulator.upstream_by_port(provider)} for provider in PROVIDERS},
        "plans": {"pro": {"requests_per_minute": 0}},  # many tests share one
    }
    ports = {provider: free_port() for provider in PROVIDERS}
    command = [*program, "-s", str(ROOT / "addon" / "metrion_addon.py"), "--set", f"confdir={home / 'mitmproxy'}"]
    for provider, port in ports.items():
        command += ["--mode", f"reverse:{simulator.upstream_by_port(provider)}@127.0.0.1:{port}"]
    with running_proxy(home, [*command, *arguments], config, ports=ports.values()) as proxy:
        proxy.ports = ports
        yield proxy


@contextlib.contextmanager
def running_by_path(
    home: Path,
    config: Mapping[str, Any],
    mode: str,
    *,
    arguments: Sequence[str] = (),
    program: Sequence[str] = MITMDUMP,
) -> Iterator[Proxy]:
    """Run ``mitmdump -s`` in one mode on one port."""
    port = free_port()
    command = [*program, "-s", str(ROOT / "addon" / "metrion_addon.py"), "--set", f"confdir={home / 'mitmproxy'}"]
    command += ["--mode", mode.format(port=port), *arguments]
    with running_proxy(home, command, config, ports=[port]) as proxy:
        proxy.port = port
        yield proxy


@contextlib.contextmanager
def running_proxy(
    home: Path, command: Sequence[str], config: Mapping[str, Any], *, ports: Iterable[int]
) -> Iterator[Proxy]:
    """Run any program with the addon for the length of the block, with a token and a key for each provider."""
    environment = prepare_home(home, config)
    token = store_keys(home, environment)
    with _running(home, command, environment) as proxy:
        proxy.token = token
        for port in ports:
            eventually(lambda port=port: accepts(port) or proxy.process.poll() is not None)  # type: ignore[misc]
        assert proxy.process.poll() is None, proxy.log.read_text()
        yield proxy


@contextlib.contextmanager
def _running(home: Path, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Proxy]:
    runs = len(list(home.parent.glob(f"{home.name}-*.log")))
    log = home.parent / f"{home.name}-{runs + 1}.log"
    with log.open("xb") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=home,
        )
    proxy = Proxy(home, process, log, environment)
    try:
        yield proxy
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def cpu_seconds(pids: Iterable[int]) -> float:
    """How long these processes have worked so far. It says what they do, whatever else the machine is busy with."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def undelayed(pids: Iterable[int]) -> float:
    """The time that passes, without what these processes have waited for a core that the machine gave to others."""
    delays = [Path(f"/proc/{pid}/schedstat").read_text().split()[1] for pid in pids]
    return time.monotonic() - sum(map(int, delays)) / 1e9


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def printed_token(text: str) -> str:
    """The first Metrion token in a program's output."""
    found = _TOKEN.search(text)
    assert found, text
    return found[0]
