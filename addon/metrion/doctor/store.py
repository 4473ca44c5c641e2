"""The store: whether ``events`` answers, and which other process keeps it from doing so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import duckdb

from metrion.doctor.findings import Finding, Subject, counted, fail, ok, warn
from metrion.doctor.traffic import QUESTIONS
from metrion.errors import StoreError
from metrion.store import database, is_there, locks, schema

_PATIENCE_SECONDS = 2.0
"""How long to wait until the ingester has written."""
_OWN_COMMANDS = {"metrion", "metrion.store.ingester_process"}


def store(subject: Subject) -> Iterator[Finding]:
    """Report who holds the store, whether it answers, and what its events show."""
    path = subject.settings.store_path
    if not is_there(path):
        yield ok(f"store: {path} is not there yet", "`metrion serve` makes it, and so does the first question")
        return
    holders = dict(_foreign_holders(path))
    for holder, writes in holders.items():
        what = f"store: {path} is held open by {holder}"
        if writes:
            yield fail(f"{what} for writing", "close it there: until then, nobody can ask it, and nothing is ingested")
        else:
            yield warn(what, "close it there soon: until then, nothing is ingested, and the journal grows")
    if any(holders.values()):
        return
    try:
        with (
            locks.reading(path, _PATIENCE_SECONDS),
            closing(duckdb.connect(str(path), read_only=True, config=schema.CONFIG)) as connection,
        ):
            ((tags,),) = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()
        ((count, last),) = subject.ask("SELECT count(*), date_trunc('second', max(started_at)) FROM events")
    except locks.Busy:
        yield warn(f"store: {path} is being written for unusually long", "look again in a minute")
    except duckdb.Error as error:
        if database.locked_out(error):
            yield fail(f"store: {path} is open for writing in another process ({error})", "close it there")
        else:
            yield fail(
                f"store: {path} cannot be opened: {' '.join(str(error).split())}",
                "put a backup in its place, or move it away: then it is made anew, with what is in the journal",
            )
    except StoreError as error:
        yield fail(
            f"store: {' '.join(str(error).split())}", "`events` cannot be asked; move the file away if nothing helps"
        )
    else:
        version = str(dict(tags).get("storage_version", "unknown"))
        if not version.startswith(schema.STORAGE_VERSION):
            yield warn(
                f"store: {path} has DuckDB's format {version}", "tools with a DuckDB older than that cannot open it"
            )
        since = f", the last at {last} UTC" if last else ""
        yield ok(f"store: {path} answers, with {counted(count, 'event')}{since} (DuckDB's format {version})")
        for question in QUESTIONS:
            yield from question(subject)


def _foreign_holders(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield which processes other than Metrion's have the file open, and whether for writing. Needs Linux's /proc."""
    with suppress(OSError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()  # 1: POSIX  ADVISORY  WRITE 4711 fe:00:2428648 0 EOF
            if len(words) > 5 and words[1] == "POSIX" and words[5].endswith(f":{inode}"):
                command = _command(words[4])
                if int(words[4]) != os.getpid() and not _OWN_COMMANDS & {Path(word).name for word in command}:
                    name = f" ({Path(command[0]).name})" if command[0] else ""
                    yield f"process {words[4]}{name}", words[3] == "WRITE"


def _command(pid: str) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    return [""]
