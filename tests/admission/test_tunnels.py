"""Blind tunnels: who may open one, to which hosts and ports, and to which addresses."""

from __future__ import annotations

import base64

import pytest

from metrion.admission.tunnels import BlindTunnel, admit_blind, is_providers
from metrion.model import Headers, Inbound, Origin, Refusal
from tests.admission.calls import ACCESS, EXPIRED, FOREIGN, REVOKED, TOKEN, UNKNOWN

HOSTS = {"api.openai.com", "localhost", "10.1.2.3", "gateway.example"}


def connect(host: str, port: int = 443, headers: Headers = ()) -> BlindTunnel | Refusal:
    origin = Origin("https", host, port)
    return admit_blind(Inbound(b"CONNECT", b"/", headers, origin), origin, ACCESS, (443, 8443), HOSTS)


def basic(user: bytes) -> Headers:
    return ((b"Proxy-Authorization", b"Basic " + base64.b64encode(user)),)


@pytest.mark.parametrize(
    "headers",
    [basic(TOKEN), basic(TOKEN + b":"), basic(b"any:" + TOKEN), ((b"proxy-authorization", b"Bearer " + TOKEN),)],
)
def test_a_valid_token_opens_a_tunnel(headers: Headers) -> None:
    assert connect("example.com", headers=headers) == BlindTunnel("example.com", 443)
    assert connect("example.com", 8443, headers) == BlindTunnel("example.com", 8443)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ((), "missing_token"),
        (((b"Authorization", b"Bearer " + TOKEN),), "missing_token"),
        (((b"x-metrion-token", TOKEN),), "missing_token"),
        (basic(FOREIGN), "missing_token"),
        (basic(UNKNOWN), "invalid_token"),
        (basic(REVOKED), "invalid_token"),
        (basic(EXPIRED), "invalid_token"),
        (basic(TOKEN + b"!"), "invalid_token"),
    ],
)
@pytest.mark.parametrize("host", ["example.com", "127.0.0.1", "api.openai.com."])
def test_without_a_valid_token_nothing_else_is_said(host: str, headers: Headers, code: str) -> None:
    refused = connect(host, headers=headers)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code, refused.provider) == (407, code, None)
    assert refused.headers == ((b"proxy-authenticate", b'Basic realm="Metrion"'),)
    assert b"sk-metrion-x" not in refused.message.encode()


@pytest.mark.parametrize("port", [0, 22, 25, 80, 444, 65535])
def test_only_listed_ports(port: int) -> None:
    refused = connect("example.com", port, basic(TOKEN))
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (403, "not_a_provider")
    assert "443, 8443" in refused.message


@pytest.mark.parametrize(
    "host",
    [
        "api.openai.com",
        "API.OpenAI.com",
        "api.openai.com.",
        "api.openai.com..",
        "eu.api.openai.com",
        "US.api.openai.com.",
        "api。openai。com",
        "\uff41pi.openai.com",
        "localhost",
        "LOCALHOST.",
        "10.1.2.3",
        "gateway.example.",
    ],
)
def test_a_providers_host_in_any_spelling(host: str) -> None:
    assert is_providers(host, HOSTS)
    refused = connect(host, 8443, basic(TOKEN))
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code, refused.provider) == (403, "not_a_provider", None)


@pytest.mark.parametrize("host", ["openai.com", "platform.openai.com", "xapi.openai.com", "api.openai.com.example"])
def test_others_are_no_providers(host: str) -> None:
    assert not is_providers(host, HOSTS)
