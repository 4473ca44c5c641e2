"""Blind tunnels: who may open one, to which hosts and ports, and to which addresses."""

from __future__ import annotations

import base64

import pytest

from metrion.admission.tunnels import BlindTunnel, admit_blind, is_providers, is_public
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


PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0",
          "223.255.255.255", "2606:4700::1111", "2a00:1450:4001:80f::200e", "2001:4860:4860::8888"]  # fmt: skip
NOT_PUBLIC = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],  # noqa: S104 -- nothing is bound
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1"],
    "link-local": ["169.254.169.254", "fe80::1", "fe80::1%eth0", "febf::1"],
    "site-local": ["fec0::1"],
    "shared": ["100.64.0.1", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.0.1", "198.18.0.1", "198.19.255.255", "5f00::1", "100::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "mapped": ["::ffff:8.8.8.8", "::ffff:127.0.0.1", "::ffff:a00:1", "::127.0.0.1", "::ffff:0:127.0.0.1"],
    "with an IPv4 address in it": ["64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:1::1"],
    "no address": ["", "localhost", "127.1", "0x7f000001", "2130706433", "8.8.8.8:443", "[::1]"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("kind", NOT_PUBLIC)
def test_addresses_that_are_not_public(kind: str) -> None:
    assert [address for address in NOT_PUBLIC[kind] if is_public(address)] == []
