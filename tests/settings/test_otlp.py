"""The entry of a collector: what can be written, and that no mistake repeats a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from metrion.errors import SettingsError
from metrion.settings import OtlpSettings, load_settings

SECRET = "Bearer collector-secret"


def loaded(folder: Path, text: str) -> OtlpSettings:
    file = folder / "metrion.yaml"
    file.write_text(text)
    return load_settings(file, {"METRION_HOME": str(folder)}).otlp


@pytest.mark.parametrize(
    ("written", "endpoint"),
    [
        ("http://localhost:4318", "http://localhost:4318"),
        ("https://otel.example.com/otlp/", "https://otel.example.com/otlp"),
        ("http://[::1]:4318", "http://[::1]:4318"),
    ],
)
def test_endpoint(written: str, endpoint: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, f"otlp: {{endpoint: '{written}'}}").endpoint == endpoint


def test_headers_are_shown_nowhere(tmp_path: Path) -> None:
    found = loaded(tmp_path, f"otlp: {{endpoint: 'http://localhost:4318', headers: {{authorization: '{SECRET}'}}}}")
    assert found.headers == {"authorization": SECRET}
    assert SECRET not in repr(found)
    assert SECRET not in found.model_dump_json()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("otlp: {endpoint: localhost:4318}", "otlp.endpoint: write http(s)://host[:port][/path]"),
        ("otlp: {endpoint: 'grpc://localhost:4317'}", "otlp.endpoint: write http(s)://"),
        ("otlp: {endpoint: 'http://'}", "otlp.endpoint: write http(s)://"),
        ("otlp: {endpoint: 'http://host:99999'}", "otlp.endpoint: write http(s)://"),
        ("otlp: {endpoint: 'http://me:collector-secret@host'}", "leave user, password"),
        ("otlp: {endpoint: 'http://host?key=collector-secret'}", "leave user, password"),
        ("otlp: {headers: [collector-secret]}", "otlp.headers: write a mapping"),
        ("otlp: {headers: {'a b': collector-secret}}", "otlp.headers: the name of a header"),
        ('otlp: {headers: {authorization: "collector-secret\\nx: y"}}', "the value of authorization is printable"),
        ("otlp: {headers: {authorization: 3}}", "the value of authorization is printable"),
        ("otlp: {url: x}", "otlp.url: unknown key"),
        ("metrics: {models: 0}", "metrics.models: write a whole number, 1 or more"),
        ("metrics: {models: 1000000}", "metrics.models: write a whole number"),
        ("metrics: {users: 'yes'}", "metrics.users: write true or false"),
    ],
)
def test_mistakes(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as mistake:
        loaded(tmp_path, text)
    assert says in str(mistake.value)
    assert "collector-secret" not in str(mistake.value)
