"""``metrion ca``: the authority of a home, and what is said of it."""

from __future__ import annotations

import ssl
from hashlib import sha256
from pathlib import Path

from click.testing import CliRunner

from metrion.cli import commands
from tests.processes import prepare_home


def test_it_is_made_once_and_shown(tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home")
    shown = CliRunner(env=environment).invoke(commands, ["ca"])
    pem = CliRunner(env=environment).invoke(commands, ["ca", "--pem"])
    file = tmp_path / "home" / "ca" / "mitmproxy-ca-cert.pem"
    assert pem.output == file.read_text()
    digest = sha256(ssl.PEM_cert_to_DER_cert(pem.output)).hexdigest().upper()
    assert digest in shown.output.replace(":", "")
    assert str(file) in shown.output
    assert "do not need it" in shown.output
    assert "PRIVATE KEY" not in shown.output + pem.output


def test_one_that_is_damaged(tmp_path: Path) -> None:
    environment = prepare_home(tmp_path / "home")
    (tmp_path / "home" / "ca").mkdir()
    (tmp_path / "home" / "ca" / "mitmproxy-ca-cert.pem").write_bytes(b"\xff")
    shown = CliRunner(env=environment).invoke(commands, ["ca"])
    assert shown.exit_code == 1
    assert "Remove" in shown.output
