"""Makes the pictures of mitmweb in the docs: real requests through a real mitmweb, photographed in Chromium.

python -m tests.proxy.pictures docs/pictures
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.processes import eventually
from tests.proxy.mitmweb import Mitmweb, running_mitmweb
from tests.upstream import Upstream, answering, running_upstream

CHROMIUM = Path("/usr/bin/chromium")
COLUMNS = ("icon", "method", "path", "status", "comment", "size", "time")
"""The columns that docs/mitmweb.md recommends."""

_CLAUDE = {
    "model": "claude-haiku-4-5",
    "max_tokens": 300,
    "stream": True,
    "system": "You plan trips. Be short.",
    "tools": [
        {
            "name": "weather",
            "description": "The weather of a city in the next days.",
            "input_schema": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        }
    ],
    "messages": [
        {"role": "user", "content": "Do I need an umbrella in Oslo tomorrow?"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo", "days": 1}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain from 9 to 17, 8 °C."}],
        },
    ],
}
_EVENTS: tuple[dict[str, Any], ...] = (
    {
        "type": "message_start",
        "message": {
            "id": "msg_01",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5-20251001",
            "content": [],
            "usage": {"input_tokens": 612, "cache_read_input_tokens": 0, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    *(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in ("Yes. ", "It rains in Oslo ", "from 9 to 17 tomorrow, ", "at 8 °C.")
    ),
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 24}},
    {"type": "message_stop"},
)
_CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}


def _ask(web: Mitmweb, upstream: Upstream, path: str, asked: Mapping[str, Any], answer: bytes, user: str) -> None:
    kind = b"text/event-stream" if asked.get("stream") else b"application/json"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(answer))
    name, _, value = upstream.script(answering(head + answer)).partition(": ")
    connection = http.client.HTTPConnection("127.0.0.1", web.proxy.port, timeout=20)
    headers = {"Authorization": f"Bearer {web.proxy.token}", "x-metrion-user": user, "Content-Type": "application/json"}
    connection.request("POST", path, json.dumps(asked), {**headers, name: value})
    connection.getresponse().read()
    connection.close()


def _fill(web: Mitmweb, upstream: Upstream) -> None:
    stream = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in _EVENTS)
    chat = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}
    for user in ("alice", "bob"):
        _ask(web, upstream, "/openai/v1/chat/completions", chat, json.dumps(_CHAT).encode(), user)
    _ask(web, upstream, "/anthropic/v1/messages", _CLAUDE, stream, "carol")
    eventually(lambda: all(flow["comment"] for flow in web.flows()))


def _photograph(page: Page, web: Mitmweb, folder: Path) -> None:
    page.goto(web.page)
    page.get_by_text("carol").first.wait_for()
    page.screenshot(path=folder / "mitmweb-flows.png", clip={"x": 0, "y": 0, "width": 1280, "height": 260})
    page.get_by_text("/v1/messages").first.click()
    for message, words in (("Request", "You plan trips."), ("Response", "It rains in Oslo")):
        page.get_by_role("link", name=message, exact=True).click()
        page.get_by_text(words).first.wait_for()
        page.screenshot(path=folder / f"mitmweb-{message.lower()}.png")


def make(folder: Path) -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as home, running_upstream() as upstream:
        options = ["--set", "store_streamed_bodies=true"]
        options += [part for column in COLUMNS for part in ("--set", f"web_columns={column}")]
        with running_mitmweb(Path(home) / "home", upstream.url, *options) as web, sync_playwright() as playwright:
            _fill(web, upstream)
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.set_default_timeout(30_000)
            _photograph(page, web, folder)
            browser.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
