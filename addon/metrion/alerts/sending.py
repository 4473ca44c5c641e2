"""Sends one message by one channel, within 10 seconds in all: target and message in; what went wrong, or nothing, out.

The name of the target is resolved once, its addresses are checked, and the connection goes to one of those: a name that
resolves to something else a moment later changes nothing. Addresses that are not on the public Internet are refused
unless the rule allows them. No redirect is followed, and of the answer only the head is read. Never raised: anything;
never in what went wrong: the URL, a password, or what the other side wrote.
"""

from __future__ import annotations

import http.client
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime

from metrion.addresses import is_public
from metrion.alerts.messages import Message, as_email, as_slack, as_webhook
from metrion.alerts.targets import Mailbox, Webhook

SECONDS = 10.0
"""How long a delivery may take, from the look-up of the name to the answer."""
_AGENT = "metrion-alerts"

type Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a message did not arrive."""

    text: str
    lasting: bool = False
    """Whether it will not pass by itself."""


def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a host.

    :raises OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def send(
    kind: str,
    target: Webhook | Mailbox,
    message: Message,
    now: datetime,
    *,
    allow_private: bool,
    resolve: Resolve = resolved,
    seconds: float = SECONDS,
) -> Problem | None:
    """Send a message; ``None``: the other side has taken it."""
    way = _Way(allow_private, resolve, seconds)

    def work() -> None:
        if isinstance(target, Mailbox):
            _mail(target, message, now, way)
        else:
            _post(target, as_slack(message) if kind == "slack" else as_webhook(message), way)

    return way.run(work)


class _Failed(Exception):  # noqa: N818 -- it carries the problem, and stays in this module
    def __init__(self, text: str, *, lasting: bool = False) -> None:
        super().__init__(text)
        self.problem = Problem(text, lasting)


class _Way:
    """One delivery: its deadline, and the connection that the deadline cuts."""

    def __init__(self, allow_private: bool, resolve: Resolve, seconds: float) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._is_over = False
        self._connection: socket.socket | None = None
        self._outcome: list[Problem | None] = []

    def run(self, work: Callable[[], None]) -> Problem | None:
        """Do the work in a thread, since neither a look-up nor a slow answer can be timed as a whole."""
        thread = threading.Thread(target=self._try, args=(work,), name="alert", daemon=True)
        thread.start()
        thread.join(max(0.0, self._deadline - time.monotonic()))
        with self._lock:
            self._is_over = True
            in_time = self._outcome[:1]  # before the cut, which ends the work in its own way
            if self._connection is not None:
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)  # whoever reads from it in the thread goes on at once
                self._connection.close()
        return in_time[0] if in_time else Problem(f"no answer within {self._seconds:g} s")

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to an address that was checked."""
        try:
            found = self._resolve(host, port)
        except (OSError, UnicodeError):
            raise _Failed("its host has no address") from None
        allowed = [address for address in found if self._allow_private or is_public(address)]
        if not allowed:
            raise _Failed(
                "its host is at an address that is not public (loopback, private, link-local and the like), which only "
                "a rule with --allow-private may use",
                lasting=True,
            )
        trouble: OSError = OSError("no address")
        for address in allowed:
            try:
                connection = socket.create_connection((address, port), max(0.1, self._deadline - time.monotonic()))
            except OSError as error:
                trouble = error
            else:
                self._keep(connection)
                return connection
        raise trouble

    def _keep(self, connection: socket.socket) -> None:
        """Have the deadline cut this connection, also when TLS has taken it over: hence a second handle of it."""
        with self._lock:
            if self._is_over:
                connection.close()
                raise TimeoutError
            self._connection = connection.dup()

    def _try(self, work: Callable[[], None]) -> None:
        problem: Problem | None = None
        try:
            work()
        except _Failed as failed:
            problem = failed.problem
        except TimeoutError:  # the socket's own, which is that of the deadline, was noticed first
            return
        except Exception as error:  # noqa: BLE001 -- whatever it is, the message did not arrive, and traffic goes on
            problem = Problem(_worded(error))
        self._outcome.append(problem)


def _post(target: Webhook, body: bytes, way: _Way) -> None:
    connection = way.connect(target.host, target.port)
    if target.tls:
        connection = ssl.create_default_context().wrap_socket(connection, server_hostname=target.host)
    kind = http.client.HTTPSConnection if target.tls else http.client.HTTPConnection
    with closing(kind(target.host, target.port)) as client:
        client.sock = connection  # it resolves nothing and connects nowhere by itself
        client.auto_open = 0
        headers = {"Content-Type": "application/json", "User-Agent": _AGENT, "Connection": "close"}
        client.request("POST", target.path, body, headers)
        with client.getresponse() as response:  # its head alone, which http.client bounds
            status = response.status
    if 300 <= status < 400:
        raise _Failed(
            f"it answered {status}, and a redirect is not followed: give the URL that it leads to", lasting=True
        )
    if not 200 <= status < 300:
        raise _Failed(f"it answered {status}")


class _Connected(smtplib.SMTP):
    """A client on a connection that is there already; ``host`` is whose certificate STARTTLS expects."""

    def __init__(self, connection: socket.socket, host: str, port: int) -> None:
        self._connection = connection
        super().__init__(host, port, local_hostname="localhost")  # the usual name would be looked up

    def _get_socket(self, *_: object) -> socket.socket:
        return self._connection


def _mail(target: Mailbox, message: Message, now: datetime, way: _Way) -> None:
    connection = way.connect(target.host, target.port)
    context = ssl.create_default_context()
    if target.security == "tls":
        connection = context.wrap_socket(connection, server_hostname=target.host)
    with closing(connection), _Connected(connection, target.host, target.port) as client:
        if target.security == "starttls":
            client.ehlo()
            if not client.has_extn("starttls"):
                raise _Failed("the mail server offers no STARTTLS, and nothing is sent to it without encryption")
            client.starttls(context=context)
        if target.user:
            client.login(target.user, target.password)
        client.send_message(as_email(message, target.sender, target.recipient, now), target.sender, [target.recipient])


def _worded(error: Exception) -> str:
    """Say what went wrong, without what the other side wrote: it may repeat a password."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"the mail server does not take user and password ({error.smtp_code})"
        case smtplib.SMTPRecipientsRefused():
            return "the mail server does not take the recipient"
        case smtplib.SMTPResponseException():
            return f"the mail server answered {error.smtp_code}"
        case ssl.SSLCertVerificationError():
            return f"its certificate cannot be trusted: {error.verify_message}"
        case ssl.SSLError() | http.client.HTTPException() | smtplib.SMTPException():
            return f"it does not speak as it should ({type(error).__name__})"
        case OSError():
            return f"no connection: {error.strerror or type(error).__name__}"
        case _:
            return f"unexpected {type(error).__name__}"
