from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrion.alerts.messages import trial
from metrion.alerts.sending import Problem, Resolve, resolved, send
from metrion.alerts.targets import Mailbox, Webhook
from tests.alerts.mailbox import MailServer, mail_server
from tests.alerts.rules import NOW, OK, Receiver, answering, receiving, rule, within
from tests.tls import tls_in_front_of

MESSAGE = trial(rule(), NOW)


def at(*addresses: str) -> Resolve:
    return lambda _host, _port: addresses


def post(
    receiver: Receiver, kind: str = "webhook", host: str = "hooks.example", path: str = "/hook", seconds: float = 10
) -> Problem | None:
    target = Webhook(False, host, receiver.port, path)
    return send(kind, target, MESSAGE, NOW, allow_private=True, resolve=at("127.0.0.1"), seconds=seconds)


def test_a_webhook_gets_json_under_the_name_of_its_host() -> None:
    with receiving() as receiver:
        assert post(receiver, path="/hook?key=1") is None
    assert receiver.messages == [json.loads(MESSAGE.as_json())]
    (head,) = receiver.heads
    assert head.startswith("POST /hook?key=1 HTTP/1.1\r\n")
    assert f"Host: hooks.example:{receiver.port}\r\n" in head
    assert "Content-Type: application/json\r\n" in head


def test_slack_gets_its_form() -> None:
    with receiving() as receiver:
        assert post(receiver, "slack") is None
    assert receiver.messages[0]["text"].startswith("Metrion test: team\n")


@pytest.mark.parametrize(
    ("answer", "words", "lasting"),
    [
        (answering("500 No"), "it answered 500", False),
        (answering("404 No"), "it answered 404", False),
        (answering("302 Found", "location: http://127.0.0.1:1/secret"), "it answered 302, and a redirect is not", True),
        (answering("307 Temporary Redirect", "location: /other"), "it answered 307, and a redirect is not", True),
        (b"nonsense\r\n\r\n", "it does not speak as it should (BadStatusLine)", False),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 70000, "it does not speak as it should (LineTooLong)", False),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200, "it does not speak as it should (HTTPException)", False),
        (b"", "it does not speak as it should (RemoteDisconnected)", False),
    ],
)
def test_what_a_webhook_answers(answer: bytes, words: str, lasting: bool) -> None:
    with receiving(answer) as receiver:
        problem = post(receiver)
    assert problem is not None
    assert problem.text.startswith(words) or "no connection" in problem.text
    assert problem.lasting == lasting
    assert "secret" not in problem.text
    assert len(receiver.bodies) == 1


def test_the_body_of_an_answer_is_not_read() -> None:
    with receiving(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nx") as receiver:
        assert within(5, lambda: post(receiver)) is None


def test_one_that_hangs_is_cut() -> None:
    with receiving(None) as receiver:
        problem = within(5, lambda: post(receiver, seconds=0.5))
    assert problem == Problem("no answer within 0.5 s")


def test_one_that_drips_is_cut_and_its_thread_ends() -> None:
    stop = threading.Event()

    def drip(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            while not stop.wait(0.05):
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        receiver = Receiver(server.getsockname()[1], None)
        problem = within(5, lambda: post(receiver, seconds=0.5))
        stop.set()
    assert problem == Problem("no answer within 0.5 s")
    for thread in threading.enumerate():
        if thread.name == "alert":
            thread.join(5)
            assert not thread.is_alive()


def test_a_look_up_that_hangs_is_cut() -> None:
    release = threading.Event()

    def slow(_host: str, _port: int) -> list[str]:
        release.wait(20)
        return []

    target = Webhook(False, "hooks.example", 80, "/")
    problem = within(5, lambda: send("webhook", target, MESSAGE, NOW, allow_private=True, resolve=slow, seconds=0.3))
    release.set()
    assert problem == Problem("no answer within 0.3 s")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "0.0.0.0", "fe80::1",  # noqa: S104 -- nothing is bound
     "::ffff:127.0.0.1", "fc00::1", "64:ff9b::7f00:1"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["webhook", "email"])
def test_private_addresses_are_refused(address: str, kind: str) -> None:
    target = (
        Webhook(False, "rebound.example", 80, "/")
        if kind == "webhook"
        else Mailbox("plain", "rebound.example", 25, "", "", "a@b.c", "a@b.c")
    )
    problem = send(kind, target, MESSAGE, NOW, allow_private=False, resolve=at(address))
    assert problem is not None
    assert problem.lasting
    assert "--allow-private" in problem.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "127.1", "::1"])
