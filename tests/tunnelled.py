"""Blind tunnels in a network namespace of its own: ``unshare --net --mount python -m tests.tunnelled``, as root.

Tunnels to the machine itself are refused, so that its loopback gets addresses of the public Internet here, where nobody
else sees them, and the names that lead there a file of hosts of their own.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.credentials import UNKNOWN
from tests.processes import MITMDUMP, ROOT, Proxy, eventually, free_port, running_proxy, running_serve
from tests.rawclient import RawClient, connected

OTHER, PROVIDER, MOVED = "93.184.215.14", "93.184.215.77", "93.184.215.78"
HOSTS = f"""
127.0.0.1 localhost
{OTHER} other.example
{PROVIDER} api.openai.com gateway.example alias.example
{MOVED} moved.example
10.1.2.3 private.example
10.1.2.3 mixed.example
{OTHER} mixed.example
127.0.0.1 rebound.example
"""
CONFIG: dict[str, Any] = {
    "providers": {"openai": {"upstream": "https://gateway.example"}, "mistral": {"upstream": f"http://{MOVED}:8443"}},
    "intercept": {"others": "tunnel", "ports": [443, 8443]},
}
REFUSED = {
    **dict.fromkeys(["127.0.0.1:443", "127.1:443", "2130706433:443", "0x7f000001:443", "localhost:443"], 403),
    **dict.fromkeys(["[::1]:443", f"[::ffff:{OTHER}]:443", "[::ffff:7f00:1]:443", "0.0.0.0:443", "[::]:443"], 403),
    **dict.fromkeys(["10.1.2.3:443", "169.254.169.254:443", "100.64.0.1:443", "224.0.0.1:443", "[fe80::1]:443"], 403),
    **dict.fromkeys(["private.example:443", "rebound.example:443", "other.example:444", f"{OTHER}:80"], 403),
    **dict.fromkeys(
        ["api.openai.com:8443", "API.OpenAI.com.:443", "eu.api.openai.com:443", "gateway.example.:443"], 403
    ),
    **dict.fromkeys([f"{PROVIDER}:443", "alias.example:443", f"{MOVED}:443", "moved.example:8443"], 403),
    **dict.fromkeys(["nowhere.example:443", "other.example:8443"], 502),
}
"""What becomes of a CONNECT with a valid token that leads nowhere."""


@contextlib.contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[None]:
    server = socket.create_server((OTHER, 443))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def talk(connection: socket.socket) -> None:
    """Send back what comes, and say so at its end; ``flood`` is answered with more than anybody reads."""
    sent = 0
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(65536):
            if data == b"flood":
                connection.settimeout(2)
                with contextlib.suppress(TimeoutError):
                    while sent < 256 << 20:
                        sent += connection.send(bytes(1 << 16))
                connection.settimeout(None)
                flooded.append(sent)
                return
            connection.sendall(data)
        connection.sendall(b" and that was all")


flooded: list[int] = []


def ask(proxy: Proxy, target: str, token: str | None) -> RawClient:
    own = ""
    if token is not None:
        own = f"Proxy-Authorization: Basic {base64.b64encode(f'{token}:'.encode()).decode()}\r\n"
    client = RawClient(socket.create_connection(("127.0.0.1", proxy.port), timeout=20))
    client.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{own}\r\n".encode())
    return client


def check_refusals(proxy: Proxy) -> None:
    for target, status in REFUSED.items():
        client = ask(proxy, target, proxy.token)
        answer = client.read()
        assert answer.status == status, (target, answer)
        assert json.loads(answer.body)["error"]["code"] == {403: "not_a_provider", 502: "upstream_unreachable"}[status]
        client.socket.close()
    for token, code in ((None, "missing_token"), (UNKNOWN, "invalid_token"), ("somebody", "missing_token")):
        client = ask(proxy, "other.example:443", token)
        answer = client.read()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (407, code)
        assert answer.headers[b"proxy-authenticate"].startswith(b"Basic ")
        client.socket.close()


def check_bytes(proxy: Proxy, target: str) -> None:
    client = ask(proxy, target, proxy.token)
    answer = client.receive()
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n", (target, answer, proxy.log.read_text()[-3000:])
    said = b"\x16\x03\x01 no HTTP\r\n\r\n" + bytes(range(256)) * 4000
    threading.Thread(target=client.socket.sendall, args=(said,), daemon=True).start()
    got = b""
    while len(got) < len(said):
        got += client.receive()
    assert got == said
    client.half_close()  # what is still to come arrives
    assert client.rest() == b" and that was all"


def check_back_pressure(proxy: Proxy) -> None:
    client = ask(proxy, f"{OTHER}:443", proxy.token)
    assert client.receive().startswith(b"HTTP/1.1 200 ")
    client.send(b"flood")
    eventually(lambda: flooded)
    assert flooded.pop() < 64 << 20, "the proxy holds what its client does not read"
    client.socket.close()


def check_by_path(proxy: Proxy) -> None:
    """The rest is as ever: a path is a provider's, and a CONNECT to a provider's host is intercepted."""
    with connected(proxy.port) as client:
        client.send(b"GET /openai/v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read("GET").status == 401
    client = ask(proxy, "gateway.example:443", proxy.token)
    assert client.receive().startswith(b"HTTP/1.1 200 ")  # nobody listens there: it is not connected to yet
    client.socket.close()


def check(proxy: Proxy) -> None:
    check_refusals(proxy)
    for target in ("other.example:443", "Other.Example:443", f"{OTHER}:443", "mixed.example:443"):
        check_bytes(proxy, target)
    check_back_pressure(proxy)
    check_by_path(proxy)
    time.sleep(0.2)
    assert {row["method"] for row in proxy.events()} == {"GET"}
    log = proxy.log.read_text()
    assert "crashed" not in log, log
    assert "Traceback" not in log, log


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (OTHER, PROVIDER, MOVED):
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    with tempfile.TemporaryDirectory() as folder, listening(talk):
        hosts = Path(folder) / "hosts"
        hosts.write_text(HOSTS)
        subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
        with running_serve(Path(folder) / "serve", CONFIG) as proxy:
            check(proxy)
        port = free_port()
        command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "-p", str(port)]
        command += ["--listen-host", "127.0.0.1", "--set", f"confdir={folder}/ca"]
        with running_proxy(Path(folder) / "mitmdump", command, CONFIG, ports=[port]) as proxy:
            proxy.port = port
            check(proxy)
        with running_serve(Path(folder) / "default", CONFIG | {"intercept": {}}) as proxy:
            for token in (proxy.token, None):
                assert ask(proxy, "other.example:443", token).read().status == 403


if __name__ == "__main__":
    main()
