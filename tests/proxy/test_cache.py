"""The cache through a running proxy, on both roads: who gets a kept answer, who does not, and what the rows say."""

from __future__ import annotations

import http.client
import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from tests.failing import FailingProvider, failing_provider
from tests.processes import Proxy, Road, eventually, running_serve

PATH = "/openai/v1/chat/completions"


@pytest.fixture(scope="module")
def provider() -> Iterator[FailingProvider]:
    with failing_provider(share=0.0, seed=1) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(road: Road, provider: FailingProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = {
        "providers": {"openai": {"upstream": provider.url}, "mistral": {"upstream": provider.url}},
        "plans": {"pro": {"requests_per_minute": 0}},
        "policies": {"memory": {"for": {"provider": "openai"}, "cache": True}},
    }
    home = tmp_path_factory.mktemp("memory") / "home"
    with running_serve(home, config, environment=road) as running:
        yield running
        assert "Traceback" not in running.log.read_text()


class Client:
    """Calls with a body that nobody else sends."""

    def __init__(self, proxy: Proxy, provider: FailingProvider, *, stream: bool = False, path: str = PATH) -> None:
        self.proxy, self.provider, self.path = proxy, provider, path
        self.case = uuid.uuid4().hex[:12]
        self.body = json.dumps({"model": "gpt-4o", "stream": stream, "messages": [self.case]}).encode()

    def __call__(self, *, token: str = "", **headers: str) -> tuple[str | None, bytes]:
        """Return whether the answer is marked, and its body."""
        client = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=30)
        sent = {"authorization": f"Bearer {token or self.proxy.token}", "content-type": "application/json"}
        sent |= {"x-metrion-user": self.case} | {name.replace("_", "-"): value for name, value in headers.items()}
        client.request("POST", self.path, self.body, sent)
        answer = client.getresponse()
        assert answer.status == 200
        found = answer.headers["x-metrion-cache"], answer.read()
        client.close()
        return found

    def kept(self, **headers: str) -> bytes:
        """Ask until there is a hit; return the body."""
        mark, body = eventually(lambda: self(x_metrion_cache="true", **headers), until=lambda found: found[0] == "HIT")
        assert mark == "HIT"
        return body

    def rows(self, count: int) -> list[dict[str, Any]]:
        query = f"SELECT * FROM events WHERE user_label = '{self.case}' ORDER BY event_id"  # noqa: S608 -- it is hex
        return eventually(lambda: self.proxy.events(query), until=lambda found: len(found) >= count)

    @property
    def asked(self) -> int:
        """How often the provider was."""
        return self.provider.tries[""]


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_again_is_answered_from_the_cache(stream: bool, proxy: Proxy, provider: FailingProvider) -> None:
    client = Client(proxy, provider, stream=stream)
    mark, first = client(x_metrion_cache="true")
    assert mark is None
    assert client.kept() == first
    before = client.asked
    assert client(x_metrion_cache="true", user_agent="another/1", x_stainless_retry_count="1") == ("HIT", first)
    assert client.asked == before
    rows = client.rows(3)
    assert rows[0]["policy"] == {"memory": "cache: miss"}
    assert (rows[0]["cost_source"], rows[0]["computed_cost_usd"] is not None) == ("computed", True)
    hit = rows[-1]
    assert hit["policy"] == {"memory": "cache: hit"}
    assert (hit["status"], hit["end_reason"], hit["cost_source"]) == (200, "complete", "not_billed")
    assert Decimal(hit["cost_usd"]) == 0
    assert Decimal(hit["computed_cost_usd"]) == Decimal(rows[0]["computed_cost_usd"]) > 0
    assert (hit["input_tokens"], hit["usage_source"], hit["model"]) == (None, "none", "gpt-4o")


def test_only_who_asks_for_it(proxy: Proxy, provider: FailingProvider) -> None:
    client = Client(proxy, provider)
    client.kept()
    assert client()[0] is None
    assert client(x_metrion_cache="refresh")[0] is None
    assert client(x_metrion_cache="true", cache_control="max-age=0")[0] is None
    assert client(x_metrion_cache="true", cache_control="no-cache")[0] is None
    assert client(x_metrion_cache="true", cache_control="max-age=250")[0] == "HIT"
    other = Client(proxy, provider, path="/mistral/v1/chat/completions")
    for _ in range(3):
        assert other(x_metrion_cache="true")[0] is None


def test_no_hit_crosses_accounts_or_keys(proxy: Proxy, provider: FailingProvider) -> None:
    client = Client(proxy, provider)
    client.kept()
    name = f"b{uuid.uuid4().hex[:8]}"
    proxy.metrion("account", "create", name)
    proxy.metrion("key", "set", "openai", "--account", name, stdin="sk-another-key-0123456789abcdef")
    token = proxy.metrion("token", "create", f"t{name}", "--account", name).strip()
    assert eventually(lambda: client(token=token, x_metrion_cache="true"))[0] is None
    own = {"x_metrion_token": proxy.token, "x_metrion_cache": "true"}
    assert client(token="sk-my-own-key-0123456789abcdef0123", **own)[0] is None  # it may be a wrong one


def test_what_is_damaged_is_asked_for_again(proxy: Proxy, provider: FailingProvider) -> None:
    client = Client(proxy, provider)
    first = client.kept()
    with closing(sqlite3.connect(proxy.home / "cache.db", isolation_level=None)) as db:
        db.execute("UPDATE answers SET box = zeroblob(length(box))")
    assert client(x_metrion_cache="true") == (None, first)
    assert client.kept() == first


def test_a_request_that_is_too_long(proxy: Proxy, provider: FailingProvider) -> None:
    client = Client(proxy, provider)
    client.body = client.body[:-1] + b', "metadata": "' + b"x" * (1 << 20) + b'"}'
    for _ in range(2):
        assert client(x_metrion_cache="true")[0] is None
    assert {row["policy"]["memory"] for row in client.rows(2)} == {"cache: the body is too long"}
