from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrion.running.proxies import published, running


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_home_without_a_proxy(tmp_path: Path) -> None:
    assert running(tmp_path) is None
    assert running(tmp_path / "nowhere") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 -- what somebody listens on
def test_one_that_listens(tmp_path: Path, port: int, host: str) -> None:
    with published(tmp_path, f"http://{host}:{port}"):
        assert running(tmp_path) == f"http://127.0.0.1:{port}"
        assert running(tmp_path) == f"http://127.0.0.1:{port}", "to look changes nothing"
    assert running(tmp_path) is None
    assert not list((tmp_path / "proxies").iterdir())


def test_one_that_accepts_no_connections_any_more(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with published(tmp_path, url):
        assert running(tmp_path) is None


def test_one_with_a_certificate_that_clients_may_not_trust(tmp_path: Path, port: int) -> None:
    with published(tmp_path, f"https://127.0.0.1:{port}"):
        assert running(tmp_path) is None


def test_one_that_was_killed_left_nothing_to_believe(tmp_path: Path, port: int) -> None:
    program = (
        "import os, pathlib, sys\n"
        "from metrion.running.proxies import published\n"
        "with published(pathlib.Path(sys.argv[1]), sys.argv[2]): os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path, f"http://127.0.0.1:{port}"], check=False)
    assert len(list((tmp_path / "proxies").iterdir())) == 1
    assert running(tmp_path) is None
    assert not list((tmp_path / "proxies").iterdir())


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with published(tmp_path, "http://127.0.0.1:1"):
        assert running(tmp_path) is None


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.touch()
    with published(home, "http://127.0.0.1:1"):
        assert running(home) is None
