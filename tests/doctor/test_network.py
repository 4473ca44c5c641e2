from __future__ import annotations

import contextlib
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from metrion import __version__
from metrion.control import make_fingerprint
from metrion.doctor import Level
from metrion.settings import load_settings
from tests.doctor.patient import FAIL, OK, WARN, Patient
from tests.processes import free_port


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
        ({"status": "degraded", "reasons": ["ingest: the journal waits"]}, WARN, "degraded: ingest: the journal waits"),
    ],
)
def test_a_proxy(patient: Patient, health: dict[str, Any], level: Level, words: str) -> None:
    with listening(patient, 200, json.dumps(HEALTHY | health).encode()):
        patient.found(level, "proxy:", words)


@pytest.mark.parametrize(("own", "level"), [(True, OK), (False, FAIL), (None, OK)])
def test_a_proxy_of_another_home(patient: Patient, level: Level, *, own: bool | None) -> None:
    made = make_fingerprint(load_settings(None, patient.environ))
    health = HEALTHY if own is None else HEALTHY | {"home": made if own else "0123456789abcdef"}
    with listening(patient, 200, json.dumps(health).encode()):
        found = patient.found(level, "proxy:")
    if own is False:
        assert "serves another METRION_HOME" in found.what
        assert str(patient.path) in str(found.way_out)


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


def test_a_collector_is_named_and_its_secrets_are_not(patient: Patient) -> None:
    patient.configure(otlp={"endpoint": "http://localhost:4318", "headers": {"authorization": "Bearer hidden"}})
    patient.found(OK, "otlp: spans and metrics go to http://localhost:4318 with authorization: ***")
    assert not any("hidden" in str(finding) for finding in patient.examine())


def test_a_collector_without_the_extra(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metrion.metrics.otlp_sdk", None)
    patient.configure(otlp={"endpoint": "http://localhost:4318"})
    patient.found(FAIL, "otlp:", "pip install 'metrion[otlp]'")
