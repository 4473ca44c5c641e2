"""Everything that is compared: the provider itself, and the proxies in front of it.

A target is started when a measurement first asks for it, and lives to the end of the run. Metering, limits and the
journal are on in each that has them. After each measurement ``Fleet.check`` compares the events of a target with the
answers of the upstream: one for each request, and the same sums of tokens.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts.benchmark import others
from scripts.benchmark.driver import Load, Plan, drive
from scripts.benchmark.link import Link, running_link
from scripts.benchmark.messages import requests
from scripts.benchmark.system import BenchError
from scripts.benchmark.upstream import Upstream, running_upstream
from tests.processes import MITMDUMP, ROOT, Proxy, eventually, free_port, running_proxy, running_serve

PATH = "/v1/chat/completions"
ROUND_TRIP = 0.04
"""Of the link with a delay, in seconds."""
CONCURRENCY = 16

DIRECT, SERVE, SCRIPT, BARE = "direct", "serve", "mitmdump -s", "bare mitmdump"
TWO_WORKERS, OTHER_ROAD, UNMETERED = "serve, 2 workers", "serve, mitmproxy's road", "serve, metering off"

SERVES: Mapping[str, tuple[tuple[str, ...], dict[str, str]]] = {
    SERVE: ((), {}),
    TWO_WORKERS: (("--workers", "2"), {}),
    OTHER_ROAD: ((), {"METRION_ROAD": "mitmproxy"}),
    UNMETERED: ((), {"METRION_METERING": "off"}),
}
"""Ways to run ``metrion serve``: arguments and environment."""

PLANS = {"plans": {"pro": {"requests_per_minute": 1_000_000, "timeout": 60}}}
"""Counted like any, and refused never."""

_SUMS = """
SELECT count(*) AS requests,
       coalesce(sum(input_tokens) FILTER (usage_source = 'reported'), 0) AS input,
       coalesce(sum(cache_read_tokens) FILTER (usage_source = 'reported'), 0) AS cached,
       coalesce(sum(output_tokens) FILTER (usage_source = 'reported'), 0) AS output
FROM events
"""


@dataclass(slots=True)
class Target:
    """Somewhere to send requests to."""

    name: str
    port: int
    path: str = PATH
    fields: Mapping[str, str] = field(default_factory=lambda: {"authorization": "Bearer none"})
    group: int | None = None
    """Process group of the proxy; ``None``: there is none."""
    metered: Proxy | None = None
    """The proxy whose events must agree with the upstream's answers."""
    sent: int = field(default=0, init=False)
    _checked: int = field(default=0, init=False)

    @property
    def mark(self) -> str:
        """The name that its requests carry."""
        return re.sub(r"[^\w-]", "-", self.name)

    def requests(self, *, stream: bool = False, query: str = "") -> Iterator[bytes]:
        """Yield requests without end."""
        for request in requests(self.port, self.path + query, self.fields, self.mark, stream=stream):
            self.sent += 1
            yield request

    def drive(self, plan: Plan, *, stream: bool = False, query: str = "") -> Load:
        """Put a load on it."""
        return drive(self.port, self.requests(stream=stream, query=query), plan)

    def check(self, upstream: Upstream, *, timeout: float = 30) -> None:
        """Wait until each request has its event, and compare them with the upstream's answers.

        :raises BenchError: they do not agree.
        """
        if self.metered is None or self._checked == self.sent:
            return
        handed_out = upstream.tally(self.mark)
        if handed_out.requests != self.sent:
            raise BenchError(f"{self.name}: {self.sent} requests sent, {handed_out.requests} reached the upstream")
        expected = asdict(handed_out)
        metered = self.metered
        try:
            eventually(lambda: metered.events(_SUMS)[0], timeout=timeout, until=lambda sums: sums == expected)
        except AssertionError as error:
            raise BenchError(f"{self.name}: the events are not what was handed out ({expected}): {error}") from error
        self._checked = self.sent


