"""Read ``GET /metrics`` with the official parser."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.processes import Proxy

type Samples = list[Sample]


def get(proxy: Proxy, headers: Mapping[str, str] | None = None, path: str = "/metrics") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.getheader("content-type") or "", response.read()
    finally:
        connection.close()


def parsed(text: bytes) -> Samples:
    return [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]


def scrape(proxy: Proxy) -> Samples:
    status, content_type, body = get(proxy)
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8"), body
    return parsed(body)


def total(samples: Samples, name: str, **labels: str) -> float | None:
    """The sum of the samples of a name that have these labels; ``None``: there is none."""
    found = [
        sample.value
        for sample in samples
        if sample.name == name and all(sample.labels.get(label, "") == value for label, value in labels.items())
    ]
    return sum(found) if found else None
