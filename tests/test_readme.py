"""Every code block of the README, of the pages for newcomers and of the recipes, run as its reader runs it.

:mod:`tests.sitting` says how. A section (``##``) is one sitting. A section without a server of its own has ``metrion
serve`` running, and every section but the first of the README has what that one leaves: an active ``.venv``,
``METRION_TOKEN``, and a key for each provider. Programs that a page is about are installed by :mod:`tests.clients`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from metrion.estimates.tokenizers import is_available
from tests.clients import programs_of, streamed_responses
from tests.pages import ROOT, Block, blocks, sections, text_of
from tests.processes import free_port, printed_token
from tests.simulated import Simulator
from tests.sitting import OPENAI, TYPED_KEY, Sitting, compare, is_server
from tests.tls import Terminator, tls_in_front_of

README = ROOT / "README.md"
RECIPES = ROOT / "docs" / "recipes"
CLIENTS = {
    "claude-code": "claude", "codex": "codex", "aider": "aider", "llm": "llm", "langchain": "langchain",
    "llamaindex": "llamaindex",
}  # fmt: skip
"""What the blocks of a recipe need, by the name of its page."""
PAGES = [
    README,
    ROOT / "docs" / "first-hour.md",
    ROOT / "docs" / "modes.md",
    *(RECIPES / f"{name}.md" for name in ("python", "typescript", "ai-sdk", "curl", *CLIENTS)),
]
FIRST = "A first metered call"
LOGIN = {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-a-login-of-the-readers-own"}

GOOGLE_GENAI = "google-genai==3.4.0"

SECTIONS = list(dict.fromkeys((page, block.section) for page in PAGES for block in blocks(page)))


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
def test_section_works_as_written(page: Path, section: str, sitting: Sitting, request: pytest.FixtureRequest) -> None:
    here = [block for block in blocks(page) if block.section == section]
    programs = programs_of(CLIENTS[page.stem]) if page.stem in CLIENTS else None
    _get_what_it_needs(here, sitting, request)
    if section == "Development":
        _make_small(sitting.folder)
    if section != FIRST:
        sitting.settle()
    if programs:
        _put_on_path(programs, page.stem, section, sitting)
    if not any(is_server(block) for block in here):
        sitting.serve("metrion serve")
    shown: Path | str | None = None
    for block in here:
        if block.language == "text":
            assert shown is not None, f"{block}: nothing was run before it"
            compare(block, shown)
        elif block.language in ("yaml", "toml"):
            sitting.write(block)
        elif is_server(block):
            shown = sitting.serve(block.text)
        else:
            shown = sitting.run(block)


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


def _put_on_path(programs: Path, page: str, section: str, sitting: Sitting) -> None:
    """Have what a recipe is about, without the questions that it would ask a person."""
    sitting.environment["PATH"] = f"{programs}:{sitting.environment['PATH']}"
    if section == "With a subscription":
        sitting.client |= LOGIN
    if page == "codex":
        (header, value), *_ = sitting.simulator.select(streamed_responses()).items()
        sitting.additions["config.toml"] = f"http_headers = {{\"{header}\" = '{value}'}}\n"
    if page == "aider":
        quiet = ("GIT", "CHECK_UPDATE", "SHOW_MODEL_WARNINGS", "ANALYTICS")
        sitting.client |= {"AIDER_YES_ALWAYS": "true", **{f"AIDER_{name}": "false" for name in quiet}}


# --- what the pages say beside their blocks ---------------------------------------------------------------------------


@pytest.mark.skipif(not is_available(), reason="there is no tokenizer: pip install 'metrion[estimates]'")
def test_without_stream_options_the_cost_is_an_estimate(sitting: Sitting) -> None:
    (block,) = (block for block in blocks(RECIPES / "python.md") if "stream=True" in block.text)
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
        assert block.language in {"sh", "python", "ts", "yaml", "toml", "text"}, f"{block}: of what language is it?"


def test_the_lines_of_the_readme_are_those_of_the_recipes() -> None:
    """So that they are run: the blocks of the recipes are."""
    table = sections(README)["I use …"]
    rows = re.findall(r"^\| \[[^]]+\]\((docs/recipes/[\w-]+\.md)\) \| (.+) \|$", table, re.MULTILINE)
    assert len(rows) == 10
    for recipe, lines in rows:
        written = "".join(block.text for block in blocks(ROOT / recipe))
        for line in re.findall(r"`([^`]+)`", lines):
            assert line in written or line == "config.toml", f"{recipe} does not have: {line}"


def test_the_readme_is_short_and_has_a_picture() -> None:
    assert len(text_of(README).splitlines()) <= 150
    (picture,) = re.findall(r"!\[[^]]+\]\((docs/[\w-]+\.svg)\)", text_of(README))
    assert "<title>" in (ROOT / picture).read_text()


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
