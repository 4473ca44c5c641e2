from __future__ import annotations

from datetime import timedelta

import pytest

from tests.doctor.patient import FAIL, NOW, OK, WARN, Patient


def test_prices(patient: Patient) -> None:
    patient.found(OK, "prices: ", "models in", "pricing.yaml")


def test_a_price_file_that_cannot_be_used(patient: Patient) -> None:
    (patient.path / "mine.yaml").write_text("openai:\n  gpt: {input: -1}\n")
    patient.configure(pricing=["mine.yaml"])
    patient.found(FAIL, "mine.yaml, line 2: openai > gpt > input")


@pytest.mark.parametrize(("days", "found"), [(59, False), (60, False), (61, True)])
def test_prices_that_nobody_checked_for_long(patient: Patient, days: int, found: bool) -> None:
    day = f"{NOW - timedelta(days=days):%Y-%m-%d}"
    text = f"openai:\n  a: {{input: 1, checked: {day}}}\n  b: {{input: 1, checked: 2020-01-01}}\n  c: {{input: 1}}\n"
    (patient.path / "mine.yaml").write_text(text)
    patient.configure(pricing=["mine.yaml"])
    findings = [each for each in patient.examine() if f"was last checked on {day}" in each.what]
    assert [each.level for each in findings] == [WARN] * found


@pytest.mark.parametrize(("name", "warned"), [("opnai", True), ("openai", False), ("grok", False), ("my-vllm", False)])
def test_prices_of_a_provider_that_is_not_there(patient: Patient, name: str, warned: bool) -> None:
    (patient.path / "mine.yaml").write_text(f"{name}:\n  gpt: {{input: 1}}\n")
    patient.configure(
        pricing=["pricing.yaml", "mine.yaml"],
        providers={"my-vllm": {"like": "openai", "upstream": "http://localhost:1"}},
    )
    findings = [each for each in patient.examine() if "no such provider is configured" in each.what]
    assert [(each.level, f"mine.yaml has prices for {name}" in each.what) for each in findings] == [
        (WARN, True)
    ] * warned


@pytest.mark.parametrize(
    ("files", "without"),
    [
        (["pricing.yaml", "mine.yaml"], None),
        (["pricing.yaml"], "my-vllm"),
        (["mine.yaml"], "anthropic, openai, google, mistral, xai"),
    ],
)
def test_providers_without_any_price(patient: Patient, files: list[str], without: str | None) -> None:
    (patient.path / "mine.yaml").write_text("my-vllm:\n  llama: {input: 0}\n")
    patient.configure(pricing=files, providers={"my-vllm": {"like": "openai", "upstream": "http://localhost:1"}})
    findings = [each for each in patient.examine() if "none for any model" in each.what]
    assert [(each.level, each.what) for each in findings] == (
        [(WARN, f"prices: none for any model of {without}")] if without else []
    )