class Fleet:
    """The upstream and the targets in front of it, started one by one as they are asked for."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say
        self._stack = contextlib.ExitStack()
        self._running: dict[str, Target | None] = {}

    def __enter__(self) -> Self:
        self.upstream: Upstream = self._stack.enter_context(running_upstream(self.folder / "certificate"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def link(self) -> Link:
        """The link with a delay to the upstream's TLS."""
        link: Link = self._stack.enter_context(running_link(self.upstream.tls, ROUND_TRIP))
        return link

    def get(self, name: str) -> Target:
        """Return one of the project's own targets."""
        target = self.find(name)
        if target is None:
            raise BenchError(f"{name} does not run")
        return target

    def find(self, name: str) -> Target | None:
        """Return a target; ``None`` if it is not installed, or does not start."""
        if name not in self._running:
            try:
                self._running[name] = self._stack.enter_context(self._start(name))
            except others.NotInstalledError as error:
                self._say(f"{name} is left out: {error}")
                self._running[name] = None
        return self._running[name]

    def check(self) -> None:
        """Compare the events of all targets with the upstream's answers."""
        for target in self._running.values():
            if target is not None:
                target.check(self.upstream)

    def _start(self, name: str) -> AbstractContextManager[Target]:
        clear = f"http://127.0.0.1:{self.upstream.clear}"
        if name == DIRECT:
            return contextlib.nullcontext(Target(DIRECT, self.upstream.clear))
        if name in others.STARTERS:
            return self._other(name)
        kind, _, over = name.partition(" over ")
        address = {"": clear, "TLS": f"https://localhost:{self.upstream.tls}"}.get(over)
        if address is None:
            address = f"https://localhost:{self.link.port}"
        return running(self.folder, name, kind, address, self.upstream.certificate)

    @contextlib.contextmanager
    def _other(self, name: str) -> Iterator[Target]:
        with others.running(name, self.folder / name.lower(), self.upstream.clear) as other:
            yield Target(name, other.port, other.path, other.fields, other.group)


@contextlib.contextmanager
def running(folder: Path, name: str, kind: str, address: str, certificate: Path) -> Iterator[Target]:
    """Run one of the project's own targets, in front of an address, for the length of the block."""
    home = folder / re.sub(r"\W+", "-", name)
    config = {"providers": {"openai": {"upstream": address}}} | PLANS
    if kind in SERVES:
        arguments, variables = SERVES[kind]
        environment = variables | {"SSL_CERT_FILE": str(certificate)}
        with running_serve(home, config, arguments=arguments, environment=environment) as proxy:
            metered = None if kind == UNMETERED else proxy
            yield Target(name, proxy.port, f"/openai{PATH}", _bearer(proxy), proxy.process.pid, metered)
    else:
        with _running_mitmdump(home, kind, config, address, certificate) as (proxy, port):
            metered = proxy if kind == SCRIPT else None
            yield Target(name, port, PATH, _bearer(proxy), proxy.process.pid, metered)


@contextlib.contextmanager
def _running_mitmdump(
    home: Path, kind: str, config: Mapping[str, Any], address: str, certificate: Path
) -> Iterator[tuple[Proxy, int]]:
    """Run mitmdump in reverse mode, with the addon or without it. It streams bodies, as Metrion does."""
    port = free_port()
    settings = {
        "confdir": home / "ca",
        "stream_large_bodies": 1,
        "ssl_verify_upstream_trusted_ca": certificate,
    }
    command = [*MITMDUMP, "--mode", f"reverse:{address}@127.0.0.1:{port}"]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    if kind == SCRIPT:
        command += ["-s", str(ROOT / "addon" / "metrion_addon.py")]
    with running_proxy(home, command, config, ports=[port]) as proxy:
        yield proxy, port


def _bearer(proxy: Proxy) -> dict[str, str]:
    return {"authorization": f"Bearer {proxy.token}"}
