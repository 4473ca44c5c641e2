"""``metrion dashboard`` as a process: where it listens, and with which certificate."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest

from metrion.control import ControlStore
from metrion.settings import Settings
from tests.processes import METRION, eventually, prepare_home
from tests.store.events import Home, event
from tests.tls import self_signed


@contextmanager
def dashboard(folder: Path, *arguments: str) -> Iterator[str]:
    """Run it; gives its address."""
    environment, log = prepare_home(folder / "home"), folder / f"log-{len(list(folder.glob('log-*')))}"
    with log.open("wb") as output:
        command = [*METRION, "dashboard", "--port", "0", *arguments]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        found = eventually(
            lambda: re.search(r"is at (\S+)", log.read_text()), until=lambda found: found or process.poll() is not None
        )
        assert found, log.read_text()
        yield found[1]
    finally:
        process.terminate()
        process.wait(20)


def test_a_new_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    files, others = self_signed(tmp_path), self_signed(tmp_path, "other")
    trusts = [ssl.create_default_context(cafile=each) for each in (files[0], others[0])]

    def accepted(url: str) -> list[bool]:
        seen = []
        for trust in trusts:
            try:
                with urllib.request.urlopen(f"{url}/login", timeout=20, context=trust) as page:  # noqa: S310 -- ours
                    seen.append(b"metrion admin create" in page.read())
            except OSError:
                seen.append(False)
        return seen

    with dashboard(tmp_path, "--tls-cert", str(files[0]), "--tls-key", str(files[1])) as address:
        assert address.startswith("https://")
        url = address.replace("127.0.0.1", "localhost")
        assert accepted(url) == [True, False]
        for file, other in zip(files, others, strict=True):
            file.write_bytes(other.read_bytes())
        eventually(lambda: accepted(url), until=lambda seen: seen == [False, True])


@pytest.mark.parametrize("insecure", [False, True])
def test_it_listens_for_others_without_tls_only_where_that_is_said(tmp_path: Path, *, insecure: bool) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 -- what it is to listen on
    if insecure:
        with dashboard(tmp_path, "--host", everywhere, "--insecure") as address:
            assert address.startswith(f"http://{everywhere}:")
        return
    done = subprocess.run(
        [*METRION, "dashboard", "--port", "0", "--host", everywhere],
        env=prepare_home(tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"write: metrion dashboard --host {everywhere} --insecure" in done.stderr


def opened(url: str, secret: str) -> Callable[[str], bytes]:
    """Log in, as a browser does; gives what reads a page."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def get(path: str, form: dict[str, str] | None = None) -> bytes:
        data = urlencode(form).encode() if form else None
        with browser.open(f"{url}{path}", data, timeout=20) as answer:
            body: bytes = answer.read()
        return body

    found = re.search(rb'name="csrf" value="([^"]+)"', get("/login"))
    assert found
    get("/login", {"csrf": found[1].decode(), "token": secret})
    return get


def test_two_show_what_a_proxy_that_is_gone_has_left(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.initialise()
    home.record(event(started_at=datetime.now(UTC).replace(tzinfo=None), user_label="ann"))
    secret = ControlStore.open(Settings(home=home.path)).create_admin().secret
    with dashboard(tmp_path) as one, dashboard(tmp_path) as other:
        for get in (opened(one, secret), opened(other, secret)):
            assert [row["user"] for row in json.loads(get("/data/requests/list.json"))] == ["ann"]
            for path in ("/", "/limits", "/alerts", "/integrate"):
                assert b"Log out" in get(path), path
        port = one.rpartition(":")[2]
        for arguments, words in ((), "Choose another --port"), (("--until-stdin-ends",), "The proxy runs without"):
            done = subprocess.run(
                [*METRION, "dashboard", "--port", port, *arguments],
                env=prepare_home(home.path), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stdout, words in done.stderr) == (1, "", True), done.stderr
