"""Where channels lead: what a person typed in; a :class:`NewChannel`, whose target is stored sealed, out. Pure.

What may be shown of a channel has no path, no query, no user and no password: a webhook's path is often its secret.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from metrion.control.alert_records import NewChannel
from metrion.errors import ControlError

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xff]|[^\x00-\xff]")
_LONGEST = 4096
_SLACK = "hooks.slack.com"
_PORTS = {"http": 80, "https": 443, "smtp": 587, "smtps": 465, "smtp+plain": 25}


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL to post to."""

    tls: bool
    host: str
    port: int
    path: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address, and the server that takes mail for it."""

    security: str
    """``starttls``, ``tls`` or ``plain``."""
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    sender: str
    recipient: str


def webhook(url: str, kind: str = "webhook") -> NewChannel:
    """Return a channel that posts to a URL; ``kind`` is ``webhook`` or ``slack``, which a URL of Slack's always is.

    :raises ControlError: it is no such URL. It is not repeated.
    """
    scheme, host, port, path, has_user = _split(url, ("https", "http"), "https://host/path")
    if has_user:
        raise ControlError("leave user and password out of the URL: a webhook's secret is in its path or query.")
    target = Webhook(scheme == "https", host, port, path)
    hidden = "/…" if path != "/" else ""
    # Slack reads `text` of plain JSON too, and there a label could ping people.
    kind = "slack" if host == _SLACK else kind
    return NewChannel(kind, f"{scheme}://{_authority(scheme, host, port)}{hidden}", _written(target))


def email(address: str, server: str, password: str = "", sender: str | None = None) -> NewChannel:
    """Return a channel that sends e-mail; ``server`` is ``smtp://user@host:587`` (STARTTLS) or ``smtps://…`` (TLS).

    :raises ControlError: an address or the server cannot be used. The password is not repeated.
    """
    form = "smtp://user@host:587 (STARTTLS), smtps://user@host:465 (TLS) or smtp+plain://host:25 (no encryption)"
    scheme, host, port, path, _ = _split(server, ("smtp", "smtps", "smtp+plain"), form)
    parts = urlsplit(server)
    if parts.password is not None:
        raise ControlError("leave the password out of the server's URL: it is asked for, or read from standard input.")
    if path != "/":
        raise ControlError(f"a mail server has no path: write {form}.")
    user = (parts.username or "").replace("%40", "@")
    if user and scheme == "smtp+plain":
        raise ControlError("no password is sent without encryption: write smtp:// or smtps://, or leave the user out.")
    if bool(user) != bool(password):
        raise ControlError(
            "the server's URL names a user, so a password is needed." if user else "a password needs a user: " + form
        )
    sender = sender or (user if _ADDRESS.fullmatch(user) else address)
    for each in (address, sender):
        if not _ADDRESS.fullmatch(each):
            raise ControlError("an e-mail address is written name@host, in plain ASCII, and is one alone.")
    security = {"smtp": "starttls", "smtps": "tls", "smtp+plain": "plain"}[scheme]
    target = Mailbox(security, host, port, user, password, sender, address)
    return NewChannel("email", f"{address} by {_authority(scheme, host, port)}", _written(target))


def read(text: str) -> Webhook | Mailbox:
    """Read a target as it was stored."""
    fields = json.loads(text)
    return Mailbox(**fields) if "recipient" in fields else Webhook(**fields)


def _split(url: str, schemes: tuple[str, ...], form: str) -> tuple[str, str, int, str, bool]:
    wrong = ControlError(f"this is no URL that can be used: write {form}.")
    if len(url) > _LONGEST or _UNPRINTABLE.search(url):
        raise wrong
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    host = parts.hostname or ""
    if parts.scheme not in schemes or not host or len(host) > 253 or port == 0 or "%" in host or parts.fragment:
        raise wrong
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, host, port or _PORTS[parts.scheme], path, "@" in parts.netloc


def _authority(scheme: str, host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if _PORTS[scheme] == port else f"{name}:{port}"


def _written(target: Webhook | Mailbox) -> str:
    return json.dumps(asdict(target))
