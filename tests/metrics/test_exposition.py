"""What ``GET /metrics`` says, held to SQL over the same requests: real processes, read by the official parser."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from metrion.metrics.definitions import METRICS, USER_METRICS
from metrion.metrics.exposition import LIMIT_LABELS, REFUSAL_LABELS
from tests.metrics.scraped import get, parsed, scrape, total
from tests.pages import table_column
from tests.processes import ROOT, Proxy, eventually, free_port, running_serve, upstreams
from tests.simulated import Simulator

CHAT = {
    "id": "1",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 0},
    },
}
LIMITS = [
    ("x-ratelimit-limit-requests", "60"),
    ("x-ratelimit-remaining-requests", "59"),
    ("x-ratelimit-reset-requests", "1s"),
]
UNPRICED = CHAT | {"model": "nobody-knows-1"}
CHUNK = {
    "id": "2",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}],
}
USAGE_CHUNK = CHUNK | {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
DONE = b"data: [DONE]\n\n"


MODELS = {"unpriced": "nobody-knows-1"}
USAGE = "gen_ai_client_inference_usage"


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def post(
    proxy: Proxy,
    path: str,
    headers: dict[str, str],
    *,
    user: str = "ann",
    token: str | None = None,
    model: str = "gpt-4o",
) -> int:
    own = {"authorization": f"Bearer {proxy.token if token is None else token}", "x-metrion-user": user}
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    try:
        body = json.dumps(
            {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": "stream" in user}
        )
        connection.request("POST", path, body, headers | own)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def answers(simulator: Simulator) -> dict[str, dict[str, str]]:
    sse = [("content-type", "text/event-stream")]
    names = {
        "chat": simulator.register_answer(
            "m-chat", headers=[("content-type", "application/json"), *LIMITS], pieces=[json.dumps(CHAT).encode()]
        ),
        "unpriced": simulator.register_answer("m-unpriced", pieces=[json.dumps(UNPRICED).encode()]),
        "stream": simulator.register_answer(
            "m-stream", headers=sse, pieces=[event(CHUNK), event(USAGE_CHUNK), DONE], chunked=True
        ),
        "no usage": simulator.register_answer("m-none", pieces=[b'{"id": "3", "model": "gpt-4o", "choices": []}']),
    }
    found = {name: simulator.select(answer) for name, answer in names.items()}
    return found | {"429": simulator.select(error=429), "500": simulator.select(error=500)}


@pytest.fixture(scope="module")
def proxy(
    simulator: Simulator, answers: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Two workers that have answered requests of every kind."""
    config = upstreams(simulator)
    config["providers"]["gone"] = {
        "like": "openai", "upstream": f"http://127.0.0.1:{free_port()}", "credential": "none",
    }  # fmt: skip
    config |= {
        "plans": {"pro": {"requests_per_minute": 0}},
        "metrics": {"old_names": True, "mistral_names": True, "users": True},
    }
    folder = tmp_path_factory.mktemp("metrics")
    with running_serve(folder / "home", config, arguments=("--workers", "2")) as running:
        chat = "/openai/v1/chat/completions"
        statuses = [post(running, chat, answers["chat"], user=f"u{n % 3}") for n in range(20)]
        others = ("unpriced", "no usage", "429", "500")
        statuses += [post(running, chat, answers[name], model=MODELS.get(name, "gpt-4o")) for name in others]
        statuses += [post(running, chat, answers["stream"], user="stream") for _ in range(4)]
        statuses += [post(running, "/anthropic/v1/messages", {}, model="claude-sonnet-4-5") for _ in range(3)]
        statuses += [
            post(running, "/gone/v1/chat/completions", {}),
            post(running, chat, {}, token="sk-metrion-" + "x" * 43),
        ]
        statuses += [post(running, "/nowhere", {})]
        assert {200, 401, 404, 429, 500, 502} <= set(statuses), statuses
        eventually(lambda: running.health()["in_flight"] == 0)
        yield running


