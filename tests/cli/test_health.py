"""``metrion health``: what a container or a service is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.processes import METRION, prepare_home, running_serve, upstreams
from tests.simulated import Simulator
from tests.tls import self_signed


def asked(environment: dict[str, str]) -> tuple[int, str, str]:
    done = subprocess.run(
        [*METRION, "health"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_serves_and_then_does_not(simulator: Simulator, tmp_path: Path, scheme: str) -> None:
    certificate, key = self_signed(tmp_path)
    arguments = ("--tls-cert", str(certificate), "--tls-key", str(key)) if scheme == "https" else ()
    with running_serve(tmp_path / "home", upstreams(simulator), arguments=arguments) as proxy:
        environment = dict(proxy.environment)
        assert asked(environment) == (0, f"{scheme}://127.0.0.1:{proxy.port}: ok\n", "")
        proxy.kill()
    status, out, error = asked(environment)
    assert (status, out) == (1, "")
    assert "start one with `metrion serve`" in error


def test_a_home_without_a_proxy(tmp_path: Path) -> None:
    assert asked(prepare_home(tmp_path / "home"))[0] == 1
