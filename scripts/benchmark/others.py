"""Other gateways and proxies, to compare with: LiteLLM, Portkey and nginx, each where it is installed.

``litellm`` and ``nginx`` are looked for on PATH, LiteLLM as a module of this Python too. Portkey's gateway is found by
``PORTKEY_GATEWAY``, its package's folder, or as the ``gateway`` on PATH that its package installs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.processes import accepts, eventually, free_port

LITELLM, PORTKEY, NGINX = "LiteLLM", "Portkey", "nginx"
START_SECONDS = 90.0
"""How long a program may take until it listens. LiteLLM's imports take long."""

_NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream provider {{ server 127.0.0.1:{upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


class NotInstalledError(Exception):
    """The program is not installed, or does not start; the message says which."""


@dataclass(frozen=True, slots=True)
class Other:
    """A running program."""

    port: int
    group: int
    path: str = "/v1/chat/completions"
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Start:
    """How to start one: ``command`` listens on the port that it was given."""

    command: Sequence[str]
    fields: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)


def _litellm(folder: Path, port: int, upstream: int) -> Start:
    program = shutil.which("litellm")
    if program is None and importlib.util.find_spec("litellm") is None:
        raise NotInstalledError("no litellm on PATH, and no module of that name")
    model = {"model": "openai/gpt-4o", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    master_key = f"sk-{secrets.token_hex(24)}"
    settings = {
        "model_list": [{"model_name": "gpt-4o", "litellm_params": model}],
        "general_settings": {"master_key": master_key},
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    run = "import sys; from litellm import run_server; sys.exit(run_server())"
    command = [program] if program else [sys.executable, "-c", run]
    variables = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    return Start([*command, *arguments], {"authorization": f"Bearer {master_key}"}, variables)


def _portkey(folder: Path, port: int, upstream: int) -> Start:
    del folder
    on_path = shutil.which("gateway")
    script = Path(os.environ["PORTKEY_GATEWAY"]) if "PORTKEY_GATEWAY" in os.environ else Path(on_path or "").resolve()
    if script.is_dir():
        script /= "build/start-server.js"
    node = shutil.which("node")
    if node is None or not script.is_file() or "portkey" not in str(script).lower():
        raise NotInstalledError("no node, or neither PORTKEY_GATEWAY nor its gateway on PATH")
    host = f"http://127.0.0.1:{upstream}/v1"
    fields = {"authorization": "Bearer none", "x-portkey-provider": "openai", "x-portkey-custom-host": host}
    return Start([node, str(script), "--headless", f"--port={port}"], fields, {"NODE_ENV": "production"})


def _nginx(folder: Path, port: int, upstream: int) -> Start:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise NotInstalledError("no nginx on PATH")
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream))
    return Start([program, "-c", str(config), "-p", str(folder)], {"authorization": "Bearer none"})


STARTERS: Mapping[str, Callable[[Path, int, int], Start]] = {LITELLM: _litellm, PORTKEY: _portkey, NGINX: _nginx}
"""By name: the folder to write into, the port to listen on and the upstream's → how to start it."""


@contextlib.contextmanager
def running(name: str, folder: Path, upstream: int) -> Iterator[Other]:
    """Run one of them for the length of the block.

    :raises NotInstalledError: it is not installed, or does not start.
    """
    folder.mkdir()
    port = free_port()
    start = STARTERS[name](folder, port, upstream)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            start.command,
            env={**os.environ, **start.variables},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        listens = f"127.0.0.1:{port}"
        with contextlib.suppress(AssertionError):
            eventually(lambda: accepts(port) or process.poll() is not None, timeout=START_SECONDS)
        if process.poll() is not None or not accepts(port):
            raise NotInstalledError(f"it does not listen on {listens}: {log.read_text(errors='replace')[-500:]!r}")
        yield Other(port, process.pid, fields=start.fields)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
