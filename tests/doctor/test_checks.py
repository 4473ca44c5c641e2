"""Each finding is provoked by what it is about."""

from __future__ import annotations

import contextlib
import http.server
import importlib.metadata
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from metrion import __version__
from metrion.control import ControlStore
from metrion.control.generations import Generations
from metrion.doctor import Finding, Level, examine
from metrion.doctor import checks as doctor
from metrion.estimates import tokenizers
from metrion.settings import load_settings
from metrion.store import locks, schema
from tests.processes import free_port
from tests.store.events import Home, event

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
SECRET = "sk-proj-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"
NOW = datetime.now(UTC).replace(tzinfo=None)


class Patient:
    """A home, and the environment that leads there and to a port where nothing listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"METRION_HOME": str(path)}
        self.config: dict[str, Any] = {"listen": f"127.0.0.1:{free_port()}"}
        self.store = Home(path)

    def make(self) -> None:
        self.path.mkdir(mode=0o700)
        self.configure()

    def configure(self, **settings: Any) -> None:
        self.config |= settings
        (self.path / "metrion.yaml").write_text(yaml.safe_dump(self.config))

    def control(self) -> ControlStore:
        return ControlStore.open(load_settings(None, self.environ))

    def examine(self, *, network: bool = False) -> list[Finding]:
        return list(examine(None, self.environ, network=network))

    def found(self, level: Level, *words: str, network: bool = False) -> Finding:
        """The one finding of this level that has all the words; whatever the level, no other has them."""
        findings = [each for each in self.examine(network=network) if all(word in each.what for word in words)]
        assert [each.level for each in findings] == [level], findings or self.examine()
        return findings[0]


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    patient = Patient(tmp_path / "home")
    patient.make()
    return patient


def test_a_home_that_is_not_there_is_fine_and_stays_away(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "home")
    patient.found(OK, "home:", "not there yet")
    patient.found(OK, "journal: nothing was metered yet")
    patient.found(OK, "store:", "not there yet")
    patient.found(OK, "configuration: none")
    assert not any(finding.level is FAIL for finding in patient.examine())
    assert not patient.path.exists()


def test_a_home_where_all_is_well(patient: Patient) -> None:
    with contextlib.closing(patient.control()) as control:
        control.create_token()
        control.set_key("openai", SECRET)
    patient.store.initialise()
    patient.store.record(event())
    patient.store.ingest()
    findings = patient.examine()
    # No proxy is there.
    assert [finding.what.partition(":")[0] for finding in findings if finding.level is not OK] == ["proxy"]
    assert not any(SECRET in f"{finding}" for finding in findings)


# --- configuration and home


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listn: 127.0.0.1:1", ("metrion.yaml: listn: unknown key", "listen")),
        ("pricing: [nowhere.yaml]", ("nowhere.yaml",)),
        ("a: [", ("not valid YAML",)),
    ],
)
def test_a_configuration_that_cannot_be_used(patient: Patient, text: str, words: tuple[str, ...]) -> None:
    (patient.path / "metrion.yaml").write_text(text)
    assert "correct it" in str(patient.found(FAIL, *words).way_out)
    patient.found(OK, "disk:")  # it goes on with the rest


def test_every_mistake_has_its_line(patient: Patient) -> None:
    (patient.path / "metrion.yaml").write_text("listn: x\nplans: {gold: {}}\n")
    assert sum(finding.level is FAIL for finding in patient.examine()) == 2


def test_the_configuration_is_named(patient: Patient) -> None:
    patient.found(OK, f"configuration: {patient.path / 'metrion.yaml'}")


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "home")
    patient.path.write_text("")
    assert "METRION_HOME" in str(patient.found(FAIL, "is no folder").way_out)


def test_a_home_that_cannot_be_written(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # root may write everywhere
    assert "METRION_HOME" in str(patient.found(FAIL, "cannot be written: Permission denied").way_out)


@pytest.mark.parametrize(
    ("name", "mode", "level"),
    [
        (".", 0o755, WARN),
        ("control.db", 0o640, FAIL),
        ("master.key", 0o604, FAIL),
        ("journal", 0o750, WARN),
        ("usage.duckdb", 0o644, WARN),
    ],
)
def test_what_others_can_read(patient: Patient, name: str, mode: int, level: Level) -> None:
    with contextlib.closing(patient.control()) as control:
        control.set_key("openai", SECRET)
    patient.store.initialise()
    path = patient.path / name
    patient.found(OK, "for nobody else to read")
    path.chmod(mode)
    finding = patient.found(level, f"{path} is open to others ({mode:o})")
    subprocess.run(str(finding.way_out).split(), check=True)
    patient.found(OK, "for nobody else to read")


def test_what_belongs_to_somebody_else(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: patient.path.stat().st_uid + 1)
    assert "chown" in str(patient.found(WARN, f"{patient.path} belongs to another user").way_out)


@pytest.mark.parametrize(("free", "level"), [(50 << 20, FAIL), (500 << 20, WARN), (5 << 30, OK)])
def test_disk_space(patient: Patient, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    usage = shutil.disk_usage(patient.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    patient.found(level, "disk:", "free at")


# --- tokens and keys


def test_no_token_and_no_key(patient: Patient) -> None:
    assert "metrion token create" in str(patient.found(WARN, "tokens: there is none").way_out)
    assert "metrion key set" in str(patient.found(WARN, "keys: no provider has one").way_out)
    with contextlib.closing(patient.control()) as control:
        control.create_token("a")
        control.revoke_token("a")
    patient.found(WARN, "tokens: none can be used")
    with contextlib.closing(patient.control()) as control:
        control.create_token("b")
    patient.found(OK, "tokens: 1 can be used")


@pytest.mark.parametrize("has_control_db", [False, True])
def test_where_each_key_comes_from(patient: Patient, has_control_db: bool) -> None:
    patient.environ["XAI_API_KEY"] = "xai-" + SECRET
    if has_control_db:
        with contextlib.closing(patient.control()) as control:
            control.set_key("openai", SECRET)
            control.create_account("team", "pro")
            control.set_key("openai", SECRET, "team")
        patient.found(OK, "keys: openai: ", "stored for account team")
        assert len([each for each in patient.examine() if "keys: openai: " in each.what and "stored" in each.what]) == 2
    patient.found(OK, "keys: xai: ", "from XAI_API_KEY")
    assert "metrion key set" in str(patient.found(OK, "keys: none for anthropic").way_out)
    assert not any(SECRET in f"{finding}" for finding in patient.examine())


def test_traffic_that_is_intercepted_for_nobody(patient: Patient) -> None:
    patient.configure(intercept={"account": "acme"})
    with contextlib.closing(patient.control()) as control:
        patient.found(WARN, "there is no account acme")
        control.create_account("acme", "free")
    assert not any(each.what.startswith("intercept") for each in patient.examine())


def test_a_key_of_a_provider_that_is_configured_no_more(patient: Patient) -> None:
    patient.configure(providers={"mine": {"like": "openai", "upstream": "http://localhost:1"}})
    with contextlib.closing(patient.control()) as control:
        control.set_key("mine", SECRET)
    patient.configure(providers={})
    assert "metrion key remove mine" in str(patient.found(WARN, "keys: mine: ", "no such provider").way_out)


def forget_the_master_key(home: Path) -> None:
    (home / "master.key").unlink()


def change_the_master_key(home: Path) -> None:
    (home / "master.key").write_text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")


def spoil_the_sealed_key(home: Path) -> None:
    with contextlib.closing(sqlite3.connect(home / "control.db")) as db:
        db.execute("UPDATE provider_keys SET box = randomblob(60)")
        db.commit()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (forget_the_master_key, "the master key is missing"),
        (change_the_master_key, "not the master key that the stored openai key"),
        (spoil_the_sealed_key, "does not open with"),
    ],
)
def test_a_stored_key_that_does_not_open(patient: Patient, harm: Callable[[Path], None], words: str) -> None:
    with contextlib.closing(patient.control()) as control:
        control.set_key("openai", SECRET)
    harm(patient.path)
    patient.found(FAIL, words)


def test_a_control_database_that_is_none(patient: Patient) -> None:
    (patient.path / "control.db").write_bytes(b"garbage" * 1000)
    patient.found(FAIL, "control.db", "not an SQLite database")


def test_a_control_database_that_is_damaged(patient: Patient) -> None:
    with contextlib.closing(patient.control()) as control:
        for _ in range(300):
            control.create_token()
    with contextlib.closing(sqlite3.connect(patient.path / "control.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (patient.path / "control.db").open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 4 * 4096)
    finding = next(each for each in patient.examine() if "control.db" in each.what and each.level is FAIL)
    assert "backup" in finding.what + str(finding.way_out)


def test_a_control_database_of_a_newer_version(patient: Patient) -> None:
    patient.control().close()
    with contextlib.closing(sqlite3.connect(patient.path / "control.db")) as db:
        db.execute("PRAGMA user_version = 99")
    patient.found(FAIL, "made by a newer version")


# --- prices


def test_prices(patient: Patient) -> None:
    patient.found(OK, "prices: ", "models in", "pricing.yaml")


def test_a_price_file_that_cannot_be_used(patient: Patient) -> None:
    (patient.path / "mine.yaml").write_text("openai:\n  gpt: {input: -1}\n")
    patient.configure(pricing=["mine.yaml"])
    patient.found(FAIL, "mine.yaml, line 2: openai > gpt > input")


@pytest.mark.parametrize(("days", "found"), [(89, False), (91, True)])
def test_prices_that_nobody_checked_for_long(patient: Patient, days: int, found: bool) -> None:
    day = f"{NOW - timedelta(days=days):%Y-%m-%d}"
    text = f"openai:\n  a: {{input: 1, checked: {day}}}\n  b: {{input: 1, checked: 2020-01-01}}\n  c: {{input: 1}}\n"
    (patient.path / "mine.yaml").write_text(text)
    patient.configure(pricing=["mine.yaml"])
    findings = [each for each in patient.examine() if f"was last checked on {day}" in each.what]
    assert [each.level for each in findings] == [WARN] * found


@pytest.mark.parametrize(("name", "warned"), [("opnai", True), ("openai", False), ("grok", False), ("my-vllm", False)])
def test_prices_of_a_provider_that_is_not_there(patient: Patient, name: str, warned: bool) -> None:
    (patient.path / "mine.yaml").write_text(f"{name}:\n  gpt: {{input: 1}}\n")
    patient.configure(
        pricing=["pricing.yaml", "mine.yaml"],
        providers={"my-vllm": {"like": "openai", "upstream": "http://localhost:1"}},
    )
    findings = [each for each in patient.examine() if "no such provider is configured" in each.what]
    assert [(each.level, f"mine.yaml has prices for {name}" in each.what) for each in findings] == [
        (WARN, True)
    ] * warned


@pytest.mark.parametrize(
    ("files", "without"),
    [
        (["pricing.yaml", "mine.yaml"], None),
        (["pricing.yaml"], "my-vllm"),
        (["mine.yaml"], "anthropic, openai, google, mistral, xai"),
    ],
)
def test_providers_without_any_price(patient: Patient, files: list[str], without: str | None) -> None:
    (patient.path / "mine.yaml").write_text("my-vllm:\n  llama: {input: 0}\n")
    patient.configure(pricing=files, providers={"my-vllm": {"like": "openai", "upstream": "http://localhost:1"}})
    findings = [each for each in patient.examine() if "none for any model" in each.what]
    assert [(each.level, each.what) for each in findings] == (
        [(WARN, f"prices: none for any model of {without}")] if without else []
    )


UNPRICED: dict[str, Any] = {"cost_source": "unpriced", "cost_usd": None, "started_at": NOW}


def test_models_that_were_metered_without_a_price(patient: Patient) -> None:
    patient.store.initialise()
    patient.store.record(
        event(**UNPRICED | {"model": "mine"}),
        event(**UNPRICED | {"model": "mine"}),
        event(**UNPRICED | {"model": "gpt-4o-mini"}),
        event(**UNPRICED | {"model": "gpt-4o-mini", "service_tier": "unheard-of"}),
        event(**UNPRICED | {"model": "long ago", "started_at": NOW - timedelta(days=31)}),
    )
    assert "file of your own" in str(patient.found(WARN, "openai mine was metered 2 times").way_out)
    assert "there is one now: `metrion reprice`" in str(patient.found(WARN, "openai gpt-4o-mini was").way_out)
    assert "file of your own" in str(patient.found(WARN, "openai gpt-4o-mini (unheard-of) was").way_out)
    assert not any("long ago" in finding.what for finding in patient.examine())


SILENT: dict[str, Any] = {
    "streamed": True,
    "end_reason": "complete",
    "usage_source": "none",
    "cost_source": "unknown",
    "cost_usd": None,
    "started_at": NOW,
}


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({}, True),
        ({"usage_source": "estimated", "cost_source": "estimated"}, True),
        ({"operation": "completions", "provider": "google"}, True),
        ({"usage_source": "reported", "cost_source": "computed"}, False),
        ({"streamed": False}, False),
        ({"end_reason": "client_abort"}, False),
        ({"cost_source": "not_billed"}, False),
        ({"operation": "responses"}, False),
        ({"started_at": NOW - timedelta(hours=25)}, False),
        ({"provider": "mistral"}, False),
        ({"provider": "xai"}, False),
        ({"provider": "gone"}, False),
    ],
)
def test_streams_that_were_not_asked_for_their_usage(patient: Patient, columns: dict[str, Any], found: bool) -> None:
    patient.configure(providers={"grok": {"include_usage": "inject"}})
    patient.store.initialise()
    patient.store.record(event(**SILENT | columns))
    findings = [each for each in patient.examine() if each.what.startswith("streams: 1 stream of ")]
    assert [each.level for each in findings] == [WARN] * found
    for each in findings:
        assert f"providers: {{{columns.get('provider', 'openai')}: {{include_usage: inject}}}}" in str(each.way_out)


def test_of_very_many_models_some_are_named(patient: Patient) -> None:
    patient.store.initialise()
    patient.store.record(*(event(**UNPRICED | {"model": f"model-{number}"}) for number in range(15)))
    assert "report unpriced" in str(patient.found(WARN, "prices: 5 more models").way_out)


@pytest.mark.parametrize(("hours", "found"), [(47, False), (49, True)])
def test_what_nobody_reads_back_has_no_cost(patient: Patient, hours: int, found: bool) -> None:
    path = patient.path / "generations.db"
    with contextlib.closing(Generations(path)) as generations:
        generations.expect("openai", "batch_1")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE generations SET since = datetime('now', ?)", (f"-{hours} hours",))
    findings = [each for each in patient.examine() if each.what.startswith("told later: 1 generation of openai's")]
    assert [each.level for each in findings] == [WARN] * found


# --- journal and store


def age(path: Path, seconds: float) -> None:
    moment = datetime.now(UTC).timestamp() - seconds
    os.utime(path, (moment, moment))


def test_a_backlog(patient: Patient) -> None:
    patient.store.initialise()
    patient.found(OK, "journal: everything is in the store")
    patient.store.record(event())
    patient.found(OK, "journal: 1 segments wait")
    (segment,) = patient.store.segments
    age(patient.store.journal_dir / segment, 300)
    assert "metrion serve" in str(patient.found(WARN, "journal: 1 segments wait", "the oldest for 5 min").way_out)


def test_a_torn_line(patient: Patient) -> None:
    patient.store.initialise()
    patient.store.record(event(), event())
    (segment,) = patient.store.segments
    path = patient.store.journal_dir / segment
    path.write_bytes(path.read_bytes()[:-20])
    assert not any("within a line" in each.what for each in patient.examine())  # it may be written just now
    age(path, 10)
    patient.found(WARN, "1 segments end within a line")


def test_lines_that_were_set_aside(patient: Patient) -> None:
    patient.store.initialise()
    patient.store.record(event())
    (segment,) = patient.store.segments
    with (patient.store.journal_dir / segment).open("ab") as file:
        file.write(b'{"event_id": "no id", "writer": "w", "seq": 2}\n')
    patient.store.ingest()
    patient.found(WARN, "1 files with lines that cannot be read", "set-aside")


def test_a_store_that_answers(patient: Patient) -> None:
    patient.store.initialise()
    patient.found(OK, "usage.duckdb answers, with 0 events (DuckDB's format v1.4.0")
    patient.store.record(event(started_at=datetime(2026, 11, 1, 10)))  # noqa: DTZ001 -- times in events are naive UTC
    patient.found(OK, "with 1 event, the last at 2026-11-01 10:00:00 UTC")


def test_a_store_that_is_none(patient: Patient) -> None:
    patient.store.store_path.write_bytes(b"garbage" * 1000)
    assert "backup" in str(patient.found(FAIL, "usage.duckdb cannot be opened", "not a valid DuckDB").way_out)


def test_a_store_of_a_newer_format(patient: Patient) -> None:
    with pytest.MonkeyPatch.context() as then:
        then.setattr(schema, "STORAGE_VERSION", "v1.5.0")
        patient.store.initialise()
    patient.found(WARN, "has DuckDB's format v1.5.0")


@contextlib.contextmanager
def opened_by_somebody(path: Path, *, read_only: bool) -> Iterator[int]:
    program = f"import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only={read_only}); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux says who holds a lock")
@pytest.mark.parametrize(("read_only", "level"), [(True, WARN), (False, FAIL)])
def test_a_store_that_somebody_holds_open(patient: Patient, read_only: bool, level: Level) -> None:
    patient.store.initialise()
    with opened_by_somebody(patient.store.store_path, read_only=read_only) as pid:
        finding = patient.found(level, f"held open by process {pid} (python")
        assert "close it there" in str(finding.way_out)
    patient.found(OK, "usage.duckdb answers")


def test_without_proc_a_store_that_somebody_writes_is_found_all_the_same(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_foreign_holders", lambda _: iter(()))
    patient.store.initialise()
    with opened_by_somebody(patient.store.store_path, read_only=False):
        patient.found(FAIL, "open for writing in another process")


def test_a_store_that_is_written_for_long(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE_SECONDS", 0.1)
    patient.store.initialise()
    with locks.writing(patient.store.store_path, 1):
        patient.found(WARN, "is being written for unusually long")


# --- what runs


@contextlib.contextmanager
def listening(patient: Patient, status: int, body: bytes) -> Iterator[None]:
    """Something that answers everything the same way, where the proxy would be."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        patient.configure(listen=f"127.0.0.1:{server.server_address[1]}")
        try:
            yield
        finally:
            server.shutdown()


