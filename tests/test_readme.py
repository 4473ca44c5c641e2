"""Every code block of README.md and docs/modes.md, run as its reader runs it.

A section (``##``) is one sitting in a checkout of its own with a home of its own. Its blocks run in order:

- ``sh`` runs in bash, and what it exports stays for the blocks after it. One that begins with a program of ``SERVERS``
  runs until the end of the section, and is waited for. A key that a person would type comes from standard input.
- ``python`` runs with the Python of ``.venv``, ``ts`` with Node.
- ``yaml`` is written to the file that its first line names, in the home.
- ``text`` is what the block before it printed.

Only these things differ from what a reader does:

- The simulator is in the providers' place: by ``METRION_OPENAI_UPSTREAM`` and its like, as the target of a reverse
  mode, and as the server on port 8000. Where a block calls ``https://api.openai.com`` itself, the simulator is behind
  TLS, with a certificate that the server of the section trusts. Ports 8080 and 81xx are free ones instead.
- A section without a server of its own has ``metrion serve`` running, and every section but the first what the first
  leaves: an active ``.venv``, ``METRION_TOKEN``, and a key for each provider.
- For what calls the proxy, ``HTTP_PROXY`` leads nowhere, with ``NO_PROXY`` as the README says.
- What a ``text`` block shows is compared without what differs from run to run (``VARYING``) and without the width of
  columns. A line ``…`` stands for any number of lines.

A block that calls the proxy must leave new events, all of which succeeded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from metrion import store
from metrion.estimates.tokenizers import is_available
from metrion.providers import PROVIDERS, base_segment
from metrion.settings import Settings
from tests.pages import ROOT, Block, blocks
from tests.processes import eventually, free_port, prepare_home, printed_token, store_keys
from tests.simulated import Simulator
from tests.tls import Terminator, tls_in_front_of

README = ROOT / "README.md"
PAGES = [page for page in (README, ROOT / "docs" / "modes.md") if page.exists()]
FIRST = "A first metered call"
SERVERS = ("scripts/start", "metrion serve", "mitmdump", "mitmweb")
TYPED_KEY = "a-key-that-a-person-typed"
PASTED_KEY = "the-readers-own-provider-key"

EVENTS = "SELECT status, end_reason, error_type, path FROM events"
NOWHERE = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
INTERNET = {
    name: value
    for name, value in os.environ.items()
    if name.lower().startswith(("npm_config_", "https_proxy", "no_proxy", "ssl_cert", "node_extra_ca"))
} | {"npm_config_userconfig": str(Path.home() / ".npmrc")}
"""How packages are installed here."""

GOOGLE_GENAI = "google-genai==3.4.0"

PORT = re.compile(r"\b(8080|81\d\d|8000)\b")
TARGET = re.compile(r"(?<=reverse:)https?://([a-z.]+)")
OPENAI = "https://api.openai.com/"
VARYING = (
    (re.compile(r"sk-metrion-[\w…-]+"), "TOKEN"),
    (re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?"), "WHEN"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"-{2,}"), "--"),
    (re.compile(r" {2,}"), "  "),
)

SECTIONS = list(dict.fromkeys((page, block.section) for page in PAGES for block in blocks(page)))


class Sitting:
    """One section, read by one person."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder = folder
        self.home = folder.parent / ".metrion"
        self.ports = {"8000": simulator.ports["openai"]}
        self._simulator = simulator
        self._servers = list[subprocess.Popen[bytes]]()
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

    def settle(self) -> None:
        """Be where the first section ends."""
        token = store_keys(self.home, self.environment)
        activated = f"{self.folder / '.venv' / 'bin'}:{self.environment['PATH']}"
        self.environment |= {"METRION_TOKEN": token, "PATH": activated}

    def here(self, text: str) -> str:
        """A block's text with the addresses that hold here."""
        text = TARGET.sub(lambda found: self._simulator.upstream_by_port(_provider_at(found[1])), text)
        text = text.replace(OPENAI, self.environment["METRION_OPENAI_UPSTREAM"] + "/")
        return PORT.sub(lambda found: str(self.port(found[1])), text)

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
        calls = "127.0.0.1:" in block.text
        before = len(self.ask(EVENTS)) if calls else 0
        extra = self.client | (NOWHERE if calls else INTERNET)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | extra,
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
            self.environment |= {name: left[name] for name in left.keys() - extra.keys()}
        if calls:
            after = eventually(lambda: self.ask(EVENTS), until=lambda rows: len(rows) > before)
            assert {row[:2] for row in after} == {(200, "complete")}, f"{block}: {after}\n{output}"
        return output

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


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone as ``scripts/start`` leaves it, made of links."""
    folder = tmp_path / "metrion"
    (folder / ".venv").mkdir(parents=True)
    for entry in Path(sys.executable).parents[1].iterdir():
        (folder / ".venv" / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for name in ("addon", "pricing.yaml", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        (folder / name).symlink_to(ROOT / name)
    # Marks the development dependencies, which these tests run with, as installed.
    stamp = '. scripts/environment.sh; : >"$(stamp requirements-dev.lock)"'
    subprocess.run(["sh", "-c", stamp, "scripts/start"], cwd=folder, check=True)
    return folder


@pytest.fixture
def sitting(checkout: Path, simulator: Simulator) -> Iterator[Sitting]:
    sitting = Sitting(checkout, simulator)
    yield sitting
    sitting.close()


@pytest.mark.parametrize(
    ("page", "section"), SECTIONS, ids=[f"{page.stem}-{section.replace(' ', '_')}" for page, section in SECTIONS]
)
def test_section_works_as_written(
    page: Path, section: str, sitting: Sitting, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    here = [block for block in blocks(page) if block.section == section]
    _get_what_it_needs(here, sitting, request)
    if section == "Development":
        _make_small(sitting.folder)
    if section != FIRST:
        sitting.settle()
    if not any(_is_server(block) for block in here):
        sitting.serve("metrion serve")
    shown: Path | str | None = None
    for block in here:
        if block.language == "text":
            assert shown is not None, f"{block}: nothing was run before it"
            _compare(block, shown)
        elif block.language == "yaml":
            _write(block, sitting)
        elif _is_server(block):
            shown = sitting.serve(block.text)
        else:
            shown = sitting.run(block)


def _is_server(block: Block) -> bool:
    return block.language == "sh" and block.text.startswith(SERVERS)


def _compare(block: Block, shown: Path | str) -> None:
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


def _write(block: Block, sitting: Sitting) -> None:
    name = re.match(r"# ([\w-]+\.yaml)", block.text)
    assert name, f"{block}: its first line does not say which file it is"
    (sitting.home / name[1]).write_text(sitting.here(block.text))


def _provider_at(host: str) -> str:
    return next(name for name, entry in PROVIDERS.items() if entry.upstream.host == host)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


# --- what a section needs that is not here ----------------------------------------------------------------------------


def _get_what_it_needs(here: list[Block], sitting: Sitting, request: pytest.FixtureRequest) -> None:
    if any(block.language == "ts" for block in here):
        request.getfixturevalue("npm")
    if any("from google import genai" in block.text for block in here):
        sitting.client["PYTHONPATH"] = request.getfixturevalue("google_genai")
    if any(OPENAI in block.text for block in here):
        tls: Terminator = request.getfixturevalue("tls")
        upstream = f"https://localhost:{tls.port}"
        sitting.environment |= {"METRION_OPENAI_UPSTREAM": upstream, "SSL_CERT_FILE": str(tls.certificate)}


@pytest.fixture
def tls(simulator: Simulator, tmp_path: Path) -> Iterator[Terminator]:
    folder = tmp_path / "tls"
    folder.mkdir()
    with tls_in_front_of(simulator.ports["openai"], folder) as terminator:
        yield terminator


@pytest.fixture(scope="session")
def npm() -> None:
    """Node, and a registry to install packages from."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed, so TypeScript cannot be run")
    asked = subprocess.run(["npm", "view", "openai", "version"], capture_output=True, text=True, check=False)
    if asked.returncode:
        pytest.skip(f"no npm registry can be reached: {asked.stderr.strip()[:300]}")


