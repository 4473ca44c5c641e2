"""What is well with an installation, what is not, and the way out.

In: which configuration, and the environment. Out: findings, one after the other, each with its level. It looks, and
changes nothing but what every command may (it brings an older database up to date); it works on a home that is not
there yet and while a proxy runs. Never: a secret in a finding, or an exception; a check that fails is a finding.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import re
import shutil
import sqlite3
import ssl
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import duckdb
import yaml

from metrion import __version__, store
from metrion.control import ControlStore
from metrion.control.generations import Generations
from metrion.errors import ControlError, PricingError, SettingsError, StoreError
from metrion.estimates import tokenizers
from metrion.model import CostSource, Origin, Usage
from metrion.pricing import PriceBook
from metrion.providers import PROVIDERS, canonical_name
from metrion.settings import Settings, load_settings, why_not_inject
from metrion.store import database, locks, schema

PATIENCE_SECONDS = 2.0
"""How long the proxy may take to answer, and the store to be free."""
NETWORK_SECONDS = 8.0
PRICES_AGE = timedelta(days=90)
"""Prices that nobody has checked for longer may be out of date."""
METERED = timedelta(days=30)
"""How far back a model that has no price is of interest."""
STREAMED = timedelta(hours=24)
"""How far back a stream that did not tell its usage is of interest: no longer, for its client may have been mended."""
OVERDUE = timedelta(days=2)
"""What providers do later, they do within a day; who asked for it has had another to read it back."""
BACKLOG_SECONDS = 60.0
"""A segment of the journal that is older should have been ingested."""
LITTLE_SPACE = 1 << 30
NO_SPACE = 100 << 20
MODELS_NAMED = 10


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    way_out: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined."""

    settings: Settings
    network: bool
    now: datetime


type Check = Callable[[Subject], Iterator[Finding]]


def examine(config: Path | None, environ: Mapping[str, str], *, network: bool) -> Iterator[Finding]:
    """Look at everything, in the order in which one would set it up; ``network``: the providers too."""
    settings, findings = _configuration(config, environ)
    yield from findings
    subject = Subject(settings, network, datetime.now(UTC).replace(tzinfo=None))
    for check in CHECKS:
        try:
            yield from check(subject)
        except Exception as error:  # noqa: BLE001 -- one check that breaks must not hide what the others find
            name = check.__name__.strip("_").replace("_", " ")
            yield Finding(Level.FAIL, f"{name}: cannot be checked: {type(error).__name__}: {error}")


def _ok(what: str, hint: str | None = None) -> Finding:
    return Finding(Level.OK, what, hint)


def _warn(what: str, way_out: str) -> Finding:
    return Finding(Level.WARN, what, way_out)


def _fail(what: str, way_out: str) -> Finding:
    return Finding(Level.FAIL, what, way_out)


# --- configuration and home -------------------------------------------------------------------------------------------


def _configuration(config: Path | None, environ: Mapping[str, str]) -> tuple[Settings, list[Finding]]:
    """Return the settings; the defaults, where the configured ones cannot be used."""
    try:
        settings = load_settings(config, environ)
    except SettingsError as error:
        home = Path(environ.get("METRION_HOME") or "~/.metrion").expanduser().absolute()
        way_out = "correct it; no command works before (what follows is with the defaults)"
        return Settings(home=home), [_fail(line, way_out) for line in str(error).splitlines()]
    path = settings.config_path
    return settings, [_ok(f"configuration: {path}" if path else "configuration: none, so the defaults hold")]


def _home(subject: Subject) -> Iterator[Finding]:
    home = subject.settings.home
    if not home.exists():
        above = _first_folder(home)
        if os.access(above, os.W_OK | os.X_OK):
            yield _ok(f"home: {home} is not there yet", "the first `metrion token create` or `metrion serve` makes it")
        else:
            yield _fail(
                f"home: {home} cannot be made, for {above} cannot be written", "set METRION_HOME to another place"
            )
        return
    if not home.is_dir():
        yield _fail(f"home: {home} is no folder", "move it away, or set METRION_HOME to another place")
        return
    try:
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        yield _fail(
            f"home: {home} cannot be written: {error.strerror}",
            "give this user the right to write there, or set METRION_HOME to another place",
        )
    found = list(_open_to_others(subject.settings))
    yield from found
    if not found:
        yield _ok(f"home: {home}, for nobody else to read")


