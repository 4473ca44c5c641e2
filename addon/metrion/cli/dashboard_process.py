"""The dashboard beside ``metrion serve``: a process of its own, in the same group, that ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metrion.settings import Settings

_END_SECONDS = 5.0


def start(settings: Settings, proxy_url: str) -> subprocess.Popen[bytes]:
    """Start it. However this process ends, its standard input ends with it, and the dashboard then does, too."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-m", "metrion", "dashboard", "--until-stdin-ends", "--proxy-url", proxy_url]
    if settings.config_path is not None:
        command += ["--config", str(settings.config_path)]
    environment = {**os.environ, "PYTHONPATH": path, "METRION_HOME": str(settings.home)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)


def end(process: subprocess.Popen[bytes]) -> None:
    """End it, and wait until it has."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
