"""The command ``metrion``: arguments in, an exit status out (0, 1 failed, 2 bad usage).

A command's module is imported when the command runs, so that ``metrion --help`` costs neither mitmproxy nor duckdb.
Errors are one line on standard error with the way out. What never happens: a traceback, or a token or key in an error,
even where a person typed one in the wrong place.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
import traceback
from collections.abc import Mapping
from typing import NamedTuple, cast

import click
from click.shell_completion import CompletionItem

from metrion import __version__
from metrion.errors import MetrionError


class Entry(NamedTuple):
    """Where a command is, its line in ``metrion --help``, and the heading above that line."""

    module: str
    attribute: str
    help: str
    section: str = "More"


_FIRST, _SPENT, _UPKEEP = "First steps", "What was spent", "Upkeep"

COMMANDS: Mapping[str, Entry] = {
    "demo": Entry("metrion.cli.demo", "demo", "Try everything with no key and no network.", _FIRST),
    "key": Entry("metrion.cli.key", "key", "Store, list, replace and remove provider keys.", _FIRST),
    "run": Entry("metrion.cli.run", "run", "Run a command so that its calls are metered.", _FIRST),
    "serve": Entry("metrion.cli.serve", "serve", "Run the proxy.", _FIRST),
    "token": Entry("metrion.cli.token", "token", "Make, list, change, rotate and revoke callers' tokens.", _FIRST),
    "dashboard": Entry(
        "metrion.cli.dashboard", "dashboard", "Show everything metered as pages, on a port of its own.", _SPENT
    ),
    "reconcile": Entry(
        "metrion.cli.reconcile", "reconcile", "Compare what providers say they billed with what was metered.", _SPENT
    ),
    "report": Entry(
        "metrion.cli.report", "report", "Answer an everyday question about everything metered so far.", _SPENT
    ),
    "show": Entry("metrion.cli.show", "show", "Show one request, and why it cost what it did.", _SPENT),
    "sql": Entry("metrion.cli.sql", "sql", "Ask SQL (DuckDB's) about everything metered so far.", _SPENT),
    "tail": Entry("metrion.cli.tail", "tail", "Show requests as they are metered.", _SPENT),
    "today": Entry("metrion.cli.today", "today", "Say in one line what was spent today.", _SPENT),
    "account": Entry("metrion.cli.account", "account", "Make, list, change and remove accounts.", _UPKEEP),
    "admin": Entry("metrion.cli.admin", "admin", "Make, list and revoke the tokens that open the dashboard.", _UPKEEP),
    "alert": Entry("metrion.cli.alert", "alert", "Watch spend, errors and more; send a message at a limit.", _UPKEEP),
    "api": Entry("metrion.cli.api", "api", "Serve the admin API under /admin/v1, on a port of its own.", _UPKEEP),
    "audit": Entry(
        "metrion.cli.audit", "audit", "Show who changed accounts, tokens, keys and more, and when.", _UPKEEP
    ),
    "budget": Entry("metrion.cli.budget", "budget", "Set, list and remove budgets.", _UPKEEP),
    "guard": Entry("metrion.cli.guard", "guard", "Bound what a token or account uses in a minute.", _UPKEEP),
    "ca": Entry("metrion.cli.ca", "ca", "Show the authority that HTTPS_PROXY needs, and how to trust it.", _UPKEEP),
    "completion": Entry(
        "metrion.cli.completion",
        "completion",
        "Print what makes a shell complete commands, options and names.",
        _UPKEEP,
    ),
    "doctor": Entry(
        "metrion.cli.doctor", "doctor", "Check configuration, keys, prices, journal, store and proxy.", _UPKEEP
    ),
    "health": Entry("metrion.cli.health", "health", "Say whether a proxy of this home serves.", _UPKEEP),
    "prices": Entry("metrion.cli.prices", "prices", "Show what models cost, and take a newer price file.", _UPKEEP),
    "reload": Entry("metrion.cli.reload", "reload", "Have running proxies take a changed configuration.", _UPKEEP),
    "reprice": Entry("metrion.cli.reprice", "reprice", "Price events again by the current price files.", _UPKEEP),
}

_SECRET = re.compile(r"(?<![A-Za-z0-9])(?:sk-|xai-|AIza)[A-Za-z0-9_-]{16,}")
"""What tokens and most providers' keys look like. Where a person may type another key, no message repeats it."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What controls a terminal, but for tabs and ends of lines."""


class LazyGroup(click.Group):
    """A group whose commands are :data:`COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Name the commands, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- click's signature
        """Import a command; ``None`` where there is none of this name."""
        entry = COMMANDS.get(cmd_name)
        return entry and cast("click.Command", getattr(importlib.import_module(entry.module), entry.attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that ``args`` begin with, and suggest one when it is nearly right."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command. Here, and nowhere else, an error of Metrion becomes a line and the exit status 1."""
        try:
            return super().invoke(ctx)
        except MetrionError as error:
            raise click.ClickException(str(error)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's
        """Write the list of commands, by heading, without importing them."""
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                width = max(map(len, COMMANDS))  # one column for all headings
                rows = [
                    (f"{name:<{width}}", entry.help) for name, entry in COMMANDS.items() if entry.section == section
                ]
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command without importing any."""
        options = click.Command.shell_complete(self, ctx, incomplete)
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        return [*(CompletionItem(name, help=COMMANDS[name].help) for name in names), *options]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="metrion %(version)s")
def commands() -> None:
    """Meter what LLM APIs are used for: keep your SDK, change the base URL, ask SQL what was spent.

    \b
      metrion demo              see it work, with no key and no network
      metrion key set openai    store the key of a provider
      metrion serve             run the proxy; it prints a token and the base URLs
      metrion report            what was spent

    `metrion COMMAND --help` has examples. Everything that is kept is under $METRION_HOME (~/.metrion), and
    `metrion doctor` says what is wrong with it.
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines


def main() -> None:
    """Run the command of ``sys.argv`` and leave with its exit status."""
    status = _run()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # The error is printed already; what is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _run() -> int:
    try:
        status = commands.main(prog_name="metrion", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # here a full disk or a closed pipe can still be reported
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        _complain(shown.getvalue())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 1
    except BrokenPipeError:
        return 1  # the reader has left, as `head` does
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"Error: {where}{error.strerror or error}")
        return 1
    except Exception as error:  # noqa: BLE001 -- the last resort: a line instead of a traceback
        if os.environ.get("METRION_DEBUG"):
            _complain(traceback.format_exc())
        _complain(f"Error: unexpected {type(error).__name__}: {error} (METRION_DEBUG=1 shows where)")
        return 1
    return status if isinstance(status, int) else 0


def _complain(text: str) -> None:
    # Masked here, not by `admission.mask`: what reports a failed import must not import.
    # An error may quote what a caller chose, which must not control the terminal.
    shown = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    click.echo(_SECRET.sub("***", shown).rstrip("\n"), err=True)
