from __future__ import annotations

import pytest

from metrion.alerts.targets import Mailbox, Webhook, email, read, webhook
from metrion.errors import ControlError


@pytest.mark.parametrize(
    ("url", "target", "shown"),
    [
        ("https://hooks.example/services/T/B/secret", Webhook(True, "hooks.example", 443, "/services/T/B/secret"),
         "https://hooks.example/…"),
        ("http://10.0.0.1:8000", Webhook(False, "10.0.0.1", 8000, "/"), "http://10.0.0.1:8000"),
        ("https://[::1]:8443/?key=secret", Webhook(True, "::1", 8443, "/?key=secret"), "https://[::1]:8443/…"),
    ],
)  # fmt: skip
def test_webhooks(url: str, target: Webhook, shown: str) -> None:
    channel = webhook(url)
    assert (read(channel.target), channel.shown) == (target, shown)
    assert "secret" not in repr(channel)
    assert "secret" not in repr(target)


@pytest.mark.parametrize(
    ("url", "kind", "sent_as"),
    [
        ("https://hooks.slack.com/services/T/B/x", "webhook", "slack"),
        ("https://HOOKS.slack.com:443/services/T/B/x", "webhook", "slack"),
        ("https://hooks.example.com/services/T/B/x", "slack", "slack"),
        ("https://hooks.slack.com.example/x", "webhook", "webhook"),
    ],
)
def test_what_is_slacks_gets_its_form(url: str, kind: str, sent_as: str) -> None:
    assert webhook(url, kind).kind == sent_as


@pytest.mark.parametrize(
    "url",
    ["", "secret", "ftp://secret.example", "https://", "https:///secret", "https://me:secret@host/", "https://me@host/",
     "https://host:0/secret", "https://host:x/secret", "https://host/secret\r\nX: y", "https://host/sec ret",
     "https://host/sécret", "https://ho%73t/secret", "https://host/secret#part", "file:///etc/secret",
     "https://host/" + "secret" * 1000],
)  # fmt: skip
def test_what_is_no_webhook_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ControlError) as raised:
        webhook(url)
    assert "secret" not in str(raised.value).replace("a webhook's secret", "")


@pytest.mark.parametrize(
    ("server", "password", "target"),
    [
        ("smtp://me@mail.example", "pw", Mailbox("starttls", "mail.example", 587, "me", "pw", "a@b.c", "a@b.c")),
        ("smtps://me%40b.c@mail.example", "pw", Mailbox("tls", "mail.example", 465, "me@b.c", "pw", "me@b.c", "a@b.c")),
        ("smtp://mail.example:25", "", Mailbox("starttls", "mail.example", 25, "", "", "a@b.c", "a@b.c")),
        ("smtp+plain://localhost", "", Mailbox("plain", "localhost", 25, "", "", "a@b.c", "a@b.c")),
    ],
)
def test_mailboxes(server: str, password: str, target: Mailbox) -> None:
    channel = email("a@b.c", server, password)
    assert read(channel.target) == target
    assert channel.shown.startswith("a@b.c by ")
    assert "pw" not in repr(channel) + repr(target)


@pytest.mark.parametrize(
    ("address", "server", "password", "sender"),
    [
        ("a@b.c", "smtp://me:secret@mail.example", "", None),
        ("a@b.c", "smtp://me@mail.example", "", None),
        ("a@b.c", "smtp://mail.example", "secret", None),
        ("a@b.c", "smtp+plain://me@mail.example", "secret", None),
        ("a@b.c", "smtp://mail.example/path", "", None),
        ("a@b.c", "https://mail.example", "", None),
        ("a@b.c\r\nBcc: x@y.z", "smtp://mail.example", "", None),
        ("a@b.c, x@y.z", "smtp://mail.example", "", None),
        ("<a@b.c>", "smtp://mail.example", "", None),
        ("a", "smtp://mail.example", "", None),
        ("a@b.c", "smtp://mail.example", "", "x y@z"),
    ],
)
def test_what_is_no_mailbox(address: str, server: str, password: str, sender: str | None) -> None:
    with pytest.raises(ControlError) as raised:
        email(address, server, password, sender)
    assert "secret" not in str(raised.value)