def _open_to_others(settings: Settings) -> Iterator[Finding]:
    places: tuple[tuple[Path, Level], ...] = (
        (settings.home, Level.WARN),
        (settings.control_db, Level.FAIL),
        (settings.master_key_path, Level.FAIL),
        (settings.journal_dir, Level.WARN),
        (settings.store_path, Level.WARN),
    )
    for path, level in places:
        with suppress(FileNotFoundError, NotADirectoryError):
            status = path.stat()
            mode = stat.S_IMODE(status.st_mode)
            if status.st_uid != os.geteuid():
                yield Finding(
                    level,
                    f"home: {path} belongs to another user (id {status.st_uid})",
                    "chown it, or run as that user",
                )
            if mode & 0o077:
                right = 0o700 if path.is_dir() else 0o600
                yield Finding(level, f"home: {path} is open to others ({mode:o})", f"chmod {right:o} {path}")


def _first_folder(path: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def _disk_space(subject: Subject) -> Iterator[Finding]:
    place = _first_folder(subject.settings.home)
    free = shutil.disk_usage(place).free
    what = f"disk: {_size(free)} free at {place}"
    if free < NO_SPACE:
        yield _fail(
            what, "make room: events that cannot be written wait in memory, and the oldest are lost when it is full"
        )
    elif free < LITTLE_SPACE:
        yield _warn(what, "make room soon; events need about 1 GB for a million")
    else:
        yield _ok(what)


# --- who may call -----------------------------------------------------------------------------------------------------


def _accounts_tokens_and_keys(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    if not settings.control_db.exists():
        yield _warn("tokens: there is none", "`metrion token create` makes one, and so does the first `metrion serve`")
        yield from _keys(
            settings, [(name, f"from {PROVIDERS[name].environment}") for name in settings.environment_keys]
        )
        return
    try:
        if damage := _damage(settings.control_db):
            yield _fail(f"{settings.control_db}: damaged ({damage})", "put a backup in its place while nothing runs")
            return
        with closing(ControlStore.open(settings)) as control:
            tokens, keys = control.tokens(), control.keys()
            accounts = {account.name for account in control.accounts()}
    except ControlError as error:
        yield _fail(str(error).rstrip("."), "no request is admitted before this is well")
        return
    active = sum(token.state == "active" for token in tokens)
    if active:
        yield _ok(f"tokens: {active} can be used")
    else:
        yield _warn("tokens: none can be used", "`metrion token create` makes one")
    if settings.intercept.account not in accounts:
        yield _warn(
            f"intercept: there is no account {settings.intercept.account}; intercepted traffic has its name anyway",
            f"`metrion account create {settings.intercept.account}`, or correct `intercept.account`",
        )
    for problem in dict.fromkeys(key.problem for key in keys if key.problem):
        yield _fail(problem, "every request is refused until it opens")
    yield from _keys(
        settings,
        [
            (
                key.provider,
                f"{key.shown}, {'stored' if key.source == 'stored' else 'from ' + PROVIDERS[key.provider].environment}"
                + (f" for account {key.account}" if key.account != "default" else ""),
            )
            for key in keys
            if key.in_use
        ],
    )


def _damage(path: Path) -> str | None:
    """Return what SQLite finds wrong with a database; ``None``: nothing, or what opening it will say better."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        ((verdict, *_),) = db.execute("PRAGMA quick_check(1)")
        return None if verdict == "ok" else str(verdict)
    return None


def _keys(settings: Settings, keys: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    for provider, said in keys:
        if provider in settings.providers:
            yield _ok(f"keys: {provider}: {said}")
        else:
            yield _warn(
                f"keys: {provider}: {said}, but no such provider is configured",
                f"configure it, or `metrion key remove {provider}`",
            )
    needy = [name for name, provider in settings.providers.items() if provider.needs_key]
    without = [name for name in needy if name not in {provider for provider, _ in keys}]
    if without and len(without) == len(settings.providers):
        yield _warn(
            "keys: no provider has one, so only callers with a key of their own get through",
            "`metrion key set PROVIDER` stores one",
        )
    elif without:
        yield _ok(f"keys: none for {', '.join(without)}", "`metrion key set PROVIDER`, should you need them")


# --- prices -----------------------------------------------------------------------------------------------------------


def _prices(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    try:
        book = PriceBook.load(settings.pricing)
    except PricingError as error:
        yield _fail(f"prices: {error}", "correct it: `metrion serve` does not start with it")
        return
    models, priced = 0, set[str]()
    for path in settings.pricing:
        document = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader) or {}  # noqa: S506 -- it makes nothing but text
        models += sum(len(entries) for entries in document.values())
        named = {canonical_name(name) for name in document}
        priced |= named
        if strangers := sorted(named - settings.providers.keys()):
            yield _warn(
                f"prices: {path} has prices for {', '.join(strangers)}, but no such provider is configured",
                f"these price nothing: check the name; known: {', '.join(settings.providers)}",
            )
        checked = max((day for day in map(_day, _checked(document)) if day), default=None)
        if checked and subject.now.date() - checked > PRICES_AGE:
            yield _warn(
                f"prices: {path} was last checked on {checked}",
                "update Metrion, or put what has changed into a file of your own (docs/pricing.md)",
            )
    yield _ok(f"prices: {_number(models, 'model')} in {', '.join(map(str, settings.pricing))} (version {book.version})")
    if without := [name for name in settings.providers if name not in priced]:
        yield _warn(
            f"prices: none for any model of {', '.join(without)}",
            "give them one in a file of your own, named after Metrion's: `pricing: [pricing.yaml, my-prices.yaml]` "
            "(docs/pricing.md)",
        )


def _checked(document: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for entries in document.values():
        for entry in entries.values():
            if "checked" in entry:
                yield str(entry["checked"])


def _day(text: str) -> date | None:
    with suppress(ValueError):
        return date.fromisoformat(text)
    return None


# --- estimates --------------------------------------------------------------------------------------------------------


def _estimates(_: Subject) -> Iterator[Finding]:
    if tokenizers.is_available():
        yield _ok("estimates: of what no provider reports, the tokens are estimated where they can be")
    else:
        way_out = "`pip install 'bpe-openai<0.2'` where Metrion is installed, should you want them (docs/estimates.md)"
        yield _ok("estimates: none, for there is no tokenizer", way_out)


# --- journal and store ------------------------------------------------------------------------------------------------


def _journal(subject: Subject) -> Iterator[Finding]:
    directory = subject.settings.journal_dir
    if not directory.is_dir():
        yield _ok("journal: nothing was metered yet")
        return
    count, size, oldest, torn = 0, 0, time.time(), 0
    for path in directory.glob(schema.SEGMENTS):
        with suppress(FileNotFoundError):  # ingested just now
            status = path.stat()
            if path.name != schema.SENTINEL and status.st_size:
                count, size, oldest = count + 1, size + status.st_size, min(oldest, status.st_mtime)
                torn += _ends_within_a_line(path, status)
    age = time.time() - oldest
    what = f"journal: {count} segments wait to be ingested ({_size(size)}, the oldest for {_length(age)})"
    if not count:
        yield _ok("journal: everything is in the store")
    elif age > BACKLOG_SECONDS:
        yield _warn(
            what,
            "nothing is lost, and every answer has them in it; `metrion serve` ingests them, unless what is said of "
            "the store below keeps it from it",
        )
    else:
        yield _ok(what)
    if torn:
        yield _warn(
            f"journal: {torn} segments end within a line: their writer was killed, or the disk was full",
            "nothing to do: no response was complete then, and the ingester leaves the piece out",
        )
    if aside := sorted((directory / "set-aside").glob("*")):
        yield _warn(
            f"journal: {len(aside)} files with lines that cannot be read are in {directory / 'set-aside'}",
            "these events are in no answer; report it with a line of them, then move the files away",
        )


def _ends_within_a_line(path: Path, status: os.stat_result) -> bool:
    if time.time() - status.st_mtime < PATIENCE_SECONDS:
        return False  # it may be written at this moment
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _store(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    path = settings.store_path
    if not path.exists():
        yield _ok(f"store: {path} is not there yet", "`metrion serve` makes it, and so does the first question")
        return
    holders = dict(_foreign_holders(path))
    for holder, writes in holders.items():
        what = f"store: {path} is held open by {holder}"
        if writes:
            yield _fail(f"{what} for writing", "close it there: till then nothing can be asked and nothing ingested")
        else:
            yield _warn(what, "close it there soon: till then nothing can be ingested, and the journal grows")
    if any(holders.values()):
        return
    try:
        with (
            locks.reading(path, PATIENCE_SECONDS),
            closing(duckdb.connect(str(path), read_only=True, config=schema.CONFIG)) as connection,
        ):
            ((tags,),) = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()
        ((count, last),) = store.ask(
            settings.journal_dir, path, "SELECT count(*), date_trunc('second', max(started_at)) FROM events"
        ).rows
    except locks.Busy:
        yield _warn(f"store: {path} is being written for unusually long", "look again in a minute")
    except duckdb.Error as error:
        if database.locked_out(error):
            yield _fail(f"store: {path} is open for writing in another process ({error})", "close it there")
        else:
            yield _fail(
                f"store: {path} cannot be opened: {' '.join(str(error).split())}",
                "put a backup in its place, or move it away: then it is made anew, with what is in the journal",
            )
    except StoreError as error:
        yield _fail(
            f"store: {' '.join(str(error).split())}", "`events` cannot be asked; move the file away if nothing helps"
        )
    else:
        version = str(dict(tags).get("storage_version", "unknown"))
        if not version.startswith(schema.STORAGE_VERSION):
            yield _warn(
                f"store: {path} has DuckDB's format {version}", "tools with a DuckDB older than that cannot open it"
            )
        since = f", the last at {last} UTC" if last else ""
        yield _ok(f"store: {path} answers, with {_number(count, 'event')}{since} (DuckDB's format {version})")
        yield from _models_without_a_price(subject)
        yield from _streams_that_do_not_tell(subject)


def _models_without_a_price(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    try:
        book = PriceBook.load(settings.pricing)
    except PricingError:
        return  # said above
    query = """
        SELECT provider, coalesce(model, model_requested), service_tier, count(*) FROM events
        WHERE cost_source = 'unpriced' AND started_at >= $since GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3"""
    rows = store.ask(settings.journal_dir, settings.store_path, query, {"since": subject.now - METERED}).rows
    for provider, model, tier, count in rows[:MODELS_NAMED]:
        name = f"{provider} {model}" + (f" ({tier})" if tier else "")
        probe = book.cost(
            provider=provider,
            model=model,
            model_requested=None,
            usage=Usage(input_tokens=1, output_tokens=1),
            when=subject.now,
            service_tier=tier,
        )
        has_price = probe.source is not CostSource.UNPRICED
        yield _warn(
            f"prices: {name} was metered {_number(count, 'time')} in 30 days without a price",
            "there is one now: `metrion reprice`"
            if has_price
            else "give it one in a file of your own (docs/pricing.md), then `metrion reprice`",
        )
    if rows[MODELS_NAMED:]:
        yield _warn(
            f"prices: {len(rows) - MODELS_NAMED} more models without one", "`metrion report unpriced` lists all"
        )


def _streams_that_do_not_tell(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    query = """
        SELECT provider, count(*) FROM events
        WHERE streamed AND operation IN ('chat', 'completions') AND end_reason = 'complete'
            AND usage_source <> 'reported' AND cost_source <> 'not_billed' AND started_at >= $since
        GROUP BY ALL ORDER BY 2 DESC, 1"""
    rows = store.ask(settings.journal_dir, settings.store_path, query, {"since": subject.now - STREAMED}).rows
    for name, count in rows:
        provider = settings.providers.get(name)
        if provider and not provider.inject_usage and not why_not_inject(provider.upstream, provider.like):
            yield _warn(
                f"streams: {_number(count, 'stream')} of {name}'s in 24 hours did not tell what they used",
                'have the clients ask with `"stream_options": {"include_usage": true}`, or Metrion with '
                f"`providers: {{{name}: {{include_usage: inject}}}}` (docs/configuration.md)",
            )


def _generations(subject: Subject) -> Iterator[Finding]:
    with closing(Generations(subject.settings.generations_db)) as generations:
        overdue = generations.overdue(OVERDUE)
    for provider, count in overdue.items():
        yield _warn(
            f"told later: {_number(count, 'generation')} of {provider}'s, asked for over {OVERDUE.days} days ago, not "
            "read back yet",
            "what a batch or a background response costs is in no row before it is read through Metrion "
            "(docs/requests.md)",
        )


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


_OWN_COMMANDS = {"metrion", "metrion.store.ingester"}


def _command(pid: str) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    return [""]


# --- what runs --------------------------------------------------------------------------------------------------------


def _proxy(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.listen_host, settings.listen_host)  # noqa: S104 -- compared, not listened on
    where = f"{host}:{settings.listen_port}"
    try:
        status, body = _get(Origin("http", host, settings.listen_port), "/health", PATIENCE_SECONDS)
        health, said = json.loads(body) if status == 200 else None, f"it said {status}"
    except ConnectionRefusedError:
        yield _warn(
            f"proxy: nothing listens on {where}", "`metrion serve` starts it (one with another --port is not seen here)"
        )
        return
    except (OSError, http.client.HTTPException, ValueError) as error:
        health, said = None, type(error).__name__
    if not isinstance(health, dict) or "in_flight" not in health:
        yield _fail(
            f"proxy: what listens on {where} is no Metrion ({said})",
            "stop that program, or choose another port with `listen` in the configuration or --port",
        )
        return
    yield _ok(f"proxy: Metrion {health.get('version')} answers on {where}, {health['in_flight']} requests in flight")
    if health.get("version") != __version__:
        yield _warn(f"proxy: it runs version {health.get('version')}, installed is {__version__}", "restart it")
    if lost := health.get("lost_events"):
        yield _fail(
            f"proxy: {lost} events were lost since it started", "the disk took nothing for too long; see its log"
        )
    if not (health.get("ingester") or {}).get("alive", True):
        yield _fail("proxy: its ingester is not alive", "its log says why; the journal keeps everything until it is")


def _upstreams(subject: Subject) -> Iterator[Finding]:
    if not subject.network:
        yield _ok("upstreams: not tried", "`metrion doctor --network` does")
        return
    providers = subject.settings.providers
    with ThreadPoolExecutor(len(providers)) as pool:
        outcomes = pool.map(_reached, (provider.upstream for provider in providers.values()))
    for (name, provider), outcome in zip(providers.items(), outcomes, strict=True):
        where = f"{provider.upstream.scheme}://{provider.upstream.authority.decode()}"
        if outcome is None:
            yield _ok(f"upstreams: {name}: {where} answers")
        else:
            yield _fail(
                f"upstreams: {name}: {where} does not: {outcome}",
                f"look at the network, at its DNS and firewall, and at `providers.{name}.upstream`",
            )


def _reached(origin: Origin) -> str | None:
    """Return why a server does not answer; ``None``: it does, whatever it answers. Sends no credential."""
    try:
        _get(origin, "/", NETWORK_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None


def _get(origin: Origin, path: str, timeout: float) -> tuple[int, bytes]:
    connection = (
        http.client.HTTPSConnection(origin.host, origin.port, timeout=timeout, context=ssl.create_default_context())
        if origin.scheme == "https"
        else http.client.HTTPConnection(origin.host, origin.port, timeout=timeout)
    )
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(1 << 16)


# --- versions ---------------------------------------------------------------------------------------------------------


def _versions(_: Subject) -> Iterator[Finding]:
    found = [f"Python {'.'.join(map(str, sys.version_info[:3]))}"]
    try:
        requirements = importlib.metadata.requires("metrion") or []
    except importlib.metadata.PackageNotFoundError:
        yield _warn("versions: Metrion runs without being installed", "scripts/start installs it with what it needs")
        return
    for requirement in requirements:
        name, bounds, condition = _REQUIREMENT.fullmatch(requirement).groups()  # type: ignore[union-attr]  # as our own pyproject.toml writes them
        if condition:
            continue  # an extra
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield _fail(f"versions: {name} is not installed", "run scripts/start again, or install Metrion again")
            continue
        found.append(f"{name} {version}")
        if not _fits(version, bounds):
            yield _fail(f"versions: {name} {version} does not fit: Metrion needs {bounds}", "install Metrion again")
    yield _ok(f"versions: {', '.join(found)}")


_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?\s*([^;]*?)\s*(?:;(.*))?")


def _fits(version: str, bounds: str) -> bool:
    def key(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])

    return all(
        key(version) >= key(bound) if relation == ">=" else key(version)[: len(key(bound))] < key(bound)
        for relation, bound in re.findall(r"(>=|<)\s*([\d.]+)", bounds)
    )


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def _length(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


CHECKS: tuple[Check, ...] = (
    _versions,
    _home,
    _disk_space,
    _accounts_tokens_and_keys,
    _prices,
    _estimates,
    _journal,
    _store,
    _generations,
    _proxy,
    _upstreams,
)