def rows(proxy: Proxy, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in proxy.events(query)]


WHOLE_STREAM = "streamed AND end_reason = 'complete' AND status < 400 AND output_tokens > 1"
SUMS = [
    ("metrion_requests_total", ("provider", "operation", "model", "status", "end_reason"),
     "provider, operation, coalesce(model, model_requested), (status // 100) || 'xx', end_reason", "count(*)"),
    ("metrion_cost_usd_total", ("provider", "model", "cost_source"),
     "provider, coalesce(model, model_requested), cost_source", "sum(cost_usd)"),
    (USAGE + "_input_tokens_total", ("gen_ai_response_model",), "model", "sum(input_tokens)"),
    (USAGE + "_output_tokens_total", ("gen_ai_response_model",), "model", "sum(output_tokens)"),
    (USAGE + "_cache_read_input_tokens_total", ("gen_ai_response_model",), "model", "sum(cache_read_tokens)"),
    (USAGE + "_reasoning_output_tokens_total", ("gen_ai_response_model",), "model", "sum(reasoning_tokens)"),
    ("gen_ai_client_inference_time_to_first_chunk_seconds_sum", ("gen_ai_response_model",), "model",
     "sum(first_byte_ms) FILTER (streamed) / 1000"),
    ("gen_ai_server_time_per_output_token_seconds_sum", ("gen_ai_response_model",), "model",
     f"sum((latency_ms - first_byte_ms) / (output_tokens - 1)) FILTER ({WHOLE_STREAM}) / 1000"),
    ("gen_ai_server_time_per_output_token_seconds_count", ("gen_ai_response_model",), "model",
     f"nullif(count(*) FILTER ({WHOLE_STREAM}), 0)"),
    ("metrion_overhead_seconds_sum", ("provider",), "provider", "sum(overhead_ms) / 1000"),
    ("metrion_overhead_seconds_count", ("provider",), "provider", "count(overhead_ms)"),
    ("metrion_user_requests_total", ("user",), "user_label", "count(*)"),
    ("metrion_user_cost_usd_total", ("user",), "user_label", "sum(cost_usd)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "labels", "keys", "value"), SUMS, ids=lambda each: each if isinstance(each, str) else ""
)
def test_sums_are_those_of_sql(metric: str, labels: tuple[str, ...], keys: str, value: str, proxy: Proxy) -> None:
    samples = scrape(proxy)
    found = rows(proxy, f"SELECT {keys}, {value} AS value FROM events GROUP BY ALL HAVING value IS NOT NULL")  # noqa: S608 -- the tests' own
    assert found
    for *columns, expected in found:
        by_label = dict(zip(labels, (column or "" for column in columns), strict=True))
        assert total(samples, metric, **by_label) == pytest.approx(float(expected)), by_label
    assert total(samples, metric) == pytest.approx(sum(float(expected) for *_, expected in found))


def test_what_is_missing_is_counted_as_missing_and_not_as_0(proxy: Proxy) -> None:
    samples = scrape(proxy)
    ((unknown, unpriced),) = rows(
        proxy,
        "SELECT count(*) FILTER (cost_source = 'unknown'), count(*) FILTER (cost_source = 'unpriced') FROM events",
    )
    assert unknown >= 1
    assert total(samples, "metrion_usage_missing_total") == unknown
    assert total(samples, "metrion_price_lookups_total", outcome="missing") == unpriced == 1
    assert total(samples, "metrion_price_lookups_total", outcome="found", model="nobody-knows-1") == 0
    assert total(samples, "metrion_cost_usd_total", model="nobody-knows-1") is None
    assert total(samples, "metrion_cost_usd_total", cost_source="unknown") is None
    assert (
        total(
            samples,
            USAGE + "_reasoning_output_tokens_total",
            gen_ai_response_model="nobody-knows-1",
        )
        == 7
    )
    assert total(samples, USAGE + "_cache_write_input_tokens_total", gen_ai_provider_name="openai") is None


def test_refusals_and_limits(proxy: Proxy) -> None:
    samples = scrape(proxy)
    assert total(samples, "metrion_refusals_total", provider="openai", code="invalid_token") == 1
    assert total(samples, "metrion_refusals_total", provider="gone", code="upstream_unreachable") == 1
    assert total(samples, "metrion_refusals_total", provider="", code="unknown_route") == 1
    assert total(samples, "metrion_provider_limit_remaining", provider="openai", kind="requests") == 59
    assert total(samples, "metrion_provider_limit", provider="openai", kind="requests") == 60
    assert total(samples, "metrion_workers") == 2


def test_histograms_grow_to_their_count(proxy: Proxy) -> None:
    samples = scrape(proxy)
    for name in ("gen_ai_client_inference_duration_seconds", "metrion_overhead_seconds", "gen_ai_client_token_usage"):
        series = dict[tuple[tuple[str, str], ...], list[float]]()
        for sample in (each for each in samples if each.name == f"{name}_bucket"):
            series.setdefault(tuple(item for item in sample.labels.items() if item[0] != "le"), []).append(sample.value)
        assert series
        for labels, counts in series.items():
            assert counts == sorted(counts)
            assert counts[-1] == total(samples, f"{name}_count", **dict(labels))


PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        (PROMETHEUS_3, True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2", True),
        ("application/openmetrics-text", True),
        ("text/plain;version=0.0.4;q=0.3,*/*;q=0.2", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=abc", False),
        ("*/*", False),
        ("", False),
        ("\xff;;,=", False),
    ],
)
def test_the_form_is_the_one_that_is_asked_for(accept: str, is_openmetrics: bool, proxy: Proxy) -> None:
    status, content_type, body = get(proxy, {"accept": accept})
    expected = "application/openmetrics-text; version=1.0.0" if is_openmetrics else "text/plain; version=0.0.4"
    assert (status, content_type) == (200, f"{expected}; charset=utf-8")
    assert body.endswith(b"\n# EOF\n") == is_openmetrics


def test_openmetrics_says_the_same(proxy: Proxy) -> None:
    """Its parser is stricter: each metric is declared once, in one place, and counters and buckets are whole."""
    _, _, body = get(proxy, {"accept": PROMETHEUS_3})
    families = list(openmetrics.text_string_to_metric_families(body.decode()))  # type: ignore[no-untyped-call]  # as it is
    names = [family.name for family in families]
    assert len(names) == len(set(names))

    def figures(of: Iterable[Metric]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Those that stand still."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in of
            for sample in family.samples
            if not family.name.startswith(("metrion_journal", "metrion_ingest"))
        }

    assert figures(families) == figures(text_string_to_metric_families(get(proxy)[2].decode()))
    assert {family.type for family in families} == {"counter", "gauge", "histogram"}


def test_no_key_no_token_and_no_content_is_in_it(proxy: Proxy) -> None:
    _, _, body = get(proxy)
    assert proxy.token.encode() not in body
    assert b"sk-metrion" not in body
    assert b"hello" not in body


def test_provider_out_of_reach_is_information(proxy: Proxy) -> None:
    health = proxy.health()
    assert health["unreachable_providers"] == ["gone"]
    assert (health["status"], health["ready"], health["reasons"]) == ("ok", True, [])


# --- what is made of them ---------------------------------------------------------------------------------------------

USED = re.compile(r"\b((?:metrion|gen_ai)_\w+)(\{[^}]*\})?")
LABEL = re.compile(r"\b([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"")
BY = re.compile(r"\bby \(([^)]*)\)")


def expressions() -> Iterator[tuple[str, str]]:
    dashboard = json.loads((ROOT / "docs" / "grafana" / "metrion.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for group in yaml.safe_load((ROOT / "docs" / "grafana" / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_graphs_and_rules_use_metrics_and_labels_that_exist(title: str, expression: str, proxy: Proxy) -> None:
    _, _, body = get(proxy)
    declared = set(re.findall(rb"^# TYPE (\S+)", body, re.MULTILINE))
    known = {sample.name: set[str]() for sample in parsed(body)}
    for sample in parsed(body):
        known[sample.name] |= sample.labels.keys()
    used = [
        (name, labels) for name, labels in USED.findall(BY.sub("", expression)) if name not in LABEL.findall(expression)
    ]
    assert used, expression
    shared = set.union(*(known.get(name, set()) for name, _ in used))
    for name, labels in used:
        assert name in known or name.encode() in declared, name
        assert name not in known or set(LABEL.findall(labels)) <= known[name], (name, labels)
    for labels in BY.findall(expression):
        assert {label.strip() for label in labels.split(",")} <= shared, expression


def test_every_metric_is_documented_and_no_other(proxy: Proxy) -> None:
    proxy.metrion("budget", "set", "--provider", "mistral", "--usd", "9", "--per", "day", "--then", "warn")
    page = (ROOT / "docs" / "metrics.md").read_text()
    described = {cell.strip("`") for cell in table_column(page)} - {"metric"}
    _, _, body = get(proxy)
    lines = re.findall(r"^# TYPE (\S+) (\S+)", body.decode(), re.MULTILINE)
    assert described == {name for name, _ in lines}
    kinds = dict(zip((cell.strip("`") for cell in table_column(page)), table_column(page, 1), strict=True))
    assert {name: kinds[name] for name, _ in lines} == dict(lines)
    assert {metric.name for metric in (*METRICS, *USER_METRICS)} <= {name.removesuffix("_total") for name in described}


# --- many, and a worker that dies -------------------------------------------------------------------------------------


def test_the_labels_of_the_page_are_those_of_the_metrics() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    call = "`gen_ai_provider_name`, `gen_ai_operation_name`, `gen_ai_request_model`, `gen_ai_response_model`"
    names = (cell.strip("`").removesuffix("_total") for cell in table_column(page))
    said = {
        name: tuple(re.findall(r"`(\w+)`", labels.replace("those of a call", call)))
        for name, labels in zip(names, table_column(page, 2), strict=True)
    }
    metrics = (*METRICS, *USER_METRICS)
    assert {metric.name: said[metric.name] for metric in metrics} == {each.name: each.labels for each in metrics}
    assert (said["metrion_refusals"], said["metrion_provider_limit"]) == (REFUSAL_LABELS, LIMIT_LABELS)


def test_ten_scrapes_at_a_time_under_load_and_a_worker_that_is_killed(
    simulator: Simulator, answers: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    config = upstreams(simulator) | {"plans": {"pro": {"requests_per_minute": 0}}}
    with (
        running_serve(tmp_path / "home", config, arguments=("--workers", "2")) as proxy,
        ThreadPoolExecutor(16) as pool,
    ):
        chat = "/openai/v1/chat/completions"
        calls = [pool.submit(post, proxy, chat, answers["chat"]) for _ in range(120)]
        bodies = list(pool.map(lambda _: get(proxy), range(40)))
        assert {status for status, _, _ in bodies} == {200}
        counts = [total(parsed(body), "metrion_requests_total") or 0 for _, _, body in bodies]
        assert max(counts) <= 120
        assert {call.result() for call in calls} == {200}
        eventually(lambda: total(scrape(proxy), "metrion_requests_total") == 120)

        before = proxy.workers()
        os.kill(next(iter(before)), signal.SIGKILL)
        eventually(lambda: len(proxy.workers()) == 2 and proxy.workers() != before)
        assert total(scrape(proxy), "metrion_requests_total") == 120
        assert {post(proxy, chat, answers["chat"]) for _ in range(30)} == {200}
        samples = eventually(lambda: scrape(proxy), until=lambda found: total(found, "metrion_requests_total") == 150)
        ((tokens,),) = rows(proxy, "SELECT sum(input_tokens) FROM events")
        assert total(samples, USAGE + "_input_tokens_total") == tokens
