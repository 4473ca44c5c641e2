"""Whose address a request has, behind proxies that are trusted and others."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from metrion.admission.client_address import client_address
from metrion.admission.rules import may_come_from
from metrion.model import Inbound, TokenRules

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
CLIENTS = {
    "nobody before it": ("10.0.0.1", [], "10.0.0.1"),
    "one proxy": ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
    "what a client wrote before it": ("10.0.0.1", ["127.0.0.1, 203.0.113.9, 192.0.2.7"], "192.0.2.7"),
    "two proxies": ("10.0.0.1", ["192.0.2.7, 10.9.9.9"], "192.0.2.7"),
    "two proxies, on two lines": ("10.0.0.1", ["192.0.2.7", " 10.9.9.9"], "192.0.2.7"),
    "a peer that is not trusted": ("192.0.2.99", ["127.0.0.1"], "192.0.2.99"),
    "all of them trusted": ("10.0.0.1", ["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
    "no address": ("10.0.0.1", ["192.0.2.7, unknown"], "10.0.0.1"),
    "no address behind a proxy": ("10.0.0.1", ["192.0.2.7, _hidden, 10.9.9.9"], "10.9.9.9"),
    "an empty field": ("10.0.0.1", [""], "10.0.0.1"),
    "with a port": ("10.0.0.1", ["192.0.2.7:4711"], "192.0.2.7"),
    "IPv6": ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
    "IPv6 in brackets, with a port": ("fd00::1", ["[2001:db8::7]:4711"], "2001:db8::7"),
    "IPv4 as IPv6": ("::ffff:10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
    "no peer": (None, ["192.0.2.7"], None),
}


@pytest.mark.parametrize("case", CLIENTS)
def test_whose_address_a_request_has(case: str) -> None:
    peer, fields, address = CLIENTS[case]
    headers = tuple((b"X-Forwarded-For", field.encode()) for field in fields)
    inbound = Inbound(b"GET", b"/", headers, peer=peer and (peer, 1), trusted_proxies=TRUSTED)
    assert client_address(inbound) == (address and ip_address(address))
    plain = str(client_address(replace(inbound, trusted_proxies=())))
    assert plain == (str(peer) if peer is None else peer.removeprefix("::ffff:"))


def test_a_token_s_networks_go_by_it() -> None:
    headers = ((b"x-forwarded-for", b"192.0.2.7"),)
    inbound = Inbound(b"GET", b"/", headers, peer=("10.0.0.1", 1), trusted_proxies=TRUSTED)
    rules = TokenRules(networks=("192.0.2.0/24",))
    assert may_come_from(inbound, rules)
    assert not may_come_from(replace(inbound, trusted_proxies=()), rules)
