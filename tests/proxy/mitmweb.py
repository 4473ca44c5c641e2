"""A running mitmweb with the addon, and what its own HTTP API says of flows."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import PROVIDERS, ROOT, Proxy, accepts, eventually, free_port, running_proxy

MITMWEB = (sys.executable, "-c", "from mitmproxy.tools.main import mitmweb; mitmweb()")
_PASSWORD = "a-password-of-the-tests"


@dataclass(slots=True)
class Mitmweb:
    """See the module."""

    proxy: Proxy
    web: str

    def ask(self, path: str, body: Mapping[str, Any] | None = None, *, method: str | None = None) -> Any:
        """What the API answers."""
        request = urllib.request.Request(  # noqa: S310 -- the test's own server
            f"{self.web}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {_PASSWORD}", "Content-Type": "application/json", **self._xsrf(body)},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 -- as above
            text = answer.read()
        return json.loads(text) if text else None

    def flows(self) -> list[dict[str, Any]]:
        flows: list[dict[str, Any]] = self.ask("/flows")
        return flows

    def view(self, flow: Mapping[str, Any], message: str, name: str = "auto") -> dict[str, Any]:
        """What a content view makes of a message."""
        view: dict[str, Any] = self.ask(f"/flows/{flow['id']}/{message}/content/{name}.json")
        return view

    def command(self, name: str, *arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask(f"/commands/{name}", {"arguments": arguments})
        return answer

    def log(self) -> str:
        """What the event log says."""
        return "\n".join(entry["message"] for entry in self.ask("/events"))

    @property
    def page(self) -> str:
        """Where a browser finds it."""
        return f"{self.web}/?token={_PASSWORD}"

    def _xsrf(self, body: object) -> dict[str, str]:
        return {} if body is None else {"Cookie": "_xsrf=7e57; _mitmproxy_xsrf=7e57", "X-XSRFToken": "7e57"}


@contextlib.contextmanager
def running_mitmweb(home: Path, upstream: str, *arguments: str) -> Iterator[Mitmweb]:
    """Run mitmweb by path, with this server in every provider's place."""
    port, web_port = free_port(), free_port()
    config = {
        "providers": {name: {"upstream": upstream} for name in PROVIDERS},
        "plans": {"pro": {"requests_per_minute": 0}},
    }
    command = [*MITMWEB, "-s", str(ROOT / "addon" / "metrion_addon.py"), "--listen-host", "127.0.0.1", "-p", str(port)]
    options = {"confdir": home / "ca", "web_port": web_port, "web_open_browser": "false", "web_password": _PASSWORD}
    command += [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
    with running_proxy(home, [*command, *arguments], config, ports=[port]) as proxy:
        proxy.port = port
        eventually(lambda: accepts(web_port))
        yield Mitmweb(proxy, f"http://127.0.0.1:{web_port}")
