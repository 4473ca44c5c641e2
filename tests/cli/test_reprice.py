from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from metrion.model import Event
from tests.cli.console import Console
from tests.processes import Proxy, eventually
from tests.store.events import Home, event

NOW = datetime.now(UTC).replace(tzinfo=None)
LAST_MONTH = NOW.replace(day=1) - timedelta(days=3)


def priced(started_at: datetime = NOW, **columns: Any) -> Event:
    usual = {
        "started_at": started_at,
        "method": "POST",
        "path": "/v1/chat/completions",
        "usage": "{}",
        "computed_cost_usd": Decimal("0.001234567890"),
        "cost_parts": {"input": Decimal("0.001234567890")},
    }
    return event(**(usual | columns))


@pytest.fixture
def home(metrion: Console) -> Home:
    home = Home(metrion.home)
    home.initialise()
    (metrion.home / "mine.yaml").write_text("openai:\n  gpt-5: {input: 2, output: 10}\n")
    (metrion.home / "metrion.yaml").write_text("pricing: [mine.yaml]\n")
    return home


def costs(home: Home) -> list[Decimal | None]:
    return [cost for (cost,) in home.values("SELECT cost_usd FROM events ORDER BY started_at, event_id")]


def test_people_see_the_difference_and_what_was_left_alone(metrion: Console, home: Home) -> None:
    unpriced: dict[str, Any] = {
        "cost_usd": None,
        "computed_cost_usd": None,
        "cost_parts": None,
        "cost_source": "unpriced",
    }
    home.record(priced(), priced(**unpriced), priced(model="mine"), priced(usage=None), priced(LAST_MONTH))
    result = metrion.inside("reprice")
    assert result.status == 0
    heading, _, line = result.out.splitlines()
    assert heading.split()[:4] == ["provider", "model", "events", "changed"]
    figures = ["3", "2", "0.002469135780", "0.002034567890", "-0.000434567890", "1", "0"]
    assert line.split() == ["openai", "gpt-5", *figures]
    version, *notes = result.err.splitlines()
    assert version.startswith("2 of 4 events got another price, by price version ")
    assert (
        notes[:2]
        == [
            "1 event keeps its recorded price: the price files have none any more for the model, its service tier or a "
            "kind of its tokens.",
            "1 event keeps its recorded price: what it depends on beside the tokens cannot be read again.",
        ]
        or notes[1::-1] == notes[:2]
    )
    assert notes[-1].endswith("--closed takes months that are over, too.")


def test_a_dry_run_changes_nothing(metrion: Console, home: Home) -> None:
    home.record(priced())
    result = metrion.inside("reprice", "--dry-run", "--format", "json")
    (line,) = json.loads(result.out)
    assert (line["changed"], line["after_usd"], line["difference_usd"]) == (1, "0.000400000000", "-0.000834567890")
    assert "1 of 1 events would get another price" in result.err
    assert costs(home) == [Decimal("0.001234567890")]


@pytest.mark.parametrize(
    ("arguments", "new"),
    [
        ((), [False, True]),
        (("--closed",), [True, True]),
        (("--since", "2020-01-01"), [False, True]),
        (("--since", "2020-01-01", "--closed"), [True, True]),
        (("--until", f"{NOW:%Y-%m}-01", "--closed"), [True, False]),
        (("--until", f"{NOW:%Y-%m}-01"), [False, False]),
        (("--model", "gpt-5"), [False, True]),
        (("--model", "other*"), [False, False]),
    ],
)
def test_months_that_are_over_change_only_on_demand(
    metrion: Console, home: Home, arguments: tuple[str, ...], new: list[bool]
) -> None:
    home.record(priced(LAST_MONTH), priced())
    result = metrion.inside("reprice", *arguments)
    assert result.status == 0
    assert [cost == Decimal("0.0004") for cost in costs(home)] == new
    assert ("Before " in result.err) == ("--closed" not in arguments)


def test_several_models_have_a_total(metrion: Console, home: Home) -> None:
    (metrion.home / "mine.yaml").write_text("openai:\n  a: {input: 2, output: 10}\n  b: {input: 2, output: 10}\n")
    home.record(priced(model="a"), priced(model="b", cost_source="unpriced", cost_usd=None, computed_cost_usd=None))
    *_, total = metrion.ok("reprice", "--format", "markdown").splitlines()
    assert [cell.strip() for cell in total.strip("|").split("|")] == [
        *("total", "", "2", "2", "0.001234567890", "0.000800000000", "-0.000434567890", "1", "0")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--since", "nonsense"), "no point in time; write 2026-11-01"),
        (("--since", "2026-11-02", "--until", "2026-11-01"), "is not after --since (2026-11-02 00:00 UTC)"),
        (("--since", "2026-11-01", "--until", "2026-11-01"), "is not after --since"),
        (("--dryrun",), "--dry-run"),
    ],
)
def test_bad_usage_names_the_way_out(metrion: Console, arguments: tuple[str, ...], message: str) -> None:
    result = metrion.inside("reprice", *arguments)
    assert (result.status, result.out) == (2, "")
    assert message in result.err


def test_before_the_first_serve_there_is_nothing_to_price(metrion: Console) -> None:
    result = metrion.inside("reprice")
    assert (result.status, result.out) == (0, "")
    assert result.err.startswith("0 of 0 events got another price")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("openai:\n  gpt-5: {input: -2}\n", "mine.yaml, line 2: openai > gpt-5 > input: -2 is negative"),
        (None, "mine.yaml"),
    ],
)
def test_a_price_file_that_cannot_be_used_is_named(
    metrion: Console, home: Home, file: str | None, message: str
) -> None:
    if file is None:
        (metrion.home / "mine.yaml").unlink()
    else:
        (metrion.home / "mine.yaml").write_text(file)
    result = metrion.inside("reprice")
    assert result.status == 1
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_while_the_proxy_runs(serve: Proxy) -> None:
    """A call, priced by serve; then by another file; serve goes on."""
    import openai

    client = openai.OpenAI(base_url=serve.url("openai"), api_key=serve.token, timeout=20, max_retries=0)

    def call() -> None:
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": "hello"}],
            extra_headers={"x-metrion-user": "repriced"},
        )

    call()
    query = "SELECT input_tokens, output_tokens, cost_usd FROM events WHERE user_label = 'repriced' ORDER BY started_at"
    (before,) = eventually(lambda: serve.events(query))
    prices = serve.home / "dear.yaml"
    prices.write_text("openai:\n  gpt-4o-mini: {input: 1000000, output: 1000000}\n")
    config = serve.home / "dear-metrion.yaml"
    config.write_text("pricing: [dear.yaml]\n")
    out = serve.metrion("reprice", "--config", str(config), "--model", "gpt-4o-mini*", "--format", "json")
    assert json.loads(out)[0]["changed"] >= 1
    (after,) = serve.events(query)
    assert Decimal(after["cost_usd"]) == after["input_tokens"] + after["output_tokens"]
    assert {**after, "cost_usd": before["cost_usd"]} == before
    call()
    assert len(eventually(lambda: serve.events(query), until=lambda rows: len(rows) == 2)) == 2