HEALTHY = {
    "status": "ok",
    "version": __version__,
    "in_flight": 3,
    "lost_events": 0,
    "ingester": {"pid": 1, "alive": True},
}


def test_no_proxy(patient: Patient) -> None:
    assert "metrion serve" in str(patient.found(WARN, "proxy: nothing listens").way_out)


@pytest.mark.parametrize(
    ("health", "level", "words"),
    [
        ({}, OK, f"Metrion {__version__} answers"),
        ({"version": "0.0.1"}, WARN, "it runs version 0.0.1"),
        ({"lost_events": 7}, FAIL, "7 events were lost"),
        ({"ingester": {"pid": None, "alive": False}}, FAIL, "its ingester is not alive"),
    ],
)
def test_a_proxy(patient: Patient, health: dict[str, Any], level: Level, words: str) -> None:
    with listening(patient, 200, json.dumps(HEALTHY | health).encode()):
        patient.found(level, "proxy:", words)


@pytest.mark.parametrize(("status", "body"), [(200, b"hello"), (404, b"{}"), (200, b"[]"), (200, b'{"status": "ok"}')])
def test_something_else_on_the_port(patient: Patient, status: int, body: bytes) -> None:
    with listening(patient, status, body):
        assert "another port" in str(patient.found(FAIL, "is no Metrion").way_out)


