from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from metrion.running.certificates import bundle


def count(pem: bytes) -> int:
    return pem.count(b"-----BEGIN CERTIFICATE-----")


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "ours.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n")
    return path


def test_the_systems_authorities_and_ours(authority: Path) -> None:
    made = bundle({}, authority)
    assert made.endswith(authority.read_bytes())
    assert count(made) > 50


def test_those_that_the_environment_names_come_in_their_place(authority: Path, tmp_path: Path) -> None:
    own, extra = tmp_path / "own.pem", tmp_path / "extra.pem"
    own.write_text("-----BEGIN CERTIFICATE-----\nown\n-----END CERTIFICATE-----")
    extra.write_text("-----BEGIN CERTIFICATE-----\nextra\n-----END CERTIFICATE-----")
    named = {"SSL_CERT_FILE": str(own), "CURL_CA_BUNDLE": str(own), "NODE_EXTRA_CA_CERTS": str(extra)}
    assert [line for line in bundle(named, authority).decode().splitlines() if "-" not in line and line] == [
        "own",
        "extra",
        "ours",
    ]


def test_a_file_that_is_gone_is_left_out(authority: Path) -> None:
    assert bundle({"SSL_CERT_FILE": "/nowhere.pem"}, authority) == authority.read_bytes()


def test_openssl_reads_it(authority: Path, tmp_path: Path) -> None:
    usual = bundle({}, authority).removesuffix(authority.read_bytes())
    (first,) = (usual[: usual.index(b"-----END CERTIFICATE-----") + 25],)
    authority.write_bytes(first + b"\n")
    made = tmp_path / "both.pem"
    made.write_bytes(bundle({}, authority))
    ssl.create_default_context(cafile=str(made))
