"""The variables of other proxies: what each comes to, only where it is asked for, and what the mistakes say."""

from __future__ import annotations

from pathlib import Path

import pytest

from metrion.errors import SettingsError
from metrion.settings import Settings, load_settings
from metrion.settings.environments import load_environment
from tests.pages import sections, table_column

DOCS = Path(__file__).parents[2] / "docs"

STRAY = {
    "MISTRAL_KEY": "key-0123456789",
    "MISTRAL_URL": "http://localhost:9/v1",
    "PRIMARY_MODEL": "mistral-large-latest",
    "PORT": "3000",
    "LOG_LEVEL": "debug",
    "MAX_TOKENS": "4096",
    "TIMEOUT": "30000",
    "SAFE_MODE": "true",
    "RANDOM_SEED": "7",
    "DEBUG": "mistral:*",
}


def read(tmp_path: Path, **variables: str) -> Settings:
    return load_environment(None, {"METRION_HOME": str(tmp_path), **variables}).settings


def defaults(settings: Settings) -> dict[str, object]:
    asked = {policy.name: policy.asked.defaults for policy in settings.policies if policy.asked.defaults}
    assert all(policy.scope.provider == "mistral" for policy in settings.policies)
    return {f"{name}: {member}": value for name, each in asked.items() for member, value in (each or {}).items()}


def test_a_stray_variable_changes_nothing(tmp_path: Path) -> None:
    home = {"METRION_HOME": str(tmp_path)}
    assert load_settings(None, home | STRAY) == load_settings(None, home)


def test_each_is_documented() -> None:
    page = sections(DOCS / "configuration.md")["A Mistral proxy's variables"]
    assert {cell.strip("`") for cell in table_column(page)} - {"variable"} == STRAY.keys()


def test_every_variable(tmp_path: Path) -> None:
    settings, level = load_environment(None, {"METRION_HOME": str(tmp_path), **STRAY})
    mistral = settings.providers["mistral"]
    assert (mistral.upstream.host, mistral.upstream.port, mistral.version) == ("localhost", 9, "/v1")
    assert (mistral.timeout, settings.listen_port, level) == (30.0, 3000, "debug")
    assert settings.environment_keys["mistral"] == "key-0123456789"
    assert settings.default_provider == "mistral"
    assert settings.metrics.mistral_names
    assert defaults(settings) == {
        "PRIMARY_MODEL: model": "mistral-large-latest",
        "MAX_TOKENS: max_tokens": 4096,
        "SAFE_MODE: safe_prompt": True,
        "RANDOM_SEED: random_seed": 7,
    }


def test_none_of_them(tmp_path: Path) -> None:
    """As a file of examples has them."""
    settings, level = load_environment(
        None, {"METRION_HOME": str(tmp_path), "SAFE_MODE": "false", "RANDOM_SEED": "null", "DEBUG": "0", "PORT": ""}
    )
    assert (defaults(settings), level, settings.listen_port) == ({}, None, 8080)
    (policy,) = settings.policies
    assert policy.asked.aliases is not None
    assert policy.asked.aliases["large"].model == "mistral-large-latest"


def test_the_primary_model_may_be_an_alias(tmp_path: Path) -> None:
    assert defaults(read(tmp_path, PRIMARY_MODEL="small")) == {"PRIMARY_MODEL: model": "mistral-small-latest"}


def test_a_whole_address_of_the_api_will_do(tmp_path: Path) -> None:
    mistral = read(tmp_path, MISTRAL_URL="https://eu.example.com/v1/chat/completions").providers["mistral"]
    assert (mistral.upstream.host, mistral.prefix, mistral.version) == ("eu.example.com", "", "/v1")


@pytest.mark.parametrize(
    ("level", "debug", "found"),
    [("warn", "", "warning"), ("verbose", "", "debug"), ("error", "false", "error"), ("error", "1", "debug"),
     ("", "", None), ("info", "app:*", "debug")],
)  # fmt: skip
def test_what_the_log_says(tmp_path: Path, level: str, debug: str, found: str | None) -> None:
    environ = {"METRION_HOME": str(tmp_path), "LOG_LEVEL": level, "DEBUG": debug}
    assert load_environment(None, environ).log_level == found


@pytest.mark.parametrize(
    ("variable", "value", "way_out"),
    [
        ("PORT", "http", "write a port, at most 65535"),
        ("PORT", "70000", "write a port, at most 65535"),
        ("TIMEOUT", "30s", "write milliseconds"),
        ("TIMEOUT", "0", "write milliseconds"),
        ("MAX_TOKENS", "-1", "write a number of tokens"),
        ("SAFE_MODE", "maybe", "write true or false"),
        ("RANDOM_SEED", "1.5", "write a whole number, or null"),
        ("LOG_LEVEL", "loud", "write one of error, warn, warning, info, http, verbose, debug, silly, trace"),
        ("MISTRAL_URL", "localhost", "write scheme://host[:port][/prefix] with http or https, as in "
         "https://api.example.com"),
        ("MISTRAL_KEY", "two words", "a key is printable ASCII without spaces; copy it again"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, variable: str, value: str, way_out: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, **{variable: value})
    assert str(raised.value) == f"${variable}: {way_out}"


@pytest.mark.parametrize(("variable", "value"), [("METRION_MISTRAL_UPSTREAM", "localhost"), ("MISTRAL_API_KEY", "a b")])
def test_a_mistake_in_a_variable_of_metrion_s_has_its_own_name(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^\${variable}: "):
        read(tmp_path, **{variable: value})


def test_what_comes_first(tmp_path: Path) -> None:
    both = {"MISTRAL_API_KEY_FILE": str(tmp_path / "none"), "METRION_MISTRAL_UPSTREAM": "http://here.test"}
    settings = read(tmp_path, **both, MISTRAL_KEY="key-0123456789", MISTRAL_URL="http://there.test")
    assert settings.environment_keys["mistral"] == "key-0123456789"
    assert settings.providers["mistral"].upstream.host == "here.test"


def test_a_policy_of_the_file_that_says_something_else(tmp_path: Path) -> None:
    file = tmp_path / "metrion.yaml"
    file.write_text("policies:\n  mine:\n    for: {provider: mistral}\n    defaults: {max_tokens: 1}\n")
    with pytest.raises(SettingsError) as raised:
        load_environment(file, {"METRION_HOME": str(tmp_path), "MAX_TOKENS": "2"})
    assert str(raised.value) == (
        f"{file}, line 4: policies.mine.defaults.max_tokens and $MAX_TOKENS: contradict each other, and both are for "
        "the provider mistral; keep one, or give one a narrower `for`"
    )
