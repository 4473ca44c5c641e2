"""``metrion reload``: has the running proxy of this home read its configuration again."""

from __future__ import annotations

import click

from metrion.cli.options import note, settings_option
from metrion.errors import ServeError
from metrion.settings import Settings


@click.command()
@settings_option
def reload(settings: Settings) -> None:
    """Have running proxies take a changed configuration: metrion.yaml, price files, certificate, keys in files.

    No connection is dropped. If something cannot be used, nothing changes: the message says why, and the exit status is
    1. Each `metrion serve` of this home reads the file with which it was started. Where it listens, its workers, its
    store, metrics, collector, time zone and master key change with a restart only.

    \b
    Examples:
      metrion reload
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.serving.reload_requests import ask_all

    answers = ask_all(settings.home)
    if not answers:
        raise ServeError(
            f"no `metrion serve` of {settings.home} runs, or none that can be asked. It reads its configuration when "
            "it starts; one under another program than `metrion serve` has to be restarted."
        )
    wrong = []
    for pid, answer in answers.items():
        if answer.ok:
            note(f"Reloaded (process {pid}). {answer.words}")
        else:
            wrong.append(f"process {pid}: {answer.words}")
    if wrong:
        raise ServeError("nothing has changed for " + "; ".join(wrong))
