from __future__ import annotations

import inspect
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from metrion import __version__
from metrion.cli import COMMANDS, commands
from tests.cli.console import SCRIPT, Console

# --- help


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from walk(child, click.Context(child, parent=context, info_name=name))


def every_command(name: str) -> Iterator[tuple[click.Command, click.Context]]:
    root = click.Context(commands, info_name="metrion")
    top = commands.get_command(root, name)
    assert top is not None
    return walk(top, click.Context(top, parent=root, info_name=name))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_option_and_argument_has_help(name: str) -> None:
    for command, context in every_command(name):
        where = context.command_path
        assert command.get_short_help_str(), where
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{where} {parameter.opts[0]}"
            else:
                assert parameter.make_metavar(context).strip("[].") in (command.help or ""), f"{where} {parameter.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_a_configuration(name: str) -> None:
    for command, context in every_command(name):
        options = {option for parameter in command.params for option in parameter.opts}
        assert isinstance(command, click.Group) or "--config" in options, context.command_path


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_how_the_commands_own_help_begins(name: str) -> None:
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    assert (command.help or "").startswith(COMMANDS[name].help.removesuffix("."))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_every_example_is_one(name: str) -> None:
    for command, context in every_command(name):
        if isinstance(command, click.Group):
            continue
        _, mark, examples = inspect.cleandoc(command.help or "").partition("\nExamples")
        assert mark, context.command_path
        for line in examples.rstrip().splitlines()[1:]:
            substituted = re.search(r"\$\((.*?)\)", line)
            text = substituted[1] if substituted else line.rpartition("| ")[2]
            words = shlex.split(re.split(" [0-9]?[<>]", text)[0])
            path = context.command_path.split()
            assert words[: len(path)] == path, line
            command.make_context(name, words[len(path) :])  # fails as the command would


def test_the_first_steps_are_commands() -> None:
    for line in (commands.help or "").splitlines():
        if found := re.fullmatch(r" +metrion ([a-z]+ ?.*?)  +.*", line):
            assert found[1].split()[0] in COMMANDS


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help_lists_every_command(metrion: Console, arguments: tuple[str, ...]) -> None:
    result = metrion(*arguments)
    shown = result.out + result.err
    assert all(f"  {name} " in shown and entry.help in shown for name, entry in COMMANDS.items())
    assert not metrion.home.exists()


@pytest.mark.parametrize("arguments", [("token", "-h"), ("key", "set", "-h"), ("account", "create", "--help")])
def test_every_level_has_help(metrion: Console, arguments: tuple[str, ...]) -> None:
    # In a process: a command remembers the names of its help from whoever asked first.
    assert metrion(*arguments).out.startswith(f"Usage: metrion {' '.join(arguments[:-1])}")


def test_help_imports_nothing_heavy(metrion: Console) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "metrion", "--help"],
        capture_output=True,
        text=True,
        env=metrion.environment(),
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"mitmproxy", "duckdb", "pydantic", "cryptography", "tabulate", "yaml", "sqlite3", "asyncio"}


def test_version(metrion: Console) -> None:
    assert metrion.ok("--version") == f"metrion {__version__}\n"


