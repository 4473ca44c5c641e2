"""What the pages must say: every command, setting, variable, column and refusal there is, and no link into nothing."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
from pydantic import BaseModel

from metrion.admission.codes import KINDS
from metrion.admission.routing import Router
from metrion.cli import COMMANDS, commands
from metrion.endpoints import GOOGLE_PATHS, OPERATIONS, PATHS
from metrion.model import COLUMN_TYPES, EVENT_COLUMNS, Inbound, RefusalKind, Route
from metrion.providers import ALIASES, PROVIDERS
from metrion.reports import GROUPS
from metrion.settings import load_settings
from metrion.settings.reading import _File
from metrion.settings.secret_files import SECRETS
from tests.pages import ROOT, Block, anchors, blocks, links, pages, prose, sections, table_column, text_of

DOCS = ROOT / "docs"
SOURCES = [*sorted((ROOT / "addon").rglob("*.py")), *(file for file in (ROOT / "scripts").iterdir() if file.is_file())]
KNOWN_HOSTS = {
    "127.0.0.1",
    "api.deepseek.com",
    "api.groq.com",
    "api.perplexity.ai",
    "app.example.com",
    "example.com",
    "github.com",
    "keepachangelog.com",
    "localhost",
    "metrion",
    "metrion.example.com",
    "mine.openai.azure.com",
    "mitmproxy.org",
    "openrouter.ai",
    "semver.org",
    *(provider.upstream.host for provider in PROVIDERS.values()),
}
"""What a page may point at. Nobody should be sent to a package registry, or anywhere else, by the way."""

CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
URL = re.compile(r"https?://[^\s\"'`)>,};]+")


def _command_tree(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(command, info_name=name)
    if not isinstance(command, click.Group):
        yield name, command
        return
    for child in command.list_commands(context):
        found = command.get_command(context, child)
        assert found is not None
        yield from _command_tree(found, f"{name} {child}")


LEAVES = dict(_command_tree(commands, "metrion"))


def _options(command: click.Command) -> set[str]:
    options = [each for each in command.params if isinstance(each, click.Option)]
    return {name for each in options for name in (*each.opts, *each.secondary_opts)}


# --- commands ---------------------------------------------------------------------------------------------------------


def test_every_command_has_its_section_and_no_section_is_without_a_command() -> None:
    assert set(sections(DOCS / "commands.md")) == set(LEAVES)
    assert {name.split()[1] for name in LEAVES} == set(COMMANDS)


@pytest.mark.parametrize("name", LEAVES)
def test_options_of_a_command_are_those_that_it_has(name: str) -> None:
    section = sections(DOCS / "commands.md")[name]
    described = {span.split()[0] for cell in table_column(section) for span in CODE.findall(cell)}
    assert described == _options(LEAVES[name])
    for argument in (each for each in LEAVES[name].params if isinstance(each, click.Argument)):
        assert f"`{argument.human_readable_name.strip('[]').split('|')[0].upper()}`" in section or (
            isinstance(argument.type, click.Choice) and "`NAME`" in section
        )


def test_choices_of_an_option_are_in_its_line() -> None:
    for name, command in LEAVES.items():
        lines = sections(DOCS / "commands.md")[name].splitlines()
        for option in (each for each in command.params if isinstance(each, click.Option)):
            if isinstance(option.type, click.Choice):
                (line,) = (line for line in lines if line.startswith(f"| `{option.opts[-1]}"))
                assert set(option.type.choices) <= set(CODE.findall(line)), f"{name} {option.opts[-1]}"
    (by,) = (line for line in sections(DOCS / "commands.md")["metrion report"].splitlines() if "`--by`" in line)
    assert set(GROUPS) <= set(CODE.findall(by))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_a_page_names_are_there(page: Path) -> None:
    scripts = "\n".join(block.text for block in blocks(page) if block.language == "sh").replace("\\\n", " ")
    named = re.findall(r"(?:^|\| |\$\()(metrion [^|)>#\n]+)", scripts, re.MULTILINE)
    for line in (*named, *(span for span in CODE.findall(prose(page)) if span.startswith("metrion "))):
        # What stands after -- is another program's.
        words = [word for word in line.partition(" -- ")[0].split() if word not in ("…", "COMMAND")]
        name = next((name for name in (" ".join(words[:3]), " ".join(words[:2])) if name in LEAVES), None)
        group = any(leaf.startswith(" ".join([*words[:2], ""])) for leaf in LEAVES)
        assert name or (group and len(words) == 2) or words[1:2] in ([], ["--help"], ["--version"]), line
        used = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert name is None or used <= _options(LEAVES[name]) | {"--help"}, line


# --- configuration ----------------------------------------------------------------------------------------------------


def _keys(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Dotted names of everything that can be set; a name that people choose is NAME."""
    for field_name, field in model.model_fields.items():
        name = field.alias or field_name
        found = _model_in(field.annotation)
        if found is None:
            yield above + name
        else:
            by_name = typing.get_origin(field.annotation) in (dict, Mapping)
            yield from _keys(found, f"{above}{name}.{'NAME.' if by_name else ''}")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in typing.get_args(annotation) if (model := _model_in(part))), None)


