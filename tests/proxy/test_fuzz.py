"""A short slice of ``scripts/fuzz-lane``, which says what it shows, on each road."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fuzzing import conversation
from tests.processes import ROADS, ROOT

TOKEN = b"sk-metrion-" + b"t" * 43


@pytest.mark.parametrize("road", ROADS)
def test_nobody_gets_in_and_nothing_gets_out(road: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "fuzz-lane"), "--road", road, "--seed", "7", "600"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 faults in " in done.stdout


def test_a_stranger_s_request_has_no_byte_of_the_token() -> None:
    """Whatever is done to what is sent: else a request that went out would show nothing."""
    strangers = 0
    for number in range(300):
        wire = b"".join(conversation(number, 7, TOKEN).pieces)
        if b"mine-" not in wire and b"void-" in wire:
            strangers += 1
            assert b"tttt" not in wire
    assert strangers > 30
