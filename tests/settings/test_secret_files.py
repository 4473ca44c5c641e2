"""Secrets in files: a variable that names one is the same as its content in the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from metrion.errors import SettingsError
from metrion.providers import PROVIDERS
from metrion.settings import load_settings
from metrion.settings.secret_files import SECRETS, with_secret_files


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("a-key-of-a-provider\n")
    return file


@pytest.mark.parametrize("variable", SECRETS)
def test_every_secret_may_be_in_a_file(secret: Path, variable: str) -> None:
    assert with_secret_files({f"{variable}_FILE": str(secret)})[variable] == "a-key-of-a-provider"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_s_key(secret: Path, tmp_path: Path, provider: str) -> None:
    environ = {"METRION_HOME": str(tmp_path / "home"), f"{PROVIDERS[provider].environment}_FILE": str(secret)}
    assert load_settings(environ=environ).environment_keys == {provider: "a-key-of-a-provider"}


def test_the_master_key(secret: Path, tmp_path: Path) -> None:
    environ = {"METRION_HOME": str(tmp_path / "home"), "METRION_MASTER_KEY_FILE": str(secret)}
    assert load_settings(environ=environ).master_key == "a-key-of-a-provider"


def test_without_a_file_nothing_changes() -> None:
    environ = {"OPENAI_API_KEY": "one", "MISTRAL_API_KEY_FILE": ""}
    assert with_secret_files(environ) is environ


WRONG = {
    "none": (None, "No such file or directory"),
    "empty": (b" \n", "is empty"),
    "no text": (b"sk-\xff\xfe-hidden", "is not text"),
    "too large": (b"sk-hidden" * 10_000, "is too large"),
    "no key": (b"sk-hidden two words", "a key is printable ASCII without spaces"),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_wrong_is_said_without_the_content(tmp_path: Path, how: str) -> None:
    content, words = WRONG[how]
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=words) as failed:
        load_settings(environ={"METRION_HOME": str(tmp_path / "home"), "OPENAI_API_KEY_FILE": str(file)})
    assert "hidden" not in str(failed.value)
    assert "$OPENAI_API_KEY" in str(failed.value)


def test_a_secret_that_is_given_twice(secret: Path) -> None:
    with pytest.raises(SettingsError, match="are both set; keep one"):
        with_secret_files({"XAI_API_KEY": "another", "XAI_API_KEY_FILE": str(secret)})
