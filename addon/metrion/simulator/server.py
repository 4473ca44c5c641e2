"""The provider simulator: an HTTP/1.1 server that answers as the five providers do, and records what it received.

``python -m metrion.simulator.server --port 0`` prints ``{"port": …, "ports": {…}}`` on standard output once it listens.
The header ``x-simulate`` (:mod:`metrion.simulator.delivery`) chooses another answer than the provider's, or another way
to send it; :mod:`metrion.simulator.control` is how a test registers answers and reads what was received. It never
connects anywhere, and keeps what it records in memory only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping

from metrion.simulator.answers import PROVIDERS
from metrion.simulator.connection import Connection
from metrion.simulator.control import Simulator


async def serve(port: int, keys: Mapping[str, str], *, port_per_provider: bool, until_stdin_closes: bool) -> None:
    """Listen on loopback, say where, and answer until cancelled."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    simulator = Simulator(keys)
    listeners = {"": await _listen(simulator, None, port)}
    if port_per_provider:
        listeners |= {provider: await _listen(simulator, provider, 0) for provider in PROVIDERS}
    ports = {name: listener.sockets[0].getsockname()[1] for name, listener in listeners.items()}
    sys.stdout.write(json.dumps({"port": ports.pop(""), "ports": ports}) + "\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    if until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 4096) else ended.set())
    await ended.wait()


async def _listen(simulator: Simulator, provider: str | None, port: int) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(simulator, provider), "127.0.0.1", port, backlog=1024)


def _key(value: str) -> tuple[str, str]:
    provider, equals, key = value.partition("=")
    if provider not in PROVIDERS or not equals or not key:
        raise argparse.ArgumentTypeError(f"{value!r} is not PROVIDER=KEY with one of {', '.join(PROVIDERS)}")
    return provider, key


def main() -> None:
    """Run the simulator until it is interrupted or, with ``--until-stdin-closes``, until standard input ends."""
    parser = argparse.ArgumentParser(
        prog="python -m metrion.simulator.server", description="A simulator of the providers."
    )
    parser.add_argument("--port", type=int, default=0, help="0: any free one, printed as JSON")
    parser.add_argument("--port-per-provider", action="store_true", help="one more port for each provider")
    parser.add_argument("--key", type=_key, action="append", default=[], help="PROVIDER=KEY: accept only this key")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that started it")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            serve(
                given.port,
                dict(given.key),
                port_per_provider=given.port_per_provider,
                until_stdin_closes=given.until_stdin_closes,
            )
        )


if __name__ == "__main__":
    main()