@pytest.mark.parametrize("host", ["0.0.0.0:", "[::]:"])
def test_a_proxy_that_listens_everywhere_is_asked_here(patient: Patient, host: str) -> None:
    patient.configure(listen=f"{host}{free_port()}")
    patient.found(
        WARN, "proxy: nothing listens on 127.0.0.1:" if host.startswith("0") else "proxy: nothing listens on ::1:"
    )


def test_upstreams_are_tried_on_demand_only(patient: Patient) -> None:
    assert "--network" in str(patient.found(OK, "upstreams: not tried").way_out)
    with listening(patient, 404, b"not here, but there is somebody"):
        port = patient.config["listen"].rpartition(":")[2]
        there = {"upstream": f"http://127.0.0.1:{port}"}
        nowhere = {"upstream": f"http://127.0.0.1:{free_port()}"}
        names = ("anthropic", "google", "mistral", "xai")
        patient.configure(providers={"openai": nowhere} | dict.fromkeys(names, there))
        patient.found(OK, f"upstreams: xai: http://127.0.0.1:{port} answers", network=True)
        finding = patient.found(FAIL, "upstreams: openai: http://127.0.0.1:", "refused", network=True)
        assert "providers.openai.upstream" in str(finding.way_out)


# --- estimates


@pytest.mark.parametrize(("available", "words"), [(True, "are estimated"), (False, "no tokenizer")])
def test_whether_tokens_are_estimated(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, available: bool, words: str
) -> None:
    monkeypatch.setattr(tokenizers, "is_available", lambda: available)
    assert (patient.found(OK, "estimates:", words).way_out is None) is available