def test_every_key_of_the_configuration_is_documented_and_no_other() -> None:
    described = {cell.strip("`") for cell in table_column(sections(DOCS / "configuration.md")["Keys"])} - {"key"}
    assert described == set(_keys(_File))


def _configured(section: str) -> Block:
    """The one YAML block of a section; without a name, of what stands before them all."""
    written = [block for block in blocks(DOCS / "configuration.md") if block.language == "yaml"]
    (block,) = (block for block in written if block.section == section)
    return block


def test_the_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    written = _configured("")
    file = tmp_path / "metrion.yaml"
    file.write_text(written.text)
    environment = {"METRION_HOME": str(tmp_path / "home")}
    assert load_settings(file, environment) == load_settings(None, environment).model_copy(update={"config_path": file})
    assert set(_File.model_fields) == {line.partition(":")[0] for line in written.text.splitlines() if line[0] != " "}


def test_the_documented_servers_get_the_paths_of_their_own_apis(tmp_path: Path) -> None:
    file = tmp_path / "metrion.yaml"
    file.write_text(_configured("Servers that speak like a provider").text)
    settings = load_settings(file, {"METRION_HOME": str(tmp_path)})
    router, addresses = Router(settings), set()
    for name in settings.providers.keys() - PROVIDERS.keys():
        found = router.route(Inbound(b"POST", f"/{name}/chat/completions".encode(), ()))
        assert isinstance(found, Route)
        addresses.add(f"{found.upstream.host}{found.target.decode()}")
    assert addresses == {
        "localhost/v1/chat/completions",
        "api.groq.com/openai/v1/chat/completions",
        "openrouter.ai/api/v1/chat/completions",
        "api.deepseek.com/v1/chat/completions",
        "api.perplexity.ai/chat/completions",
        "mine.openai.azure.com/openai/v1/chat/completions",
    }


def test_every_variable_is_documented() -> None:
    described = set(CODE.findall(sections(DOCS / "configuration.md")["Environment"]))
    read = {name for file in SOURCES for name in re.findall(r"\bMETRION_[A-Z]+\b(?!_)", file.read_text("utf-8"))}
    read |= {f"METRION_{name.upper()}_UPSTREAM" for name in (*PROVIDERS, *ALIASES)}
    read |= {provider.environment for provider in PROVIDERS.values()} | {f"{name}_FILE" for name in SECRETS}
    assert read <= described
    assert {name for name in described if name.isupper()} - {"METRION_NAME_UPSTREAM"} <= read


# --- what the proxy says and writes -----------------------------------------------------------------------------------


def test_every_column_is_documented_in_order_with_its_type() -> None:
    page = text_of(DOCS / "events.md")
    described = [
        (name.strip("`"), kind)
        for name, kind in zip(table_column(page, 0), table_column(page, 1), strict=True)
        if name != "column"
    ]
    assert described == list(COLUMN_TYPES.items())
    assert tuple(name for name, _ in described) == EVENT_COLUMNS


