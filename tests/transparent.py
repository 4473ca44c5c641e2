"""Transparent mode in a network namespace of its own: ``unshare --net python -m tests.transparent``, as root.

Only what the user nobody sends is redirected, so that the proxy's own connections go through.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from tests.processes import MITMDUMP, ROOT, STORED_KEYS, Proxy, free_port, running_proxy
from tests.simulated import running_simulator

NOBODY = 65534


def redirect(to_port: int, ports: list[int]) -> None:
    for port in ports:
        rule = f"-t nat -A OUTPUT -p tcp --dport {port} -m owner --uid-owner {NOBODY} -j REDIRECT --to-ports {to_port}"
        subprocess.run(["iptables", *rule.split()], check=True)


def call(port: int, *headers: str) -> tuple[int, str]:
    command = ["curl", "-sS", "--noproxy", "*", "-w", "\n%{http_code}", f"http://127.0.0.1:{port}/v1/models"]
    for header in headers:
        command += ["-H", header]
    done = subprocess.run(command, user=NOBODY, capture_output=True, text=True, check=True, cwd="/")
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def check(proxy: Proxy, openai: int, stranger: int) -> None:
    assert call(openai, "authorization: Bearer the-callers-own", "x-metrion-user: unaware")[0] == 200
    event = proxy.event("unaware")
    assert (event["account"], event["token_name"]) == ("default", None)
    assert (event["provider"], event["credential"], event["path"]) == ("openai", "pass_through", "/v1/models")

    assert call(openai, f"x-metrion-token: {proxy.token}", "x-metrion-user: aware")[0] == 200
    assert proxy.event("aware")["credential"] == "stored"

    status, body = call(stranger, "authorization: Bearer the-callers-own")
    assert (status, json.loads(body)["error"]["code"]) == (403, "not_a_provider")
    assert call(openai)[0] == 401


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as folder, running_simulator(port_per_provider=True) as simulator:
        port = free_port()
        openai, stranger = simulator.ports["openai"], simulator.ports["mistral"]
        redirect(port, [openai, stranger])
        config = {"providers": {"openai": {"upstream": simulator.upstream_by_port("openai")}}}
        command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "--mode", f"transparent@127.0.0.1:{port}"]
        command += ["--set", f"confdir={folder}/ca"]
        with running_proxy(Path(folder) / "home", command, config, ports=[port]) as proxy:
            check(proxy, openai, stranger)
            received = simulator.received(2)
            assert [request.header("authorization") for request in received] == [
                [b"Bearer the-callers-own"],
                [f"Bearer {STORED_KEYS['openai']}".encode()],
            ]


if __name__ == "__main__":
    main()
