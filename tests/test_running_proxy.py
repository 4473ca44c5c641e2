"""Whose proxy listens: this home's, another's, or something else; a command says where its work is not known."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from metrion.control import make_fingerprint
from metrion.running_proxy import find, other_home, words_of_holder
from metrion.settings import Settings, load_settings
from tests.cli.console import Console
from tests.processes import Proxy, free_port
from tests.tls import tls_in_front_of

HEALTH = {"status": "ok", "in_flight": 0}


@contextlib.contextmanager
def answering(body: object) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def settings_at(home: Path, port: int) -> Settings:
    home.mkdir(exist_ok=True)
    (home / "metrion.yaml").write_text(yaml.safe_dump({"listen": f"127.0.0.1:{port}"}))
    return load_settings(None, {"METRION_HOME": str(home)})


@pytest.mark.parametrize(
    ("reported", "says", "holds"),
    [
        ("own", False, "A Metrion proxy of this METRION_HOME holds the port"),
        ("0123456789abcdef", True, "A Metrion proxy of another METRION_HOME holds the port"),
        (None, False, "A Metrion proxy holds the port"),
    ],
)
def test_which_home_it_serves(tmp_path: Path, reported: str | None, *, says: bool, holds: str) -> None:
    settings = settings_at(tmp_path, 1)
    own = make_fingerprint(settings)
    with answering(HEALTH | {"home": own if reported == "own" else reported}) as port:
        settings = settings_at(tmp_path, port)
        words = other_home(settings)
        assert (words is not None) is says
        if words is not None:
            assert f"the proxy at http://127.0.0.1:{port} serves another METRION_HOME" in words
        assert words_of_holder("127.0.0.1", port, settings).startswith(holds)
        assert words_of_holder("0.0.0.0", port, settings).startswith(holds)  # noqa: S104 -- asked, not listened on


@pytest.mark.parametrize("body", [[], {}, "hello", {"status": "ok"}])
def test_another_program_is_no_proxy(tmp_path: Path, body: object) -> None:
    with answering(body) as port:
        settings = settings_at(tmp_path, port)
        assert other_home(settings) is None
        assert words_of_holder("127.0.0.1", port, settings) == "Another program holds the port"


def test_a_proxy_that_serves_https_is_found(tmp_path: Path) -> None:
    with answering(HEALTH | {"home": "0123456789abcdef"}) as plain, tls_in_front_of(plain, tmp_path) as secure:
        words = str(other_home(settings_at(tmp_path, secure.port)))
    assert f"the proxy at https://127.0.0.1:{secure.port} serves another METRION_HOME" in words


def test_nobody_and_somebody_silent_are_no_proxy(tmp_path: Path) -> None:
    assert find("127.0.0.1", free_port()) is None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = find("127.0.0.1", port, timeout=0.1)
        assert found is not None
        assert found.health is None
        assert other_home(settings_at(tmp_path, free_port())) is None


@pytest.mark.parametrize(
    ("command", "stdin"), [(("token", "create"), ""), (("key", "set", "openai"), "a-key-0123456789")]
)
def test_commands_say_where_their_work_is_not_known(
    serve_lane: Proxy, metrion_elsewhere: Console, command: tuple[str, ...], stdin: str
) -> None:
    (metrion_elsewhere.home / "metrion.yaml").write_text(f"listen: 127.0.0.1:{serve_lane.port}\n")
    done = metrion_elsewhere(*command, stdin=stdin)
    assert done.status == 0
    assert f"the proxy at http://127.0.0.1:{serve_lane.port} serves another METRION_HOME" in done.err
    assert "METRION_HOME" not in done.out


def test_commands_in_the_proxy_s_home_say_nothing(serve_lane: Proxy) -> None:
    own = Console(serve_lane.home)
    config = serve_lane.home.parent / "listening.yaml"
    config.write_text(f"listen: 127.0.0.1:{serve_lane.port}\n")
    done = own("token", "create", "quiet", "--config", str(config))
    assert done.status == 0
    assert "METRION_HOME" not in done.err
    own.ok("token", "revoke", "quiet")


@pytest.fixture
def metrion_elsewhere(tmp_path: Path) -> Console:
    (tmp_path / "home").mkdir()
    return Console(tmp_path / "home")
