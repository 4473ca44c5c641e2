"""One section of a page, read by one person: its blocks run in a checkout and a home of their own.

- ``sh`` runs in bash, and what it exports stays for the blocks after it. One that begins with a program of ``SERVERS``
  runs until the end of the section, and is waited for. A key that a person would type comes from standard input, and
  ``sk-metrion-…`` is the token that the server before it has printed.
- ``python`` runs with the Python of ``PATH``, ``ts`` with Node.
- ``yaml`` and ``toml`` are written to the file that their first line names, in the home of Metrion or, after ``~/``, in
  that of the person.
- ``text`` is what the block before it printed.

Only these things differ from what a reader does:

- The simulator is in the providers' place: by ``METRION_OPENAI_UPSTREAM`` and its like, as the target of a reverse
  mode, and as the server on port 8000. Where a block calls ``https://api.openai.com`` itself, the simulator is behind
  TLS, with a certificate that the server of the section trusts. Ports 8080 and 81xx are free ones instead.
- For what calls the proxy, ``HTTP_PROXY`` leads nowhere, with ``NO_PROXY`` as the pages say.
- What a ``text`` block shows is compared without what differs from run to run (``VARYING``) and without the width of
  columns. A line ``…`` stands for any number of lines.

A block that calls the proxy must leave new events, all of which succeeded.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from metrion import store
from metrion.providers import PROVIDERS, base_segment
from metrion.settings import Settings
from tests.pages import Block
from tests.processes import eventually, free_port, prepare_home, printed_token, store_keys
from tests.simulated import Simulator

SERVERS = ("scripts/start", "metrion serve", "mitmdump", "mitmweb")
TYPED_KEY = "a-key-that-a-person-typed"
PASTED_KEY = "the-readers-own-provider-key"

_EVENTS = "SELECT status, end_reason, error_type, path FROM events"
NOWHERE = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
INTERNET = {
    name: value
    for name, value in os.environ.items()
    if name.lower().startswith(("npm_config_", "https_proxy", "no_proxy", "ssl_cert", "node_extra_ca"))
} | {"npm_config_userconfig": str(Path.home() / ".npmrc")}
"""How packages are installed here."""

_PORT = re.compile(r"\b(8080|81\d\d|8000)\b")
_TARGET = re.compile(r"(?<=reverse:)https?://([a-z.]+)")
OPENAI = "https://api.openai.com/"
VARYING = (
    (re.compile(r"sk-metrion-[\w…-]+"), "TOKEN"),
    (re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?"), "WHEN"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"-{2,}"), "--"),
    (re.compile(r" {2,}"), "  "),
)

_FILE = re.compile(r"# ((?:~/)?[\w./-]+\.(?:yaml|yml|toml))(?=[:\n])")
_CALLS = re.compile(r"^(?:curl|claude|codex|aider|llm|metrion run) ", re.MULTILINE)


def is_server(block: Block) -> bool:
    return block.language == "sh" and block.text.startswith(SERVERS)


class Sitting:
    """One section, read by one person. ``folder`` is the checkout, whose parent is the person's home."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder = folder
        self.home = folder.parent / ".metrion"
        self.ports = {"8000": simulator.ports["openai"]}
        self.simulator = simulator
        self._servers = list[subprocess.Popen[bytes]]()
        self._logs = list[Path]()
        upstreams = {
            f"METRION_{base_segment(name).upper()}_UPSTREAM": simulator.upstream_by_port(name) for name in PROVIDERS
        }
        self.environment = {
            **prepare_home(self.home, {"listen": f"127.0.0.1:{self.port('8080')}"}),
            **upstreams,
            "HOME": str(folder.parent),
            "BROWSER": "true",  # what mitmweb would open
        }
        # Ports that no block names.
        mitmproxy = folder.parent / ".mitmproxy"
        mitmproxy.mkdir()
        (mitmproxy / "config.yaml").write_text(f"web_port: {free_port()}\n")
        self.client = {"OPENAI_API_KEY": PASTED_KEY}
        """What the environment has beside, for the blocks alone."""
        self.additions = dict[str, str]()
        """What a file has beside what the page says, by its name."""

    def settle(self) -> None:
        """Be where the first section ends."""
        token = store_keys(self.home, self.environment)
        activated = f"{self.folder / '.venv' / 'bin'}:{self.environment['PATH']}"
        self.environment |= {"METRION_TOKEN": token, "PATH": activated}

    def here(self, text: str) -> str:
        """A block's text with the addresses that hold here."""
        if "sk-metrion-…" in text:
            text = text.replace("sk-metrion-…", printed_token(self._logs[-1].read_text()))
        text = _TARGET.sub(lambda found: self.simulator.upstream_by_port(_provider_at(found[1])), text)
        text = text.replace(OPENAI, self.environment["METRION_OPENAI_UPSTREAM"] + "/")
        return _PORT.sub(lambda found: str(self.port(found[1])), text)

    def port(self, written: str) -> int:
        return self.ports.setdefault(written, free_port())

    def run(self, block: Block) -> str:
        """Run a block to its end; returns all that it printed."""
        text = self.here(block.text)
        state = self.folder.parent / "state"
        match block.language:
            case "sh":
                command = ["bash", "-c", f"set -euo pipefail\n{text}\nenv -0 >'{state}'"]
            case "python":
                command = ["python", "-c", text]
            case "ts":
                (self.folder / "example.mjs").write_text(text)
                command = ["node", "example.mjs"]
            case _:
                raise AssertionError(f"{block}: nothing runs a block of {block.language!r}")
        calls = _CALLS.search(block.text) if block.language == "sh" else "127.0.0.1:" in block.text
        before = len(self.ask(_EVENTS)) if calls else 0
        around = NOWHERE if calls else INTERNET
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.client | self.environment | around,
            input=TYPED_KEY.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=200,
            check=False,
        )
        output = done.stdout.decode()
        assert done.returncode == 0, f"{block}: status {done.returncode}\n{output}"
        if block.language == "sh":
            left = dict(pair.split("=", 1) for pair in state.read_text().split("\0") if pair)
            given = self.client | around
            self.environment |= {name: value for name, value in left.items() if given.get(name) != value}
        if calls:
            after = eventually(lambda: self.ask(_EVENTS), until=lambda rows: len(rows) > before)
            assert {row[:2] for row in after} == {(200, "complete")}, f"{block}: {after}\n{output}"
        return output

    def write(self, block: Block) -> None:
        """Write the file that a block shows."""
        name = _FILE.match(block.text)
        assert name, f"{block}: its first line does not say which file it is"
        own = name[1].startswith("~/")
        path = self.folder.parent / name[1][2:] if own else self.home / name[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.here(block.text) + self.additions.get(path.name, ""))

    def ask(self, query: str) -> list[tuple[object, ...]]:
        settings = Settings(home=self.home)
        return store.ask(settings.journal_dir, settings.store_path, query).rows

    def serve(self, text: str) -> Path:
        """Start what runs until the end of the section; returns the file that its output goes to."""
        command = self.here(text)
        log = self.folder.parent / f"server-{len(self._servers)}.log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._servers.append(server)
        self._logs.append(log)
        for port in [int(found) for found in re.findall(r"\b\d{4,5}\b", command)] or [self.port("8080")]:
            eventually(lambda port=port: _accepts(port) or server.poll() is not None)  # type: ignore[misc]
        assert server.poll() is None, f"{text}\n{log.read_text()}"
        return log

    def close(self) -> None:
        for server in self._servers:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def compare(block: Block, shown: Path | str) -> None:
    expected = [_without_varying(line) for line in block.text.splitlines()]

    def printed() -> list[str]:
        text = shown.read_text() if isinstance(shown, Path) else shown
        return [_without_varying(line) for line in text.splitlines()]

    if isinstance(shown, Path):  # a server may still be on its way to say it
        with contextlib.suppress(AssertionError):
            eventually(printed, until=lambda lines: _matches(expected, lines))
    assert _matches(expected, printed()), f"{block} shows\n{block.text}\nbut printed was\n" + "\n".join(printed())


def _matches(expected: list[str], lines: list[str]) -> bool:
    pattern = "".join(r"(?:.*\n)*" if line == "…" else re.escape(line) + r"\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _without_varying(line: str) -> str:
    for pattern, name in VARYING:
        line = pattern.sub(name, line)
    return line.strip()


def _provider_at(host: str) -> str:
    return next(name for name, entry in PROVIDERS.items() if entry.upstream.host == host)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
