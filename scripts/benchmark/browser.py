"""A dashboard of the benchmark's own, as its own process, and the clients that walk through its pages."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

from metrion.control import ControlStore
from metrion.settings import Settings
from scripts.benchmark.system import BenchError, running_program

PAGES = ("/", "/?range=24h", "/?range=90d", "/?provider=openai", "/?user=user-17", "/?by=user", "/requests",
         "/requests?outcome=failed", "/latency", "/errors", "/cache", "/limits", "/sessions")  # fmt: skip
"""The first view, then what a click on a filter or a tab leads to."""
FIRST_VIEW = ("/", "/static/metrion.css", "/static/metrion.js", "/static/metrion.svg")
"""What a browser asks for until it can show the first page whole."""
ANSWER_SECONDS = 120.0
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


class Browser:
    """One browser: a kept connection, its cookies, logged in by the token of an administrator."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        self._cookies: dict[str, str] = {}
        found = _CSRF.search(self._ask("GET", "/login", {}).decode())
        if found is None:
            raise BenchError("the dashboard's log-in has no form")
        self._ask("POST", "/login", {"csrf": found[1], "token": token})

    def get(self, path: str) -> bytes:
        """Return a page, whole.

        :raises BenchError: it is not answered with 200.
        """
        return self._ask("GET", path, {})

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _ask(self, method: str, path: str, fields: Mapping[str, str]) -> bytes:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, urlencode(fields) if fields else None, headers)
        response = self._connection.getresponse()
        body = response.read()
        for cookie in response.headers.get_all("set-cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        if response.status != (303 if method == "POST" else 200):
            raise BenchError(f"{path}: the dashboard answered {response.status}: {body[:300]!r}")
        return body


def admin_token(home: Path) -> str:
    """Make a token that opens the dashboard of a home."""
    with contextlib.closing(ControlStore.open(Settings(home=home))) as control:
        return control.create_admin().secret


@contextlib.contextmanager
def walking(port: int, token: str, browsers: int, pause: float) -> Iterator[list[float]]:
    """Have so many browsers walk through the pages for the length of the block, each with a pause after a page.

    They are a process of their own. Afterwards the list has the seconds that each page took.

    :raises BenchError: a page was not answered.
    """
    took: list[float] = []
    with running_program("scripts.benchmark.browser", str(port), str(browsers), str(pause)) as program:
        program.write_line(token)
        program.read_line()
        yield took
        program.write_line("")
        took += json.loads(program.read_line())


# --- the program ------------------------------------------------------------------------------------------------------


def _walk(port: int, token: str, count: int, pause: float) -> list[float]:
    took: list[float] = []
    over, failed = threading.Event(), threading.Event()
    browsers = [Browser(port, token) for _ in range(count)]

    def go(browser: Browser, number: int) -> None:
        over.wait(pause * number / count)  # they do not click at the same moment
        try:
            while not over.is_set():
                began = time.perf_counter()
                browser.get(PAGES[number % len(PAGES)])
                took.append(time.perf_counter() - began)
                number += 1
                over.wait(pause)
        except (OSError, http.client.HTTPException, BenchError) as error:
            print(f"A browser gave up: {error}", file=sys.stderr)
            failed.set()

    threads = [threading.Thread(target=go, args=(browser, n)) for n, browser in enumerate(browsers)]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    over.set()
    for thread in threads:
        thread.join()
    if failed.is_set():
        sys.exit(1)
    return took


if __name__ == "__main__":
    print(json.dumps(_walk(int(sys.argv[1]), sys.stdin.readline().strip(), int(sys.argv[2]), float(sys.argv[3]))))
