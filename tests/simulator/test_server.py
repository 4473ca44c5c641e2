"""The simulator as a program: where it listens, which keys it takes, how it ends."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys

import pytest

from tests.simulated import Simulator, running_simulator
from tests.simulator.calls import KEY, post


def test_it_says_where_it_listens_and_ends_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "metrion.simulator.server", "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert json.loads(process.stdout.readline())["port"] > 0
        process.stdin.close()
        assert process.wait(timeout=20) == 0


def test_sigint_ends_it_without_a_traceback() -> None:
    command = [sys.executable, "-m", "metrion.simulator.server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize("key", ["nobody=1", "openai", "openai="])
def test_a_wrong_key_option_is_bad_usage(key: str) -> None:
    command = [sys.executable, "-m", "metrion.simulator.server", "--key", key]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert ran.returncode == 2
    assert "is not PROVIDER=KEY with one of anthropic, google, mistral, openai, xai" in ran.stderr


def test_only_the_expected_key_is_accepted() -> None:
    with running_simulator(keys={"openai": "sk-right"}) as simulator:
        client = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=20)
        assert post(client, {"authorization": "Bearer sk-wrong"})[0].status == 401
        assert post(client, {"authorization": "Bearer sk-right"})[0].status == 200
        client.close()


def test_each_provider_has_a_port_of_its_own(simulator: Simulator) -> None:
    for provider in ("anthropic", "google", "mistral", "openai", "xai"):
        client = http.client.HTTPConnection(simulator.upstream_by_port(provider).removeprefix("http://"), timeout=20)
        client.request("GET", "/v1/models", headers=KEY)
        assert client.getresponse().status == 200
        client.close()
        (received,) = simulator.received(1)
        assert (received.provider, received.port) == (provider, simulator.ports[provider])
