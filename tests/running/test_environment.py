from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from metrion.running.environment import Proxy, command, environment, program_of

TOKEN = "sk-metrion-" + "t" * 43
PROXY = Proxy("http://127.0.0.1:8080", TOKEN)
REAL = {
    "OPENAI_API_KEY": "sk-real-openai",
    "ANTHROPIC_API_KEY": "sk-ant-real",
    "ANTHROPIC_AUTH_TOKEN": "real-token",
    "GOOGLE_API_KEY": "AIza-real",
    "MISTRAL_API_KEY": "real-mistral",
    "OPENAI_BASE_URL": "https://elsewhere.example.com/v1",
    "PATH": "/bin",
}


@pytest.mark.parametrize(
    ("variables", "value"),
    [
        (("OPENAI_BASE_URL", "OPENAI_API_BASE"), "http://127.0.0.1:8080/openai/v1"),
        (("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE", "ANTHROPIC_API_URL"), "http://127.0.0.1:8080/anthropic"),
        (("GOOGLE_GEMINI_BASE_URL",), "http://127.0.0.1:8080/gemini"),
        (("GEMINI_API_BASE",), "http://127.0.0.1:8080/gemini/v1beta"),
        (("MISTRAL_API_BASE", "MISTRAL_BASE_URL"), "http://127.0.0.1:8080/mistral/v1"),
        (("XAI_API_BASE",), "http://127.0.0.1:8080/grok/v1"),
        (("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY", "XAI_API_KEY"), TOKEN),
        (("METRION_TOKEN",), TOKEN),
        (("METRION_URL",), "http://127.0.0.1:8080"),
        (("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1"),
    ],
)
@pytest.mark.parametrize("environ", [{}, REAL], ids=["bare", "configured"])
def test_what_sdks_read_names_the_proxy_and_the_token(
    environ: Mapping[str, str], variables: tuple[str, ...], value: str
) -> None:
    made = environment("python", environ, PROXY)
    assert {made[name] for name in variables} == {value}


def test_no_key_of_a_provider_is_left() -> None:
    made = environment("python", REAL, PROXY)
    assert not [name for name, value in made.items() if "real" in value]
    assert made["PATH"] == "/bin"
    assert made["ANTHROPIC_AUTH_TOKEN"] == made["GOOGLE_API_KEY"] == TOKEN
    # google-genai warns where both are set.
    assert "GOOGLE_API_KEY" not in environment("python", {}, PROXY)


def test_the_token_is_in_no_header_for_everybody() -> None:
    """An SDK sends these to whomever the program calls."""
    assert not [name for name in environment("python", {}, PROXY) if name.endswith("CUSTOM_HEADERS")]


def test_with_keys_of_its_own_a_program_keeps_them_and_sends_the_token_beside() -> None:
    made = environment("claude", {**REAL, "ANTHROPIC_CUSTOM_HEADERS": "x-team: a"}, PROXY, own_keys=True)
    assert {name: made[name] for name in REAL if name != "OPENAI_BASE_URL"} == {
        name: value for name, value in REAL.items() if name != "OPENAI_BASE_URL"
    }
    assert made["OPENAI_BASE_URL"] == "http://127.0.0.1:8080/openai/v1"
    assert made["ANTHROPIC_CUSTOM_HEADERS"] == f"x-team: a\nx-metrion-token: {TOKEN}"
    assert made["OPENAI_CUSTOM_HEADERS"] == f"x-metrion-token: {TOKEN}"


def test_claude_code_has_one_credential() -> None:
    made = environment("claude", REAL, PROXY)
    assert made["ANTHROPIC_AUTH_TOKEN"] == TOKEN
    assert "ANTHROPIC_API_KEY" not in made


def test_what_is_behind_a_proxy_already_does_not_send_it_what_is_for_this_machine() -> None:
    made = environment("python", {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "internal,localhost"}, PROXY)
    assert made["HTTP_PROXY"] == "http://proxy:3128"
    assert made["NO_PROXY"] == "internal,localhost,127.0.0.1,::1"


def test_to_intercept_is_a_proxy_and_the_authorities_to_trust() -> None:
    made = environment("node", {}, Proxy("http://127.0.0.1:8080", TOKEN, Path("/run/both.pem")))
    assert made["HTTPS_PROXY"] == made["https_proxy"] == f"http://metrion:{TOKEN}@127.0.0.1:8080"
    authorities = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    assert {made[name] for name in authorities} == {"/run/both.pem"}
    assert not {"HTTPS_PROXY", *authorities} & environment("node", {}, PROXY).keys()


@pytest.mark.parametrize("own_keys", [False, True])
def test_codex_gets_a_provider_of_its_own(own_keys: bool) -> None:
    arguments = ["/usr/bin/codex", "exec", "-m", "gpt-5", "hi"]
    made = command(arguments, PROXY, own_keys=own_keys)
    assert made[0] == arguments[0]
    assert made[-4:] == arguments[1:]
    settings = made[1:-4]
    assert settings[::2] == ["-c"] * (len(settings) // 2)
    read = tomllib.loads("\n".join(settings[1::2]))
    assert read["model_provider"] == "metrion"
    provider = read["model_providers"]["metrion"]
    assert provider["base_url"] == "http://127.0.0.1:8080/openai/v1"
    assert provider["wire_api"] == "responses"
    assert environment("codex", {"OPENAI_API_KEY": "own"}, PROXY, own_keys=own_keys)[provider["env_key"]] == (
        "own" if own_keys else TOKEN
    )
    assert provider.get("env_http_headers") == ({"x-metrion-token": "METRION_TOKEN"} if own_keys else None)
    assert TOKEN not in " ".join(made), "other users of the machine see what a process was started with"


@pytest.mark.parametrize("arguments", [["python", "codex"], ["claude", "-p", "hi"], ["./codex.sh"]])
def test_other_commands_stay_as_they_are(arguments: list[str]) -> None:
    assert command(arguments, PROXY) == arguments


@pytest.mark.parametrize(("word", "name"), [("claude", "claude"), ("/opt/bin/codex", "codex"), ("./x", "x")])
def test_a_program_is_known_by_its_name(word: str, name: str) -> None:
    assert program_of([word]) == name