@pytest.fixture(scope="session")
def google_genai(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with google-genai, which is no dependency of the project, apart from those that are."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metrion-tests"
    cached = caches / f"{GOOGLE_GENAI}-python{sys.version_info.major}.{sys.version_info.minor}"
    if not cached.exists():
        caches.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=caches))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", GOOGLE_GENAI]
        _need_package_index(tmp_path_factory.mktemp("pip"))
        subprocess.run([*command, "--target", folder], check=True, stderr=subprocess.DEVNULL)
        with contextlib.suppress(OSError):  # another test process was faster
            folder.rename(cached)
    return str(cached)


def _make_small(folder: Path) -> None:
    """Leave so little in a checkout that all checks of it take seconds: this test is one of them."""
    (folder / "addon").unlink()
    package = folder / "addon" / "metrion"
    package.mkdir(parents=True)
    for name in ("__init__.py", "py.typed", "faults.py"):
        shutil.copy(ROOT / "addon" / "metrion" / name, package)
    for script in folder.glob("scripts/*"):
        if script.is_dir():
            shutil.rmtree(script)
        elif script.name not in ("environment.sh", "test"):
            script.unlink()
    (folder / "tests").mkdir()
    (folder / "tests" / "test_faults.py").write_text(
        "from metrion.faults import log_fault\n\n\ndef test_sample() -> None:\n    assert callable(log_fault)\n"
    )


