"""WebSocket sessions as other scripts and mitmweb see them: messages, bounded; none can be changed."""

from __future__ import annotations

from pathlib import Path

from tests.parsing.test_websocket_messages import MASK, frame
from tests.processes import MITMDUMP, ROOT, eventually, free_port, running_proxy
from tests.proxy.test_sessions import DONE, rows, session
from tests.upstream import Upstream

SCRIPT = """
import json, pathlib

OUT = pathlib.Path(__file__).with_suffix(".jsonl")

def note(**fields):
    with OUT.open("a") as out:
        out.write(json.dumps(fields) + "\\n")

def websocket_start(flow):
    note(hook="start")

def websocket_message(flow):
    message = flow.websocket.messages[-1]
    note(hook="message", from_client=message.from_client, size=len(message.content), end=message.text[-40:])
    message.content = b"changed"

def websocket_end(flow):
    note(hook="end", code=flow.websocket.close_code, by_client=flow.websocket.closed_by_client,
         kept=len(flow.websocket.messages))
"""


def test_what_a_script_sees(upstream: Upstream, tmp_path: Path) -> None:
    script, port = tmp_path / "watch.py", free_port()
    script.write_text(SCRIPT)
    command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "-s", str(script), "-p", str(port)]
    command += ["--listen-host", "127.0.0.1", "--set", f"confdir={tmp_path / 'ca'}"]
    long = frame(1, b"x" * 100_000)
    with running_proxy(
        tmp_path / "home", command, {"providers": {"openai": {"upstream": upstream.url}}}, ports=[port]
    ) as proxy:
        proxy.port = port
        with session(proxy, upstream) as held:
            held.send(frame(1, b"hello", mask=MASK), from_client=True)
            assert held.received(11, by_client=False) == frame(1, b"hello", mask=MASK)
            held.send(frame(1, DONE) + long, from_client=False)
            assert held.received(len(DONE) + 4 + len(long), by_client=True) == frame(1, DONE) + long
            for _ in range(150):
                held.send(frame(1, b"y"), from_client=False)
            assert held.received(450, by_client=True) == frame(1, b"y") * 150
            held.send(frame(8, b"\x03\xe9"), from_client=False)
            held.send(frame(8, b"\x03\xe9", mask=MASK), from_client=True)
            assert held.received(5, by_client=True) == frame(8, b"\x03\xe9")
            noted = script.with_suffix(".jsonl")
            seen = eventually(lambda: noted.read_text().splitlines(), until=lambda lines: '"end", ' in lines[-1])
            assert len(rows(proxy, held.label, 2)) == 2
        log = proxy.log.read_text()
    assert seen[:2] == [
        '{"hook": "start"}',
        '{"hook": "message", "from_client": true, "size": 5, "end": "hello"}',
    ]
    assert seen[3].endswith('x [the first 65536 of 100000 bytes]"}')
    assert seen[-1].startswith('{"hook": "end", "code": 1001, "by_client": false, "kept": ')
    assert int(seen[-1].rpartition(" ")[2].rstrip("}")) <= 100
    assert "crashed" not in log
    assert "Traceback" not in log
