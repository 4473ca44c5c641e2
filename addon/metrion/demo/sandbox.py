"""The sandbox of `metrion demo`: a simulator and a real `metrion serve`, in a home that vanishes afterwards.

:func:`running_sandbox` gives a :class:`Sandbox` and ends both processes with the block. It neither reads nor writes
anything of the user's: not the home, not the configuration, not the provider keys of the environment.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer

from metrion.admission import mask
from metrion.errors import DemoError
from metrion.providers import PROVIDERS
from metrion.simulator.answers import PROVIDERS as SIMULATED

_START_SECONDS = 30.0
_END_SECONDS = 60.0
"""More than the proxy takes to drain: if it is killed, its workers go on writing into the home that is deleted."""
_GREETING = re.compile(r"(?P<url>http://127\.0\.0\.1:[0-9]+).*?(?P<token>sk-metrion-[A-Za-z0-9_-]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A proxy that is ready to be called."""

    url: str
    token: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)

    def metrion(self, *arguments: str) -> str:
        """Run a command of Metrion beside the proxy and return what it printed.

        :raises DemoError: the command failed.
        """
        return _metrion(self.environment, *arguments)


@contextmanager
def running_sandbox(say: Callable[[str], None], pricing: Sequence[Path] = ()) -> Iterator[Sandbox]:
    """Start everything, and ``say`` each step.

    ``pricing`` replaces the price files.

    :raises DemoError: a process does not start.
    """
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metrion-demo-")))
        simulator_url = stack.enter_context(_running_simulator(home))
        environment = _environment(home, simulator_url)
        if pricing:
            settings = Path(environment["METRION_HOME"], "metrion.yaml")
            settings.parent.mkdir(mode=0o700)
            settings.write_text(json.dumps({"pricing": [str(file) for file in pricing]}), "utf-8")  # JSON is YAML
        for provider in SIMULATED:
            say(f"$ metrion key set {provider:<10} (a made-up one)")
            _metrion(environment, "key", "set", provider, stdin=f"sk-made-up-key-of-{provider}")
        say("$ metrion serve")
        url, token = stack.enter_context(_running_proxy(home, environment))
        say(f"  listens on {url} and made the token {mask(token)}\n")
        yield Sandbox(url, token, environment)


def _environment(home: Path, simulator_url: str) -> dict[str, str]:
    keys = {provider.environment for provider in PROVIDERS.values()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_") and name not in keys}
    upstreams = {f"METRION_{name.upper()}_UPSTREAM": f"{simulator_url}/{name}" for name in SIMULATED}
    return kept | upstreams | {"METRION_HOME": str(home / "home")}


def _metrion(environment: Mapping[str, str], *arguments: str, stdin: str = "") -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "metrion", *arguments],
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if ran.returncode:
        raise DemoError(f"`metrion {' '.join(arguments)}` failed: {ran.stderr.strip()}")
    return ran.stdout


@contextmanager
def _running_simulator(home: Path) -> Iterator[str]:
    with _running(
        home, "simulator", [sys.executable, "-m", "metrion.simulator.server", "--until-stdin-closes"]
    ) as lines:
        with closing(lines):
            port = json.loads(next(lines))["port"]
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running_proxy(home: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    command = [sys.executable, "-m", "metrion", "serve", "--host", "127.0.0.1", "--port", "0"]
    with _running(home, "proxy", command, environment) as lines:
        found, greeting = None, ""
        with closing(lines):
            while not found:
                greeting += next(lines)
                found = _GREETING.search(greeting)
        yield found["url"], found["token"]


@contextmanager
def _running(
    home: Path, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[Generator[str]]:
    """Run a process for the length of the block and give the lines that it prints.

    Whoever has read what shows that it started closes the lines: otherwise it is killed after ``_START_SECONDS``.
    """
    errors = home / f"{name}.log"
    with (
        errors.open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, encoding="utf-8"
        ) as process,
    ):
        try:
            yield _lines(process, name, errors)
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _lines(process: subprocess.Popen[str], name: str, errors: Path) -> Generator[str]:
    assert process.stdout is not None  # noqa: S101 -- it is a pipe
    patience = Timer(_START_SECONDS, process.kill)
    patience.start()
    try:
        for line in process.stdout:  # noqa: UP028 -- `yield from` would close the pipe with the lines
            yield line
    finally:
        patience.cancel()
    raise DemoError(f"the {name} did not start: {errors.read_text('utf-8', 'replace').strip() or 'it said nothing'}")