def test_every_refusal_is_documented_and_no_other() -> None:
    section = sections(DOCS / "requests.md")["What is refused"]
    described = [
        (int(status), code.strip("`"), LINK.sub(r"\1", because), CODE.findall(sends))
        for status, code, because, sends in zip(*(table_column(section, at)[1:] for at in range(4)), strict=True)
    ]
    assert described == [
        (kind.status, kind.code, kind.because, [header for header, is_sent in _headers_of(kind) if is_sent])
        for kind in KINDS
    ]


def _headers_of(kind: RefusalKind) -> list[tuple[str, bool]]:
    return [("x-should-retry: false", kind.lasting), ("retry-after", kind.retry_after)]


def test_what_is_read_is_what_has_a_dialect() -> None:
    section = sections(DOCS / "requests.md")["What is read"]
    rows = zip(table_column(section, 0), table_column(section, 1), strict=True)
    described = {path.strip("`"): operation.strip("`") for path, operation in rows if path.startswith("`")}
    assert described == {
        path: row.operation.name
        for table in (PATHS, GOOGLE_PATHS)
        for path, row in table.items()
        if row.post not in (None, "resource")  # of which the model and the id are read, and nothing is billed
    }


def test_paths_of_sessions_are_those_that_open_one() -> None:
    named = set(CODE.findall(sections(DOCS / "requests.md")["What is read"]))
    assert {path for path, row in PATHS.items() if row.session and "*" not in path} <= named
    assert {operation.name for operation in OPERATIONS.values() if operation.session} <= named


def test_every_way_to_a_provider_is_documented() -> None:
    paths = set(CODE.findall(sections(DOCS / "requests.md")["Paths"]))
    assert {f"/{name}/…" for name in (*PROVIDERS, *ALIASES)} <= paths


def test_the_tests_that_hold_a_promise_are_there() -> None:
    section = sections(DOCS / "security.md")["How each promise is tested"]
    named = [span for cell in table_column(section, 1)[1:] for span in CODE.findall(cell)]
    assert len(named) >= len(table_column(section)) - 1
    for name in named:
        file, _, test = name.partition("::")
        assert (ROOT / file).is_file(), name
        assert not test or re.search(rf"^(?:async )?def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), name


# --- every page -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        if urlsplit(link).scheme:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert target.is_relative_to(ROOT), f"{page.name} links out of the project: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}; there is {sorted(anchors(target))}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_only_known_hosts_are_pointed_at(page: Path) -> None:
    hosts = {urlsplit(url.replace("…", "")).hostname for url in URL.findall(text_of(page))}
    assert hosts <= KNOWN_HOSTS


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_code_that_a_page_quotes_is_the_code(page: Path) -> None:
    """A block whose first line names a file of the project is in that file, word for word."""
    for block in blocks(page):
        first, _, quoted = block.text.partition("\n")
        if named := re.fullmatch(r"# ((?:addon|tests|scripts)/\S+)", first):
            assert quoted in (ROOT / named[1]).read_text("utf-8"), f"{block} is not in {named[1]}"


def test_the_pages_are_all_reached_from_the_readme() -> None:
    """By links, over any number of pages."""
    reached, to_read = set[Path](), [ROOT / "README.md"]
    while to_read:
        page = to_read.pop()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            to_read += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link]
    assert set(pages()) <= reached


def test_every_decision_is_listed() -> None:
    listed = {link for link in links(DOCS / "decisions" / "README.md") if link[:4].isdigit()}
    assert listed == {file.name for file in (DOCS / "decisions").glob("0*.md")}
    for link in listed:
        title = text_of(DOCS / "decisions" / link).partition("\n")[0].removeprefix("# ")
        assert f"[{link[:4]}: {title}]({link})" in prose(DOCS / "decisions" / "README.md")
