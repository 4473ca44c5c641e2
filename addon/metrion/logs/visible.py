"""Makes text that strangers sent fit for a log: one line of printable characters without a credential.

In: text, and the credentials of the request that it belongs to. Out: the text with every one of these, every Metrion
token and all that looks like a provider's key as ``***``, also where it is percent-encoded, once or several times.
Nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from metrion.admission.credentials import SECRET, credentials, notable
from metrion.model import Forward, Headers, Inbound, Refusal

LONGEST = 200
"""A longer text is cut."""
_SHORTEST_SECRET = 6
"""A shorter credential is not searched for: it would be found in words."""
_LOOKS_SECRET = re.compile(r"(?:sk-|xai-|AIza)[A-Za-z0-9_-]{8,}|sk-metrion-[A-Za-z0-9_-]*", re.IGNORECASE)
_MOST_DECODED = 5
_LONGEST_READ = 8192
"""Nothing beyond is looked at: the rest would be cut anyway."""


def visible(text: str, secrets: Iterable[str] = (), *, longest: int = LONGEST) -> str:
    """Return what may be shown of a text."""
    text = text[:_LONGEST_READ]
    masked = _masked(text, secrets)
    decoded = masked
    for _ in range(_MOST_DECODED):
        if "%" not in decoded or (once := unquote(decoded, errors="replace")) == decoded:
            break
        decoded = once
        if (hidden := _masked(decoded, secrets)) != decoded:
            masked = decoded = hidden  # shown as it reads: what hides a secret is not worth its spelling
    shown = masked if masked.isprintable() else "".join(map(_printable, masked))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def secrets_of(inbound: Inbound, decision: Forward | Refusal | None = None) -> frozenset[str]:
    """Return the credentials that a request brought, and those that go out with it."""
    identities, placed = credentials(inbound, notable(inbound.headers))
    found = {*identities, *placed, *_secret_values(inbound.headers)}
    if isinstance(decision, Forward):
        found.update(_secret_values(decision.wire.headers))
    return frozenset(text for value in found if len(text := value.decode("latin-1")) >= _SHORTEST_SECRET)


def _secret_values(headers: Headers) -> Iterable[bytes]:
    """Name the values of the fields that may hold a credential: each as a whole, and its words, without a scheme."""
    for name, value in headers:
        if name.lower() in SECRET:
            words = re.split(rb"[\s,;=]+", value)
            yield from (value.strip(), *(word for word in words if len(word) > len("websocket")))


def _masked(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _LOOKS_SECRET.sub("***", text)


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "replace").decode()
