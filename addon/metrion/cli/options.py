"""What commands share: options, types of arguments, completion of names, and how records are printed.

What imports cryptography, pydantic or DuckDB is imported where it is used, so that ``--help`` does not load it.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metrion.errors import ControlError, MetrionError

if TYPE_CHECKING:
    from metrion.control import ControlStore
    from metrion.reports import Span
    from metrion.serving.tls import ServerTls
    from metrion.settings import Settings


type Completion = Callable[[click.Context, click.Parameter, str], list[str]]
"""Completes the value of an option: its context, itself and what is typed so far in, what it may be out."""

ANSWER_FORMATS = ("table", "csv", "json", "markdown")
"""What ``--format`` offers where the answer is a table: the keys of :data:`metrion.cli.tables.FORMATS`."""


def settings_option[R](command: Callable[..., R]) -> Callable[..., R]:
    """Add ``--config FILE`` and pass what it configures as the keyword argument ``settings``."""

    @click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The configuration to use instead of $METRION_CONFIG or metrion.yaml in $METRION_HOME.",
    )
    @functools.wraps(command)
    def run(*args: object, config: Path | None, **kwargs: object) -> R:
        from metrion.settings import load_settings
        from metrion.settings.ownership import other_owner, user_name

        settings = load_settings(config, os.environ)
        if owner := other_owner(settings.home):
            me = user_name(os.geteuid())
            note(
                f"METRION_HOME {settings.home} belongs to another user ({owner}), and this is {me}: files that are "
                f"made there now belong to {me}, and {owner} may be locked out of them. Run this as {owner}."
            )
        return command(*args, settings=settings, **kwargs)

    return run


_MOMENTS = "2026-11-01, 2026-11-01T08:00Z, 90m, 24h, 7d or 2w ago, now, today, yesterday, month"


type Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(*options: Decorator) -> Decorator:
    """Add several options, which ``--help`` lists in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


tls_options = together(
    click.option(
        "--tls-cert",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Serve HTTPS with this certificate chain (PEM). Needs --tls-key.",
    ),
    click.option(
        "--tls-key",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The certificate's private key (PEM, not encrypted).",
    ),
    click.option(
        "--insecure",
        is_flag=True,
        help="Listen elsewhere than on this machine without TLS. Others can read what is sent, unless a proxy in front "
        "speaks TLS.",
    ),
)
"""``--tls-cert`` and ``--tls-key``, and ``--insecure`` for those that have neither."""


def web_options(port: int, who: str) -> Decorator:
    """Add ``--host``, ``--port``, ``--allow-host`` and the options of TLS. ``who``: they reach it by a name."""
    return together(
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=port,
            show_default=True,
            help="Port to listen on; 0 takes a free one.",
        ),
        click.option(
            "--allow-host",
            "hosts",
            metavar="NAME",
            multiple=True,
            help=f"A name by which {who} reach it, beside loopback and --host. May be repeated.",
        ),
        tls_options,
    )


def listening_tls(
    command: str, host: str, files: tuple[Path | None, Path | None], *, insecure: bool, protocols: Sequence[str]
) -> ServerTls | None:
    """Return with what a port is encrypted; ``None``: it is not, and may be so. ``command``: what was typed.

    :raises ServeError: others could read what is sent, or the certificate cannot be used.
    """
    from metrion.serving.listening import check_encrypted
    from metrion.serving.tls import ServerTls

    certificate, key = files
    if certificate and key:
        return ServerTls(certificate, key, protocols)
    if certificate or key:
        raise click.UsageError("--tls-cert and --tls-key go together; give both.")
    if not insecure:
        check_encrypted(command, host)
    return None


def span_options[R](command: Callable[..., R]) -> Callable[..., R]:
    """Add ``--since`` and ``--until``, passed as they were typed: :func:`read_span` reads them."""
    since = click.option("--since", help=f"From when on: {_MOMENTS}.")
    until = click.option("--until", help="Up to this moment, not including it; as --since.")
    return since(until(command))


def read_span(since: str | None, until: str | None, timezone: tzinfo = UTC) -> Span:
    """Read ``--since`` and ``--until``. What is not a moment, and a span that nothing can be in, are bad usage."""
    from metrion.reports import Span

    start, end = _moment(since, timezone, "--since"), _moment(until, timezone, "--until")
    if start and end and end <= start:
        raise click.UsageError(f"--until ({end:%Y-%m-%d %H:%M} UTC) is not after --since ({start:%Y-%m-%d %H:%M} UTC)")
    return Span(since=start, until=end)


def _moment(text: str | None, timezone: tzinfo, option: str) -> datetime | None:
    from metrion import reports

    try:
        return None if text is None else reports.moment(text, datetime.now(UTC), timezone)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"'{option}'") from error


