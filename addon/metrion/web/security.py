"""Who may see the pages: hosts, log-ins and forms. Values in, decisions out; no I/O but the control store's.

A session is an entry in memory: the cookie holds a random id, of which only the digest is kept. It ends after a time,
by a log-out, with its admin token, or with the process.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address

from metrion.control import AdminScope, ControlStore
from metrion.web.display import USUAL, Display

SESSION_SECONDS = 12 * 3600.0
_MOST_SESSIONS = 1000
_WINDOW_SECONDS = 60.0
_FAILURES_OF_ONE = 5
_FAILURES_OF_ALL = 50

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""What every answer carries."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is logged in."""

    admin: str
    scope: AdminScope
    """Whether it may change anything."""
    made_at: str
    """When the admin token was made: another one of the same name is another admin."""
    csrf: str = field(repr=False)
    ends_at: float
    display: Display = USUAL
    """How this browser has figures shown, by its own cookies."""


class Sessions:
    """The sessions of one process. Safe to use from several threads."""

    def __init__(self, control: ControlStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._control = control
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}
        self._lock = threading.Lock()

    def begin(self, secret: str) -> str | None:
        """Begin a session for an admin token; return the cookie's value, ``None`` where the token does not hold."""
        admin = self._control.find_admin(secret)
        if admin is None:
            return None
        cookie = secrets.token_urlsafe(32)
        ends_at = self._clock() + SESSION_SECONDS
        session = Session(admin.name, admin.scope, admin.created_at.isoformat(), secrets.token_urlsafe(32), ends_at)
        with self._lock:
            now = self._clock()
            self._sessions = {key: each for key, each in self._sessions.items() if each.ends_at > now}
            while len(self._sessions) >= _MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_key(cookie)] = session
        return cookie

    def find(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie, if it and its admin token still hold."""
        session = self._sessions.get(_key(cookie)) if cookie else None
        if session is None or session.ends_at <= self._clock():
            return None
        return session if self._active().get(session.admin) == session.made_at else None

    def end(self, cookie: str | None) -> None:
        """End the session of a cookie."""
        with self._lock:
            self._sessions.pop(_key(cookie or ""), None)

    def _active(self) -> Mapping[str, str]:
        return {each.name: each.created_at.isoformat() for each in self._control.admins() if each.state == "active"}


def _key(cookie: str) -> bytes:
    return sha256(cookie.encode("utf-8", "surrogatepass")).digest()


class LoginLimit:
    """Counts log-ins that failed: a guess costs time, whoever makes it and from wherever."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: deque[tuple[float, str]] = deque(maxlen=_FAILURES_OF_ALL)
        self._lock = threading.Lock()

    def wait_seconds(self, address: str) -> float:
        """Return how long this address has to wait; 0: it may try."""
        now = self._clock()
        with self._lock:
            recent = [(at, who) for at, who in self._failures if now - at < _WINDOW_SECONDS]
        own = [at for at, who in recent if who == address]
        if len(own) >= _FAILURES_OF_ONE:
            return own[-_FAILURES_OF_ONE] + _WINDOW_SECONDS - now
        if len(recent) >= _FAILURES_OF_ALL:
            return recent[0][0] + _WINDOW_SECONDS - now
        return 0.0

    def failed(self, address: str) -> None:
        """Record a log-in that failed."""
        with self._lock:
            self._failures.append((self._clock(), address))


def is_same(given: str | None, expected: str) -> bool:
    """Compare two secrets in constant time."""
    return bool(given) and hmac.compare_digest((given or "").encode("utf-8", "surrogatepass"), expected.encode())


def is_own_host(authority: str, configured: Iterable[str]) -> bool:
    """Whether a ``Host`` header names this server: loopback, or a configured name. Else a page elsewhere asks."""
    host, _, rest = authority.partition("]") if authority.startswith("[") else (authority, "", "")
    if authority.startswith("["):
        host, port = host[1:], rest.removeprefix(":")
    else:
        host, _, port = authority.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return False
    host = host.rstrip(".").lower()
    if host == "localhost" or host in {each.lower() for each in configured}:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
