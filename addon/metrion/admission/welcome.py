"""Answers the check that somebody is there, and the person who opens the address in a browser.

In: a request for ``/`` or for the base URL of a provider. Out: a page where a browser asks for ``/``, else JSON. Both
say what answers here, and the base URL of each provider. Never: a key, a path of the disk, or anything out of a request
but the host that it was sent to.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping

from metrion.model import Answer, Headers, Inbound, first_values
from metrion.providers import base_segment

_HOST = re.compile(rb"(?:[0-9A-Za-z._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_OWN_PREFIX = b"/api/proxy"

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #222;
  background: #fff }
table { border-collapse: collapse } td, th { text-align: left; padding: .25rem 1.5rem .25rem 0 }
code { font: 14px/1.5 ui-monospace, monospace; background: #f2f2f2; padding: .1rem .3rem; border-radius: .2rem }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } code { background: #2a2a2a } }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest())
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Metrion</title>
<style>{style}</style></head>
<body>
<h1>Metrion</h1>
<p>This is a metering proxy for the APIs of language models, version {version}. It passes requests on to their provider
unchanged, and records what each used and what it cost.</p>
<h2>Base URLs</h2>
<table><tr><th>provider</th><th>base URL</th></tr>
{rows}
</table>
<p>Set one of them as the base URL of your SDK or program, and a Metrion token (<code>sk-metrion-…</code>) in the place
of its API key. <code>metrion token create</code> makes one.</p>
<h2>Where to go on</h2>
<ul>
<li><code>metrion doctor</code> says what is missing or wrong.</li>
<li><code>metrion tail</code> shows requests as they come, <code>metrion report</code> what they cost, and
<code>metrion sql</code> answers any question.</li>
<li><code>metrion dashboard</code> shows spend, latency, errors and single requests in a browser, and
<code>metrion serve --dashboard</code> begins it with the proxy.</li>
<li><a href="{health}">{health}</a> says whether the proxy is well, and <a href="{metrics}">{metrics}</a> has its
figures for Prometheus.</li>
<li>The documentation is in <code>docs/</code> beside the README.</li>
</ul>
</body>
</html>
"""
_COMMON = (
    (b"cache-control", b"no-store"),
    (b"vary", b"accept"),
    (b"x-content-type-options", b"nosniff"),
)
_PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'sha256-%b'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        % _STYLE_HASH,
    ),
    (b"referrer-policy", b"no-referrer"),
)


def welcome(inbound: Inbound, providers: Iterable[str], version: str) -> Answer:
    """Answer a request for ``/`` or for a provider's base URL."""
    fields = first_values(inbound.headers)
    base = _base(inbound, fields)
    urls = {name: f"{base}/{base_segment(name)}" for name in providers}
    if inbound.path.removeprefix(_OWN_PREFIX) in (b"", b"/") and b"text/html" in fields.get(b"accept", b"").lower():
        return _answer(_page(urls, base, version).encode(), _PAGE_HEADERS)
    said = {"service": "metrion", "version": version, "base_urls": urls, "health": f"{base}/health"}
    return _answer(json.dumps(said).encode(), ((b"content-type", b"application/json"),))


def _base(inbound: Inbound, fields: Mapping[bytes, bytes]) -> str:
    """Return the address under which the client knows this proxy."""
    host = fields.get(b"host", b"")
    name = host.decode() if _HOST.fullmatch(host) else "HOST:PORT"
    return f"{'https' if inbound.secure else 'http'}://{name}"


def _page(urls: Mapping[str, str], base: str, version: str) -> str:
    rows = "\n".join(
        f"<tr><td>{html.escape(name)}</td><td><code>{html.escape(url)}</code></td></tr>" for name, url in urls.items()
    )
    paths = {name: html.escape(f"{base}/{name}") for name in ("health", "metrics")}
    return _PAGE.format(style=_STYLE, version=html.escape(version), rows=rows, **paths)


def _answer(body: bytes, headers: Headers) -> Answer:
    return Answer(200, (*headers, *_COMMON, (b"content-length", b"%d" % len(body))), body)
