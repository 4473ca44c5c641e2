"""``GET /metrics`` on every road: who may have it, and that a token for it is in no flow and no log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.metrics.scraped import get, parsed, total
from tests.metrics.test_exposition import post
from tests.processes import MITMDUMP_MODES, ROADS, Proxy, running_by_path, running_serve, upstreams
from tests.simulated import Simulator


@contextmanager
def running(way: str, simulator: Simulator, folder: Path) -> Iterator[Proxy]:
    config = upstreams(simulator)
    if way in ROADS:
        with running_serve(folder / "home", config, environment=ROADS[way]) as proxy:
            yield proxy
    else:
        arguments = ("--set", "flow_detail=4", "-w", str(folder / "flows"))
        with running_by_path(folder / "home", config, MITMDUMP_MODES[way], arguments=arguments) as proxy:
            yield proxy


@pytest.mark.parametrize("way", [*ROADS, *MITMDUMP_MODES])
def test_whoever_may_have_the_metrics_gets_them(way: str, simulator: Simulator, tmp_path: Path) -> None:
    with running(way, simulator, tmp_path) as proxy:
        admin = proxy.metrion("admin", "create").strip()
        assert post(proxy, "/openai/v1/chat/completions", {}) == 200
        forwarded = {"x-forwarded-for": "10.0.0.1"}
        answers = [
            get(proxy),
            get(proxy, path="/api/proxy/metrics"),
            get(proxy, forwarded | {"authorization": f"Bearer {admin}"}),
            get(proxy, forwarded),
            get(proxy, forwarded | {"authorization": f"Bearer {proxy.token}"}),
            get(proxy, forwarded | {"authorization": f"Bearer {admin}x"}),
        ]
        assert [status for status, _, _ in answers] == [200, 200, 200, 401, 401, 401]
        assert [total(parsed(body), "metrion_requests_total") for _, _, body in answers[:3]] == [1, 1, 1]
        assert b"metrion admin create" in answers[3][2]
        proxy.metrion("admin", "revoke", "admin-1")
        assert get(proxy, forwarded | {"authorization": f"Bearer {admin}"})[0] == 401
        assert len(proxy.events()) == 1
        proxy.stop()
        written = [proxy.log.read_bytes(), *(file.read_bytes() for file in tmp_path.glob("flows"))]
        assert not any(admin.encode() in text or proxy.token.encode() in text for text in written)
