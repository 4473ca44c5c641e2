"""Blind tunnels: the addresses to which they lead, and the whole of it in a network namespace."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys

import pytest

from metrion.admission import BlindTunnel
from metrion.model import Refusal
from metrion.proxy.tunnels import Targets
from tests.processes import ROOT

NAMES = {
    "other.example": ["93.184.215.14", "2606:2800:220::1"],
    "many.example": [f"93.184.215.{n}" for n in range(20)],
    "private.example": ["10.0.0.1", "::1", "::ffff:93.184.215.14"],
    "mixed.example": ["127.0.0.1", "93.184.215.14"],
    "api.openai.com": ["93.184.215.77"],
    "alias.example": ["93.184.215.77"],
    "half.example": ["93.184.215.77", "93.184.215.14"],
}


def look_up(host: str, port: int) -> list[str]:
    del port
    if host not in NAMES:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")
    return NAMES[host]


def addresses(host: str) -> list[str] | Refusal:
    async def ask() -> list[str] | Refusal:
        targets = Targets(lambda: {"api.openai.com", "unknown.example"}, look_up)
        try:
            return await targets.addresses(BlindTunnel(host, 443))
        finally:
            targets.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("other.example", NAMES["other.example"]),
        ("many.example", NAMES["many.example"][:4]),
        ("mixed.example", ["93.184.215.14"]),
        ("half.example", ["93.184.215.14"]),
    ],
)
def test_addresses_that_passed(host: str, expected: list[str]) -> None:
    assert addresses(host) == expected


@pytest.mark.parametrize(
    ("host", "status", "words"),
    [
        ("private.example", 403, "no address on the public Internet"),
        ("alias.example", 403, "that of a provider's host"),
        ("nowhere.example", 502, "cannot be resolved"),
    ],
)
def test_no_address_passed(host: str, status: int, words: str) -> None:
    refused = addresses(host)
    assert isinstance(refused, Refusal)
    assert refused.status == status
    assert words in refused.message


def test_a_providers_address_is_remembered() -> None:
    """Its name's answers take turns; one that was seen before is a provider's still."""
    turns = iter([["93.184.215.77"], ["93.184.215.78"]])

    async def ask() -> list[list[str] | Refusal]:
        targets = Targets(
            lambda: {"api.openai.com"}, lambda host, _: next(turns) if host == "api.openai.com" else [host]
        )
        found = [await targets.addresses(BlindTunnel("93.184.215.77", 443))]
        targets._checked.clear()  # a minute later
        found += [await targets.addresses(BlindTunnel(f"93.184.215.{last}", 443)) for last in (77, 78, 79)]
        targets.close()
        return found

    *refused, allowed = asyncio.run(ask())
    assert [type(each) for each in refused] == [Refusal] * 3
    assert allowed == ["93.184.215.79"]


def test_in_a_network_namespace() -> None:
    """Through both programs: what is refused, and bytes, half-closes and back-pressure of what is not."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "ip", "mount"))):
        pytest.skip("a network namespace needs root, unshare, ip and mount")
    within = ["unshare", "--net", "--mount"]
    if subprocess.run([*within, "ip", "link", "set", "lo", "up"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel makes no network namespace")
    command = [*within, sys.executable, "-m", "tests.tunnelled"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