# --- versions


def test_versions(patient: Patient) -> None:
    patient.found(OK, "versions: Python 3.", f"duckdb {duckdb.__version__}")


def test_a_dependency_that_is_missing(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "h11":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "scripts/start" in str(patient.found(FAIL, "versions: h11 is not installed").way_out)


@pytest.mark.parametrize(
    ("version", "fits"), [("12.2.3", True), ("12.2.11", True), ("12.3.0", False), ("12.2.2", False), ("11.9", False)]
)
def test_a_dependency_that_does_not_fit(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, version: str, fits: bool
) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == "mitmproxy" else real(name))
    findings = [each for each in patient.examine() if f"mitmproxy {version} does not fit" in each.what]
    assert [each.level for each in findings] == [FAIL] * (not fits)


def test_running_without_being_installed(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    patient.found(WARN, "without being installed")


def test_a_check_that_breaks_hides_no_other(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def _a_broken_one(_: object) -> Iterator[Finding]:
        raise LookupError("surprise")

    monkeypatch.setattr(doctor, "CHECKS", (_a_broken_one, *doctor.CHECKS))
    patient.found(FAIL, "a broken one: cannot be checked: LookupError: surprise")
    patient.found(OK, "disk:")


def test_what_a_size_and_a_length_of_time_look_like() -> None:
    assert [doctor._size(size) for size in (0, 999, 1500, 2e6, 3.21e9)] == [
        "0 bytes",
        "999 bytes",
        "2 kB",
        "2 MB",
        "3.2 GB",
    ]
    assert [doctor._length(seconds) for seconds in (5, 119, 300, 7200, 200_000)] == [
        "5 s",
        "119 s",
        "5 min",
        "2 h",
        "2 d",
    ]


def test_a_home_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patient(tmp_path / "deep" / "home")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert "METRION_HOME" in str(patient.found(FAIL, f"cannot be made, for {tmp_path} cannot be written").way_out)
