"""A small SMTP server for tests: it takes mail, with STARTTLS or TLS and a user where that is wanted."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email
import email.policy
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

from tests.tls import self_signed


@dataclass
class Taken:
    sender: str
    recipients: list[str]
    message: EmailMessage
    user: str | None
    was_encrypted: bool


@dataclass
class MailServer:
    """``refuse``: the command that it answers with 554."""

    security: str
    refuse: str | None
    context: ssl.SSLContext | None = None
    certificate: Path | None = None
    port: int = 0
    lines: list[str] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        user, sender, recipients = None, "", list[str]()
        encrypted = self.security == "tls"
        writer.write(b"220 test\r\n")
        while line := (await reader.readline()).decode().strip():
            self.lines.append(line)
            command = line.split()[0].upper()
            if command == self.refuse:
                writer.write(b"554 no\r\n")
            elif command == "EHLO":
                starttls = b"250-STARTTLS\r\n" if self.security == "starttls" and not encrypted else b""
                auth = b"250-AUTH PLAIN\r\n" if self.context and encrypted else b""
                writer.write(b"250-test\r\n" + starttls + auth + b"250 8BITMIME\r\n")
            elif command == "STARTTLS" and self.context:
                writer.write(b"220 go on\r\n")
                await writer.start_tls(self.context)
                encrypted = True
            elif command == "AUTH":
                _, name, password = base64.b64decode(line.split()[2]).decode().split("\0")
                user = name if password == "pass-word" else None
                writer.write(b"235 yes\r\n" if user else b"535 no, not " + password.encode() + b"\r\n")
            elif command == "MAIL":
                sender = line.partition("<")[2].partition(">")[0]
                writer.write(b"250 ok\r\n")
            elif command == "RCPT":
                recipients.append(line.partition("<")[2].partition(">")[0])
                writer.write(b"250 ok\r\n")
            elif command == "DATA":
                writer.write(b"354 go on\r\n")
                raw = (await reader.readuntil(b"\r\n.\r\n")).removesuffix(b".\r\n")
                message = email.message_from_bytes(raw, policy=email.policy.default)
                self.taken.append(Taken(sender, recipients, message, user, encrypted))
                writer.write(b"250 ok\r\n")
            elif command == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")
            await writer.drain()


@contextlib.contextmanager
def mail_server(
    folder: Path | None = None, *, security: str = "plain", refuse: str | None = None
) -> Iterator[MailServer]:
    server = MailServer(security, refuse)
    if folder is not None:
        server.certificate, key = self_signed(folder)
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(server.certificate, key)
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(
        asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=server.context if security == "tls" else None)
    )
    server.port = listening.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
