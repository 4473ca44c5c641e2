"""``metrion dashboard`` as a process: where it listens, and with which certificate."""

from __future__ import annotations

import re
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import METRION, eventually, prepare_home
from tests.tls import self_signed


@contextmanager
def dashboard(folder: Path, *arguments: str) -> Iterator[str]:
    """Run it; gives its address."""
    environment, log = prepare_home(folder / "home"), folder / "log"
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
