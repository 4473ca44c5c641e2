"""Time zone and currency as each viewer chooses them; files stay in dollars."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from metrion.errors import SettingsError
from metrion.settings import Settings, load_settings
from metrion.web import formats
from metrion.web.currencies import DOLLAR, Currency, load
from tests.store.events import Home
from tests.web.conftest import admin, csrf_of

RATES = "date: 2026-11-02\nsource: the bank\nbase: EUR\nrates: {USD: 1.25, CHF: 1.0000000000000000001, JPY: 250}\n"
MONEY_PAGES = ("/", "/requests", "/sessions", "/cache", "/limits")


def configured(path: Path, rates: str = RATES, **dashboard: str) -> Settings:
    path.joinpath("own.yaml").write_text(rates)
    written = "".join(f"  {name}: {value}\n" for name, value in {"currencies": "own.yaml", **dashboard}.items())
    config = path / "metrion.yaml"
    config.write_text(f"dashboard:\n{written}")
    return load_settings(config, {"METRION_HOME": str(path / "home")})


def choose(client: TestClient, timezone: str, currency: str) -> int:
    fields = {"csrf": csrf_of(client.get("/settings").text), "timezone": timezone, "currency": currency}
    return client.post("/settings", data=fields).status_code


def test_rates_are_read_digit_by_digit(tmp_path: Path) -> None:
    found = load(configured(tmp_path))
    assert list(found) == ["CHF", "EUR", "JPY", "USD"]
    assert found["EUR"].rate == Decimal("0.8")
    assert found["CHF"].rate == Decimal("0.80000000000000000008")
    assert found["JPY"].words == "1 USD = 200 JPY, 2026-11-02 (the bank)"
    assert found["USD"] is DOLLAR


def test_the_currencies_that_come_along_have_a_day_and_a_source(empty_home: Settings) -> None:
    found = load(empty_home)
    assert {"USD", "EUR", "CHF", "GBP", "JPY", "CAD", "SEK", "PLN"} <= set(found)
    for code, currency in found.items():
        assert (currency.day is None) == (code == "USD")
        assert "European Central Bank" in currency.words or code == "USD"
    assert found["EUR"].rate * Decimal("1.1172") == pytest.approx(1)


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ("", "write date, source, base and rates"),
        ("rates: {USD: 1}", "write date, source, base and rates"),
        ("[", "own.yaml"),
        (RATES.replace("2026-11-02", "2026-13-02"), "own.yaml"),
        (RATES.replace("USD: 1.25, ", ""), "has none of USD"),
        (RATES.replace("250", "-1"), "rates.JPY"),
        (RATES.replace("250", "many"), "rates.JPY"),
        (RATES.replace("250", "[1]"), "rates.JPY"),
        (RATES.replace("250", "NaN"), "rates.JPY"),
        (RATES.replace("JPY", "yen"), "rates.yen"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, rates: str, words: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)):
        load(configured(tmp_path, rates))


def test_the_configured_currency_has_a_rate(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no rate of SEK"):
        load(configured(tmp_path, currency="SEK"))
    with pytest.raises(SettingsError, match="cannot be read"):
        load(configured(tmp_path, currencies="nowhere.yaml"))
    with pytest.raises(SettingsError, match=r"dashboard\.currency"):
        configured(tmp_path, currency="francs")


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        ("usd", Decimal("1234.5"), "CHF\u00a01,111.05"),
        ("usd", Decimal("-0.5"), "-CHF\u00a00.45"),
        ("usd", Decimal(0), "CHF\u00a00.00"),
        ("usd", Decimal("0.000000000001"), "CHF\u00a00.000000000001"),
        ("usd", None, formats.UNKNOWN),
        ("small_usd", Decimal("0.1"), "CHF\u00a00.0900"),
        ("small_usd", Decimal("0.00001"), "<CHF\u00a00.0001"),
        ("exact_usd", Decimal("0.123456789012"), "CHF\u00a00.111111110111"),
        ("exact_usd", None, formats.UNKNOWN),
        ("count", 1234, "1,234"),
    ],
)
def test_money_is_written_in_a_currency(kind: str, value: object, written: str) -> None:
    assert formats.written(value, kind, Currency("CHF", Decimal("0.9"))) == written


def test_each_viewer_has_pages_of_an_own_currency_and_files_stay_in_dollars(shared_home: Settings) -> None:
    ann, bob = admin(shared_home), admin(shared_home)
    assert choose(ann, "Europe/Zurich", "CHF") == 303
    rate = load(shared_home)["CHF"].rate
    ((spent,),) = Home(shared_home.home).values("SELECT sum(cost_usd) FROM billing WHERE billed")
    for client, shown in ((ann, f"CHF\u00a0{spent * rate:,.2f}"), (bob, f"${spent:,.2f}"), (ann, None)):
        page = client.get("/?range=all").text
        if shown:
            assert shown in page
    for path in MONEY_PAGES:
        page = ann.get(path).text
        assert "2026-10-30 (European Central Bank" in page
        assert "CSV, JSON and SQL are in USD" in page
        assert not re.search(r"\$[0-9]", page), path
        assert "European Central Bank" not in bob.get(path).text
    assert not re.search(r"\$[0-9]", ann.get("/?range=24h").text)
    for name in ("overview/spend.json", "overview/top-model.csv", "requests/list.json"):
        assert ann.get(f"/data/{name}?range=7d").text == bob.get(f"/data/{name}?range=7d").text
    ((event_id, cost),) = Home(shared_home.home).values(
        "SELECT event_id, cost_usd FROM events WHERE cost_source = 'computed' LIMIT 1"
    )
    assert f"CHF\u00a0{round(cost * rate, 12).normalize():f}" in ann.get(f"/requests/{event_id}").text


def test_each_viewer_has_days_of_an_own_zone(shared_home: Settings) -> None:
    ann, bob = admin(shared_home), admin(shared_home)
    assert choose(ann, "Pacific/Auckland", "USD") == 303
    assert "times in Pacific/Auckland" in ann.get("/settings").text
    assert "times in Europe/Zurich" in bob.get("/settings").text
    hers, his = (client.get("/data/overview/spend.json?range=24h").json() for client in (ann, bob))
    assert hers[0]["time"] != his[0]["time"]
    assert sum(Decimal(row["total"]) for row in hers) == sum(Decimal(row["total"]) for row in his)


def test_a_choice_that_there_is_not_is_told_beside_its_field(client: TestClient) -> None:
    csrf = csrf_of(client.get("/settings").text)
    answer = client.post("/settings", data={"csrf": csrf, "timezone": "Mars/Olympus", "currency": "XXX"})
    assert answer.status_code == 422
    assert 'value="Mars/Olympus"' in answer.text
    for name in ("timezone", "currency"):
        assert f'aria-describedby="e-{name}"' in answer.text
        assert f'id="e-{name}"' in answer.text
    assert "set-cookie" not in answer.headers
    assert client.post("/settings", data={"timezone": "UTC", "currency": "USD"}).status_code == 403


@pytest.mark.parametrize("zone", ["../../etc/passwd", "Europe", "%00", "\x7f", "x" * 5000, ""])
def test_cookies_of_others_are_not_believed(client: TestClient, shared_home: Settings, zone: str) -> None:
    client.cookies.set("metrion-8090-timezone", zone)
    client.cookies.set("metrion-8090-currency", "<b>")
    page = client.get("/settings")
    assert page.status_code == 200
    assert "times in Europe/Zurich" in page.text
    assert "<b>" not in page.text


def test_the_choice_is_kept_as_the_log_in_is(client: TestClient) -> None:
    csrf = csrf_of(client.get("/settings").text)
    answer = client.post("/settings", data={"csrf": csrf, "timezone": "UTC", "currency": "EUR"})
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    assert all("HttpOnly" in cookie and "SameSite=strict" in cookie for cookie in cookies)


def test_the_configured_currency_is_the_usual_one(tmp_path: Path) -> None:
    client = admin(configured(tmp_path, currency="CHF"))
    assert "1 USD = 0.8 CHF, 2026-11-02 (the bank)" in client.get("/").text
