"""How a program is made to call Metrion: its command and environment in, both with Metrion's address and a token out.

Pure. Every variable here is one that an official SDK or a known client reads, and a provider's own keys are replaced,
so that a child cannot reach a provider past the proxy by them. The token never stands in the command, which other users
of the machine can see.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from metrion.providers import PROVIDERS, base_segment

TOKEN, ADDRESS = "METRION_TOKEN", "METRION_URL"
"""For scripts that read no variable of a provider's."""

_BASE_URLS: Mapping[str, Mapping[str, str]] = {
    # The SDKs of Python and Node and llm read the first, aider, LiteLLM and LangChain the second.
    "openai": {"OPENAI_BASE_URL": "/v1", "OPENAI_API_BASE": "/v1"},
    # The SDKs and Claude Code; LiteLLM; LangChain. They put /v1/messages behind it.
    "anthropic": {"ANTHROPIC_BASE_URL": "", "ANTHROPIC_API_BASE": "", "ANTHROPIC_API_URL": ""},
    # google-genai (google/genai/_base_url.py) and Gemini CLI, which put the version behind it; LiteLLM, which does not.
    "google": {"GOOGLE_GEMINI_BASE_URL": "", "GEMINI_API_BASE": "/v1beta"},
    # No variable of the official SDK's names its server. LiteLLM; LangChain.
    "mistral": {"MISTRAL_API_BASE": "/v1", "MISTRAL_BASE_URL": "/v1"},
    # LiteLLM and LangChain; xAI's own SDK speaks gRPC, and to its own host only.
    "xai": {"XAI_API_BASE": "/v1"},
}
"""The variables that name a provider's server, and what follows the provider's segment in each."""

_OTHER_KEYS = ("ANTHROPIC_AUTH_TOKEN", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY")
"""More variables that hold a provider's credential. They are replaced where they are set: google-genai warns of two."""

_CUSTOM_HEADERS = ("ANTHROPIC_CUSTOM_HEADERS", "OPENAI_CUSTOM_HEADERS")
"""Header fields, a line each, that both SDKs (in Python and Node) and Claude Code add to each request.

To every request, whomever it is for, so that they hold the token only where there is no other way."""

_PROXIES = ("HTTPS_PROXY", "https_proxy")
_NO_PROXIES = ("NO_PROXY", "no_proxy")
_OWN_HOSTS = ("127.0.0.1", "localhost", "::1")

_AUTHORITIES = (
    "SSL_CERT_FILE",  # OpenSSL: Python's ssl, curl's usual build, Ruby; Go; rustls-native-certs
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
)
"""Variables that name a file of the authorities to trust."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where the child finds Metrion. ``url`` has no path."""

    url: str
    token: str
    bundle: Path | None = None
    """The authorities to trust, if the child is to reach providers' hosts through the proxy; ``None``: it is not."""


def environment(program: str, environ: Mapping[str, str], proxy: Proxy, *, own_keys: bool = False) -> dict[str, str]:
    """Return the environment of a child that calls Metrion.

    ``own_keys``: the child's own credentials stay and go out, and the token stands beside them.
    """
    changed = {**environ, TOKEN: proxy.token, ADDRESS: proxy.url}
    for provider, variables in _BASE_URLS.items():
        changed |= {name: f"{proxy.url}/{base_segment(provider)}{rest}" for name, rest in variables.items()}
    changed.pop("METRION_MASTER_KEY", None)  # which opens every key that is stored
    for name in _NO_PROXIES:  # what is configured for the internet is not for this machine
        hosts = [host for host in environ.get(name, "").split(",") if host]
        changed[name] = ",".join([*hosts, *(host for host in _OWN_HOSTS if host not in hosts)])
    if own_keys:
        for name in _CUSTOM_HEADERS:
            lines = [line for line in environ.get(name, "").split("\n") if line]
            changed[name] = "\n".join([*lines, f"x-metrion-token: {proxy.token}"])
    else:
        changed |= _keys(environ, proxy.token)
        if program == "claude":  # with both it warns of a conflict; of a key alone it asks whether to use it
            changed["ANTHROPIC_AUTH_TOKEN"] = proxy.token
            del changed["ANTHROPIC_API_KEY"]
    if proxy.bundle is not None:
        address = urlsplit(proxy.url)
        # As the password: Python's urllib sends no user without one.
        changed |= dict.fromkeys(_PROXIES, f"{address.scheme}://metrion:{proxy.token}@{address.netloc}")
        changed |= dict.fromkeys(_AUTHORITIES, str(proxy.bundle))
        changed["NODE_USE_ENV_PROXY"] = "1"  # Node's fetch reads HTTPS_PROXY only then
    return changed


def command(arguments: Sequence[str], proxy: Proxy, *, own_keys: bool = False) -> list[str]:
    """Return the command that calls Metrion: the same, but for programs that read no variable."""
    if program_of(arguments) != "codex":
        return list(arguments)
    # Codex reads no OPENAI_BASE_URL; a model provider of its own has an address. Values are TOML.
    # https://developers.openai.com/codex/config-reference
    entry = {"name": '"Metrion"', "base_url": f'"{proxy.url}/openai/v1"', "wire_api": '"responses"'}
    if own_keys:
        entry |= {"env_key": '"OPENAI_API_KEY"', "env_http_headers": f'{{"x-metrion-token"="{TOKEN}"}}'}
    else:
        entry["env_key"] = f'"{TOKEN}"'
    settings = ['model_provider="metrion"', *(f"model_providers.metrion.{key}={value}" for key, value in entry.items())]
    return [arguments[0], *(word for setting in settings for word in ("-c", setting)), *arguments[1:]]


def program_of(arguments: Sequence[str]) -> str:
    """Return the name of the program that a command runs."""
    return os.path.basename(arguments[0])  # noqa: PTH119 -- a command is not always a path


def _keys(environ: Mapping[str, str], token: str) -> dict[str, str]:
    names = [provider.environment for provider in PROVIDERS.values()]
    return dict.fromkeys([*names, *(name for name in _OTHER_KEYS if environ.get(name))], token)