# --- what the README says beside its blocks ---------------------------------------------------------------------------


@pytest.mark.skipif(not is_available(), reason="there is no tokenizer: pip install 'metrion[estimates]'")
def test_without_stream_options_the_cost_is_an_estimate(sitting: Sitting) -> None:
    (block,) = (block for block in blocks(README) if "stream=True" in block.text)
    asking = '    stream_options={"include_usage": True},\n'
    assert asking in block.text
    sitting.settle()
    sitting.serve("metrion serve")
    sitting.run(dataclasses.replace(block, text=block.text.replace(asking, "")))
    query = "SELECT usage_source, cost_source, cost_usd BETWEEN 0.00001 AND 0.00002 FROM events"
    assert sitting.ask(query) == [("estimated", "estimated", True)]


# --- the pages themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_or_compared(page: Path) -> None:
    assert blocks(page)
    for block in blocks(page):
        assert block.section, f"{block} is under no heading"
        assert block.language in {"sh", "python", "ts", "yaml", "text"}, f"{block}: of what language is it?"


# --- from nothing -----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(400)
def test_a_fresh_clone_has_its_first_metered_call_within_three_minutes(simulator: Simulator, tmp_path: Path) -> None:
    """With an environment of its own, installed from the lock file."""
    _need_package_index(tmp_path)
    began = time.monotonic()
    clone = tmp_path / "metrion"
    if (ROOT / ".git").exists():
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    else:
        shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*"))
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("METRION_")},
        "METRION_HOME": str(tmp_path / "home"),
        "METRION_OPENAI_UPSTREAM": simulator.upstream_by_port("openai"),
        "OPENAI_API_KEY": TYPED_KEY,
    }
    with subprocess.Popen(
        ["scripts/start", "--port", str(port)],
        cwd=clone,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as serve:
        assert serve.stdout is not None
        try:
            token = printed_token(next((line for line in serve.stdout if "sk-metrion-" in line), ""))
            call = [block for block in blocks(README) if block.section == FIRST and "curl" in block.text]
            curl = call[0].text[call[0].text.index("curl") :].replace("8080", str(port))
            subprocess.run(["bash", "-c", curl], env=environment | {"METRION_TOKEN": token}, check=True, timeout=30)
            rows = _answer(clone, environment, "SELECT status, input_tokens > 0 AS counted FROM events")
            took = time.monotonic() - began
        finally:
            serve.terminate()
    assert rows == [{"status": 200, "counted": True}]
    assert took < 180


def _need_package_index(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder / "pip"), "click"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        pytest.skip(f"no package index can be reached: {asked.stderr.strip()[-300:]}")


def _answer(clone: Path, environment: Mapping[str, str], query: str) -> object:
    command = [str(clone / ".venv" / "bin" / "metrion"), "sql", "--format", "json", query]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
