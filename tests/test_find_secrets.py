"""``scripts/find-secrets``, which goes over what the tests have written: that it would find what is there."""

from __future__ import annotations

import base64
import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, STORED_KEYS

KEY = STORED_KEYS["openai"].encode()
TOKEN = b"sk-metrion-" + b"Ab1_" * 11


def looked(folder: Path) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "scripts" / "find-secrets"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "content",
    [TOKEN, b"\x00before " + TOKEN + b"\xff", KEY, base64.b64encode(b"a: " + KEY + b" and more"), gzip.compress(KEY)],
    ids=["token", "among bytes", "key", "base64", "gzip"],
)
def test_a_secret_is_found_and_not_shown(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "proxy-1.ndjson").write_bytes(content)
    status, said = looked(tmp_path)
    assert (status, "1 with a secret" in said) == (1, True)
    assert "proxy-1.ndjson" in said
    assert KEY.decode() not in said
    assert TOKEN.decode() not in said


def test_what_people_write_and_what_is_no_secret_are_none(tmp_path: Path) -> None:
    (tmp_path / "metrion.yaml").write_bytes(KEY)
    (tmp_path / "usage.duckdb").write_bytes(b"sk-metrion-\xe2\x80\xa6wxyz")
    assert looked(tmp_path) == (0, "1 files read, 0 with a secret in them\n")


def test_no_file_is_no_proof(tmp_path: Path) -> None:
    assert looked(tmp_path)[0] == 1
