"""The walks of CONTRIBUTING.md: the files they name are there, and what they show works in a copy of the project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT, blocks, sections

PAGE = ROOT / "CONTRIBUTING.md"
PACKAGE = ROOT / "addon" / "metrion"
WALKS = {name: text for name, text in sections(PAGE).items() if name.startswith("Add ")}

_STEP = re.compile(r"^(\d+)\. ", re.MULTILINE)
_FILE = re.compile(r"`((?:addon|docs|scripts|tests)/[\w./-]+|[A-Z]+\.md)`")


def named(text: str) -> list[str]:
    return list(dict.fromkeys(_FILE.findall(text)))


def every_named_file() -> list[Any]:
    return [pytest.param(walk, file) for walk, text in WALKS.items() for file in named(text)]


# --- what is named is there -------------------------------------------------------------------------------------------


def test_the_walks() -> None:
    assert set(WALKS) == {
        "Add a provider", "Add a wire format", "Add a column", "Add a command", "Add a key to the configuration",
        "Add a policy", "Add a page",
    }  # fmt: skip


@pytest.mark.parametrize("walk", WALKS)
def test_the_steps_of_a_walk_are_in_order_and_name_files(walk: str) -> None:
    numbers = [int(number) for number in _STEP.findall(WALKS[walk])]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(named(WALKS[walk])) >= 4


@pytest.mark.parametrize(("walk", "file"), every_named_file())
def test_a_file_that_a_walk_names_is_there(walk: str, file: str) -> None:
    assert (ROOT / file).exists(), f"{walk} sends people to {file}"


def test_every_room_is_where_things_are_and_no_other() -> None:
    (tree,) = (block for block in blocks(PAGE) if block.section == "Where things are")
    listed = {name.removesuffix(".py") for name in re.findall(r"^ {4}(\w+(?:\.py)?)/? ", tree.text, re.MULTILINE)}
    rooms = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert listed == {name for name in rooms if not name.startswith("__")}


# --- the walks, gone --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the project to walk in."""

    root: Path

    def insert(self, file: str, text: str, *, after: str) -> None:
        """Insert a text behind the only place where another is."""
        path = self.root / file
        before = path.read_text("utf-8")
        assert before.count(after) == 1, f"{after!r} is {before.count(after)} times in {file}"
        path.write_text(before.replace(after, after + text), "utf-8")

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the copy's package."""
        environment = {"PYTHONPATH": f"{self.root / 'addon'}:{self.root}", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    def says(self, program: str) -> list[str]:
        """The words that a program prints."""
        ran = self.python("-c", program)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.split()

    def test(self, *tests: str) -> str:
        """What pytest says of some of the copy's tests, the last line of it first."""
        ran = self.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests)
        return "\n".join(reversed(ran.stdout.strip().splitlines()))


NOT_COPIED = {"__pycache__", "node_modules"}


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    def unneeded(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name in NOT_COPIED or (name.startswith(".") and Path(folder) == ROOT)}

    shutil.copytree(ROOT, tmp_path / "project", ignore=unneeded)
    return Copy(tmp_path / "project")


def shown(walk: str, first: str) -> str:
    """The block of a walk that begins with this line, without it."""
    (text,) = (block.text for block in blocks(PAGE) if block.section == walk and block.text.startswith(f"# {first}\n"))
    return text.partition("\n")[2]


ROUTE = """
from metrion.admission.routing import Router
from metrion.model import Inbound
from metrion.settings import load_settings
found = Router(load_settings(None, {"METRION_HOME": "/nowhere"})).route(Inbound(b"POST", b"/acme/chat/completions", ()))
print(found.provider, found.upstream.host, found.target.decode(), found.dialect)
"""


def test_a_provider_is_a_row(copy: Copy) -> None:
    table = "PROVIDERS: Mapping[str, Provider] = {\n"
    copy.insert("addon/metrion/providers.py", shown("Add a provider", "a row of PROVIDERS"), after=table)
    assert copy.says(ROUTE) == ["acme", "api.acme.test", "/v1/chat/completions", "openai_chat"]
    failed = copy.test("tests/test_providers.py", "tests/test_docs.py", "-k", "five_providers or variable or way_to")
    assert "4 failed" in failed.splitlines()[0], failed


TAP = r"""
from metrion.metering.tap import Tap
tap = Tap("acme", content_type="text/event-stream", content_encoding=None, status=200)
tap.feed(b'data: {"model": "acme-1", "ended": null, "usage": null}\n\n')
tap.feed(b'data: {"ended": "done", "usage": {"read": 9, "cached": 4, "written": 5}}\n\ndata: [DONE]\n\n')
tap.finish()
found = tap.reading
print(found.model, found.terminal, found.usage.input_tokens, found.usage.cache_read_tokens, found.usage.output_tokens)
"""


def test_a_wire_format_is_a_file_and_a_row(copy: Copy) -> None:
    (copy.root / "addon/metrion/dialects/acme.py").write_text(
        shown("Add a wire format", "a new file: addon/metrion/dialects/acme.py"), "utf-8"
    )
    table = "addon/metrion/dialects/__init__.py"
    copy.insert(table, "from metrion.dialects import acme\n", after="from collections.abc import Mapping\n")
    copy.insert(table, "        acme.DIALECT,\n", after="        anthropic_batches.DIALECT,\n")
    assert copy.says(TAP) == ["acme-1", "True", "9", "4", "5"]
    assert "1 failed" in copy.test("tests/test_slice.py", "-k", "every_wire_format").splitlines()[0]


def test_a_column_is_a_field(copy: Copy) -> None:
    last = "    queued_ms: Double | None = None\n"
    copy.insert("addon/metrion/model/event.py", shown("Add a column", "the last field of Event"), after=last)
    checks = ("tests/store/test_schema.py", "tests/journal/test_lines.py", "tests/test_docs.py", "-k", "column or line")
    assert "1 failed" in (undocumented := copy.test(*checks)).splitlines()[0], undocumented
    assert "test_every_column_is_documented" in undocumented
    lines = (copy.root / "docs/events.md").read_text("utf-8").splitlines(keepends=True)
    (last,) = (line for line in lines if line.startswith("| `queued_ms`"))
    copy.insert("docs/events.md", "| `reasoning_effort` | VARCHAR | how hard it was told to think |\n", after=last)
    assert "failed" not in copy.test(*checks).splitlines()[0]


COMMAND = '''
"""A greeting."""

import click


@click.command()
def hello() -> None:
    """Greet."""
    click.echo("Hello")
'''


def test_a_command_is_a_file_and_a_row(copy: Copy) -> None:
    (copy.root / "addon/metrion/cli/hello.py").write_text(COMMAND, "utf-8")
    table = "COMMANDS: Mapping[str, Entry] = {\n"
    row = '    "hello": Entry("metrion.cli.hello", "hello", "Greet."),\n'
    copy.insert("addon/metrion/cli/__init__.py", row, after=table)
    assert copy.python("-m", "metrion", "hello").stdout == "Hello\n"
    assert "1 failed" in copy.test("tests/test_docs.py", "-k", "every_command_has").splitlines()[0]


def test_a_page_is_led_to(copy: Copy) -> None:
    (copy.root / "docs/new.md").write_text("# New\n", "utf-8")
    reached: Callable[[], str] = lambda: copy.test("tests/test_docs.py", "-k", "reached_from").splitlines()[0]  # noqa: E731 -- asked twice
    assert "1 failed" in reached()
    copy.insert("README.md", "\n[New](docs/new.md)\n", after="[CONTRIBUTING.md](CONTRIBUTING.md) says how to")
    assert "1 passed" in reached()