# --- errors


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("tokn",), 2, "No such command 'tokn'. Did you mean 'token'?"),
        (("zzz",), 2, "No such command 'zzz'."),
        (("token", "crate"), 2, "Did you mean one of: 'create', 'rotate'?"),
        (("token", "create", "--rat", "5"), 2, "No such option '--rat'. (Did you mean one of: '--rate', '--tag'?)"),
        (("token", "revoke"), 2, "Missing argument 'NAME'."),
        (("token", "list", "--format", "xml"), 2, "'xml' is not one of 'table', 'json', 'csv'."),
        (("account", "create", "team", "--plan", "gold"), 2, "'gold' is not one of 'free', 'pro'."),
        (("account", "set", "default"), 2, "Missing option '--plan'. Choose from:"),
        (("token", "list", "--config", "/nowhere/metrion.yaml"), 1, "Error: /nowhere/metrion.yaml: no such file"),
        (("token", "create", "--account", "nobody"), 1, "`metrion account create nobody` makes one"),
    ],
)
def test_errors_say_what_is_wrong_and_the_way_out(
    metrion: Console, arguments: tuple[str, ...], status: int, message: str
) -> None:
    result = metrion(*arguments)
    assert (result.status, result.out) == (status, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_a_mistake_in_the_configuration_is_one_line(metrion: Console, tmp_path: Path) -> None:
    file = tmp_path / "metrion.yaml"
    file.write_text("listn: 127.0.0.1:1\n")
    for extra, env in ((("--config", str(file)), {}), ((), {"METRION_CONFIG": str(file)})):
        result = metrion("token", "list", *extra, env=env)
        assert result.status == 1
        assert re.fullmatch(rf"Error: {file}: listn: .*\n", result.err)


def test_a_home_that_cannot_be_made_is_one_line(metrion: Console) -> None:
    result = metrion("account", "list", env={"METRION_HOME": "/dev/null/home"})
    assert result.status == 1
    assert re.fullmatch(r"Error: /dev/null/home.* METRION_HOME\.\n", result.err)


def test_an_unexpected_error_is_one_line_and_a_traceback_only_on_request(metrion: Console, tmp_path: Path) -> None:
    secret = "sk-metrion-" + "a" * 43
    (tmp_path / "tabulate.py").write_text(f"raise LookupError('surprise {secret}')\n")
    for env, lines in (({}, 1), ({"METRION_DEBUG": "1"}, 10)):
        result = metrion("account", "list", env={"PYTHONPATH": str(tmp_path), **env})
        assert result.status == 1
        assert "Error: unexpected LookupError: surprise *** (METRION_DEBUG=1 shows where)" in result.err
        assert ("Traceback" in result.err) == bool(env)
        assert len(result.err.splitlines()) >= lines
        assert secret not in result.err


SECRETS = {
    "token": "sk-metrion-" + "a" * 43,
    "openai": "sk-proj-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c",
    "anthropic": "sk-ant-api03-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c",
    "google": "AIzaSy4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c",
    "xai": "xai-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c",
}


@pytest.mark.parametrize(
    ("before", "owner"),
    [
        *(((), owner) for owner in SECRETS),
        (("token", "create", "x"), "token"),
        (("token", "create", "--rate"), "openai"),
        (("token", "list", "--config"), "anthropic"),
        (("token", "list", "--format"), "xai"),
        (("account", "create", "x"), "google"),
    ],
)
def test_a_secret_typed_in_the_wrong_place_is_not_repeated(
    metrion: Console, before: tuple[str, ...], owner: str
) -> None:
    secret = SECRETS[owner]
    result = metrion(*before, secret)
    assert result.status in (1, 2)
    assert secret not in result.out + result.err


# --- the end of it


def test_a_reader_that_leaves_is_no_error_to_talk_about(metrion: Console) -> None:
    metrion.ok("token", "create")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [SCRIPT, "token", "list"], stdout=writing, stderr=subprocess.PIPE, env=metrion.environment(), check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line(metrion: Console) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [SCRIPT, "account", "list"], stdout=full, stderr=subprocess.PIPE, env=metrion.environment(), check=False
        )
    assert (done.returncode, done.stderr) == (1, b"Error: No space left on device\n")


def test_ctrl_c_ends_quietly(metrion: Console) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [SCRIPT, "key", "set", "openai"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=metrion.environment(),
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        prompt = b""
        while not prompt.endswith(b": "):
            prompt += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    os.close(controller)
    os.close(terminal)
    assert (process.returncode, out, err.strip()) == (1, b"", b"")


def test_python_dash_m_is_the_same_command(metrion: Console) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metrion", "tokn"],
        capture_output=True,
        text=True,
        env=metrion.environment(),
        check=False,
    )
    assert done.returncode == 2
    assert "Usage: metrion [OPTIONS]" in done.stderr