def test_no_spelling_of_this_machine_is_let_through(host: str) -> None:
    with receiving() as receiver:
        problem = send("webhook", Webhook(False, host, receiver.port, "/"), MESSAGE, NOW, allow_private=False)
    assert problem is not None
    assert receiver.heads == []


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is checked and private a moment later is resolved once only."""
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], *_: object) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    target = Webhook(False, "rebinding.example", 80, "/")
    problem = send("webhook", target, MESSAGE, NOW, allow_private=False, resolve=lambda *_: next(answers))
    assert connected == [("93.184.215.14", 80)]
    assert problem == Problem("no connection: Connection refused")
    assert next(answers) == ["127.0.0.1"]


def test_of_several_addresses_only_public_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []

    def connect(address: tuple[str, int], *_: object) -> socket.socket:
        connected.append(address[0])
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    target = Webhook(False, "mixed.example", 80, "/")
    addresses = at("10.0.0.1", "93.184.215.14", "::1", "2606:4700::1111")
    assert send("webhook", target, MESSAGE, NOW, allow_private=False, resolve=addresses) is not None
    assert connected == ["93.184.215.14", "2606:4700::1111"]


def test_a_host_without_an_address() -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    problem = send(
        "webhook", Webhook(True, "gone.example", 443, "/"), MESSAGE, NOW, allow_private=False, resolve=unknown
    )
    assert problem == Problem("its host has no address")
    assert resolved("127.0.0.1", 80) == ["127.0.0.1"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(OK) as receiver:
        yield receiver


def test_tls_is_with_the_name_and_checked(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_in_front_of(receiver.port, tmp_path) as tls:

        def try_as(host: str) -> Problem | None:
            target = Webhook(True, host, tls.port, "/")
            return send("webhook", target, MESSAGE, NOW, allow_private=True, resolve=at("127.0.0.1"))

        untrusted = try_as("localhost")
        monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
        assert try_as("localhost") is None
        other = try_as("other.example")
    for problem in (untrusted, other):
        assert problem is not None
        assert problem.text.startswith("its certificate cannot be trusted")


# --- e-mail -----------------------------------------------------------------------------------------------------------


def mail(
    server: MailServer, security: str, user: str = "", password: str = "", host: str = "localhost"
) -> Problem | None:
    target = Mailbox(security, host, server.port, user, password, "metrion@example.com", "ops@example.com")
    return send("email", target, MESSAGE, NOW, allow_private=True, resolve=at("127.0.0.1"), seconds=8)


def test_mail_without_encryption() -> None:
    with mail_server() as server:
        assert mail(server, "plain") is None
    (taken,) = server.taken
    assert (taken.sender, taken.recipients, taken.user) == ("metrion@example.com", ["ops@example.com"], None)
    assert taken.message["Subject"] == "Metrion test: team"
    assert taken.message["From"] == "Metrion <metrion@example.com>"
    assert "This is a test of the rule team." in taken.message.get_content()


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_with_tls_user_and_password(security: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server(tmp_path, security=security) as server:
        assert server.certificate is not None
        refused = mail(server, security, "me", "pass-word")
        assert refused is not None
        assert refused.text.startswith("its certificate cannot be trusted")
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        assert mail(server, security, "me", "pass-word") is None
        wrong = mail(server, security, "me", "wrong-secret")
        other = mail(server, security, "me", "pass-word", "other.example")
    assert [(taken.user, taken.was_encrypted) for taken in server.taken] == [("me", True)]
    assert wrong == Problem("the mail server does not take user and password (535)")
    assert other is not None
    assert other.text.startswith("its certificate cannot be trusted")


def test_no_mail_goes_out_unencrypted_where_starttls_is_not_offered() -> None:
    with mail_server() as server:
        problem = mail(server, "starttls", "me", "pass-word")
    assert problem is not None
    assert "offers no STARTTLS" in problem.text
    assert server.taken == []
    assert not any("AUTH" in line for line in server.lines)


def test_a_mail_server_that_refuses_or_hangs() -> None:
    with mail_server(refuse="RCPT") as server:
        assert mail(server, "plain") == Problem("the mail server does not take the recipient")
    with mail_server(refuse="DATA") as server:
        assert mail(server, "plain") == Problem("the mail server answered 554")
    with receiving(None) as silent:
        target = Mailbox("plain", "localhost", silent.port, "", "", "a@b.c", "a@b.c")
        problem = within(
            5,
            lambda: send("email", target, MESSAGE, NOW, allow_private=True, resolve=at("127.0.0.1"), seconds=0.5),
        )
    assert problem == Problem("no answer within 0.5 s")
