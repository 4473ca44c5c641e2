from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request

import pytest

from tests.cli.console import SCRIPT, Console


def asked(url: str, secret: str | None = None) -> tuple[int, object]:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:  # noqa: S310 -- our own
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize(("command", "path"), [("api", ""), ("dashboard", "/admin/v1")])
def test_it_serves_until_it_is_stopped(metrion: Console, command: str, path: str) -> None:
    secret = metrion.ok("admin", "create").strip()
    process = subprocess.Popen(
        [SCRIPT, command, "--port", "0"],
        env=metrion.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split()[-1] + path
        assert url.endswith("/admin/v1"), line
        assert asked(f"{url}/accounts")[0] == 401
        status, found = asked(f"{url}/accounts", secret)
        assert (status, isinstance(found, dict) and len(found["items"])) == (200, 1)
        metrion.ok("admin", "revoke", "admin-1")
        assert asked(f"{url}/accounts", secret)[0] == 401
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert secret not in out + err
    assert "Traceback" not in err


def test_half_of_tls_is_bad_usage(metrion: Console) -> None:
    assert metrion("api", "--tls-cert", "x.pem").status == 2


def test_a_port_that_is_taken_is_said(metrion: Console) -> None:
    assert "cannot listen on" in metrion("api", "--host", "192.0.2.1", "--port", "1", "--insecure").err
