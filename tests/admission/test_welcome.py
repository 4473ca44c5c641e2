"""The answer to a look at the proxy: a page for browsers, JSON for everybody else."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from metrion.admission.welcome import welcome
from metrion.model import Answer, Headers, Inbound

NAMES = ["anthropic", "openai", "google", "mistral", "xai", "my-vllm"]
BROWSER = (b"Accept", b"text/html,application/xhtml+xml,*/*;q=0.8")


def answer(target: bytes = b"/", *headers: tuple[bytes, bytes], secure: bool = False) -> Answer:
    host: Headers = ((b"Host", b"127.0.0.1:8080"),)
    return welcome(Inbound(b"GET", target, (*host, *headers), secure=secure), NAMES, "1.2.3")


@pytest.mark.parametrize("target", [b"/", b"/?x=1", b"/api/proxy", b"/api/proxy/"])
def test_a_browser_gets_a_page(target: bytes) -> None:
    got = answer(target, BROWSER)
    headers, page = dict(got.headers), got.body.decode()
    assert got.status == 200
    assert headers[b"content-type"] == b"text/html; charset=utf-8"
    assert headers[b"content-length"] == b"%d" % len(got.body)
    for url in ("http://127.0.0.1:8080/anthropic", "http://127.0.0.1:8080/gemini", "http://127.0.0.1:8080/my-vllm"):
        assert url in page
    for word in ("metering proxy", "1.2.3", "metrion doctor", "metrion token create", "/health", "/metrics",
                 "metrion dashboard"):  # fmt: skip
        assert word in page


def test_the_page_loads_nothing_and_may_do_nothing() -> None:
    got = answer(b"/", BROWSER)
    policy = dict(got.headers)[b"content-security-policy"].decode()
    page = got.body.decode()
    (style,) = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    assert f"style-src 'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"<script|<img|<link|<iframe|\bsrc=|\bon\w+=", page)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (b"/", ()),
        (b"/", ((b"accept", b"*/*"),)),
        (b"/", ((b"accept", b"application/json"),)),
        (b"/anthropic", (BROWSER,)),
        (b"/anthropic/", ()),
    ],
)
def test_a_program_gets_json(target: bytes, headers: Headers) -> None:
    got = answer(target, *headers)
    assert (got.status, dict(got.headers)[b"content-type"]) == (200, b"application/json")
    said = json.loads(got.body)
    assert said["service"] == "metrion"
    assert said["base_urls"]["google"] == "http://127.0.0.1:8080/gemini"
    assert list(said["base_urls"]) == NAMES


def test_over_tls_the_urls_say_so() -> None:
    assert json.loads(answer(secure=True).body)["health"] == "https://127.0.0.1:8080/health"


@pytest.mark.parametrize("host", [b"", b"<script>", b'a" onload="x', b"a/b", b"x" * 300, b"\xff"])
def test_a_strange_host_is_not_repeated(host: bytes) -> None:
    for headers in ((BROWSER,), ()):
        got = welcome(Inbound(b"GET", b"/", ((b"host", host), *headers)), NAMES, "1")
        assert b"HOST:PORT" in got.body
        assert b"<script" not in got.body


@pytest.mark.parametrize("host", [b"localhost", b"metrion.example.com:443", b"[::1]:8080"])
def test_a_host_of_any_kind_is_shown(host: bytes) -> None:
    got = welcome(Inbound(b"GET", b"/", ((b"host", host),)), NAMES, "1")
    assert b"http://" + host + b"/openai" in got.body