def format_option[**P, R](*formats: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add ``--format``, passed as ``format_``; the first of ``formats`` is the default."""
    return click.option(
        "--format", "format_", type=click.Choice(formats), default=formats[0], show_default=True, help="How to print."
    )


def print_records(records: Sequence[Mapping[str, object]], headings: Mapping[str, str], format_: str) -> None:
    """Print ``records`` as one JSON array (``json``), as CSV, or as a table with the columns of ``headings``.

    JSON has every field: times as ISO 8601 with ``Z``, decimals as strings, ``None`` as null. CSV has the fields of
    ``headings``, written in the same way; ``None`` is empty. A table is no wider than the terminal that it is printed
    to, where there is one.
    """
    if format_ == "json":
        click.echo(json.dumps(records, indent=2, ensure_ascii=False, default=_as_json))
    elif format_ == "csv":
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(headings)
        writer.writerows([_as_field(record[name]) for name in headings] for record in records)
        click.echo(out.getvalue(), nl=False)
    else:
        cells = [[_as_cell(record[name]) for name in headings] for record in records]
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo(_fitting(cells, list(headings.values()), width))


def _fitting(rows: Sequence[Sequence[str]], headings: Sequence[str], width: int | None) -> str:
    """Return a table that is at most so wide: without the columns that say nothing, else a block for each row."""
    every = range(len(headings))
    telling = [n for n in every if any(row[n] not in _NOTHING for row in rows)]
    for kept in (every, telling):
        text = _tabulated([[row[n] for n in kept] for row in rows], [headings[n] for n in kept])
        if not rows or width is None or max(map(len, text.splitlines())) <= width:
            return text
    indent = max(map(len, headings)) + 2
    blocks = (
        [f"{name:<{indent}}{cell}" for name, cell in zip(headings, row, strict=True) if cell not in _NOTHING]
        for row in rows
    )
    return "\n\n".join("\n".join(block) for block in blocks)


def _tabulated(rows: Sequence[Sequence[str]], headings: Sequence[str]) -> str:
    import tabulate  # takes 90 ms, which JSON need not

    usual, tabulate.MIN_PADDING = tabulate.MIN_PADDING, 0  # there is no argument for it
    try:
        return tabulate.tabulate(rows, headers=headings, tablefmt="simple", disable_numparse=True)
    finally:
        tabulate.MIN_PADDING = usual


class Name(click.ParamType[str]):
    """The name of an account or a token; one that cannot be used is bad usage."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return ``value`` if it can be a name."""
        from metrion.control import check_name

        try:
            return check_name(value)
        except ControlError as error:
            self.fail(str(error), param, ctx)


def complete_providers(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a configured provider, or another name for it."""
    from metrion.providers import ALIASES

    settings = _settings_to_complete(context)
    return _beginning(incomplete, (*settings.providers, *ALIASES)) if settings else []


def complete_accounts(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of an account."""
    return _beginning(incomplete, _from_control(context, lambda control: [each.name for each in control.accounts()]))


def complete_tokens(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a token that can be used."""
    return _beginning(
        incomplete,
        _from_control(context, lambda control: [each.name for each in control.tokens() if each.state == "active"]),
    )


def complete_admins(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of an admin token that can be used."""
    return _beginning(
        incomplete,
        _from_control(context, lambda control: [each.name for each in control.admins() if each.state == "active"]),
    )


def _settings_to_complete(context: click.Context) -> Settings | None:
    from metrion.settings import load_settings

    with suppress(MetrionError):  # completion shows no errors
        return load_settings(context.params.get("config"), os.environ)
    return None


def _from_control(context: click.Context, ask: Callable[[ControlStore], list[str]]) -> list[str]:
    from metrion.control import ControlStore

    settings = _settings_to_complete(context)
    if settings is None or not settings.control_db.exists():  # opening would make it
        return []
    with suppress(MetrionError), closing(ControlStore.open(settings)) as control:
        return ask(control)
    return []


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


account_option = click.option(
    "--account",
    type=Name(),
    shell_complete=complete_accounts,
    default="default",
    show_default=True,
    help="The account it belongs to.",
)


def note(text: str) -> None:
    """Print a sentence for a person on standard error: standard output is for what a script reads."""
    click.echo(text, err=True)


def note_other_home(settings: Settings) -> None:
    """Say so if the proxy that runs serves another home, and so does not know what this command has made."""
    from metrion.running_proxy import other_home

    if (words := other_home(settings)) is not None:
        note(f"Note: {words}")


_NOTHING = ("", "-")
"""Cells that say nothing."""


def _as_field(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return _as_json(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _as_json(value: object) -> str:
    return _utc(value).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


def _as_cell(value: object) -> str:
    if value is None:
        return ""
    return _utc(value).strftime("%Y-%m-%d %H:%M") if isinstance(value, datetime) else str(value)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
