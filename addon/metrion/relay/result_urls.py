"""The option ``rewrite_result_urls``: the URL of a batch's results names the proxy. No I/O.

Anthropic's answers about message batches say by an absolute ``results_url`` where the results are, and its SDK fetches
them there: past the proxy, with the Metrion token. :func:`with_own_urls` puts the proxy's address into that URL, as the
client has it, and changes no other byte. :class:`metrion.relay.rewrites.ResultUrls` applies it.
"""

from __future__ import annotations

import re

from metrion.model import Inbound, Route, first_values

_RESULTS_URL = re.compile(rb'("results_url"[ \t\n\r]*+:[ \t\n\r]*+")https?:(?:\\?/){2}[^/\\"?#]++(?=\\?/)')
"""The member up to its URL's path. Within a string its quotes would be escaped."""
_HOST = re.compile(rb"[\w.:\[\]-]+", re.ASCII)


def own_base(inbound: Inbound, route: Route) -> bytes | None:
    """Return the proxy's address as the client has it, up to the path of the provider; ``None`` where it has none."""
    fields = first_values(inbound.headers)
    host = fields.get(b"host", b"").strip()
    if not _HOST.fullmatch(host):
        return None
    # Where something before the proxy ends TLS, a plain URL would send the token in the clear.
    secure = inbound.secure or fields.get(b"x-forwarded-proto", b"").strip().lower() == b"https"
    by_path = b"" if inbound.origin is not None else b"/" + route.provider.encode()
    return (b"https" if secure else b"http") + b"://" + host + by_path


def with_own_urls(body: bytes, base: bytes) -> bytes:
    """Return a JSON body in which every ``results_url`` begins with ``base``."""
    return _RESULTS_URL.sub(lambda found: found[1] + base, body)
