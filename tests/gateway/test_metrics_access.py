"""Who may read the metrics."""

from __future__ import annotations

import pytest

from metrion.gateway.metrics_access import MetricsAccess
from metrion.model import Inbound

ADMIN = "sk-mta-" + "a" * 43
BEARER = b"Bearer " + ADMIN.encode()


def access(clock: float = 0.0) -> MetricsAccess:
    return MetricsAccess(lambda secret: "ann" if secret == ADMIN else None, lambda: clock)


def code(headers: tuple[tuple[bytes, bytes], ...] = (), peer: object = ("127.0.0.1", 5)) -> str | None:
    refusal = access().refusal(Inbound(b"GET", b"/metrics", headers, peer=peer))
    return None if refusal is None else refusal.code


@pytest.mark.parametrize("peer", [("127.0.0.1", 5), ("127.9.9.9", 5), ("::1", 5, 0, 0), ("::ffff:127.0.0.1", 5, 0, 0)])
def test_this_machine_may(peer: object) -> None:
    assert code(peer=peer) is None


@pytest.mark.parametrize(
    "peer", [("10.0.0.1", 5), ("fe80::1%eth0", 5), ("", 5), ("::ffff:10.0.0.1", 5), None, "/socket"]
)
def test_nobody_else_may_without_a_token(peer: object) -> None:
    assert code(peer=peer) == "missing_token"
    assert code(((b"Authorization", BEARER),), peer=peer) is None


@pytest.mark.parametrize("name", [b"Forwarded", b"X-Forwarded-For", b"x-forwarded-proto", b"VIA", b"X-Forwarded-"])
def test_what_came_through_a_proxy_is_not_from_this_machine(name: bytes) -> None:
    assert code(((name, b"127.0.0.1"),)) == "missing_token"
    assert code(((name, b"127.0.0.1"), (b"authorization", BEARER))) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Basic " + ADMIN.encode(),
        ADMIN.encode(),
        b"Bearer sk-metrion-" + b"a" * 43,
        BEARER + b"b",
        b"Bearer \xff",
    ],
)
def test_another_credential_is_refused(value: bytes) -> None:
    assert code(((b"authorization", value),), peer=("10.0.0.1", 5)) == "invalid_token"


def test_two_credentials_are_refused() -> None:
    assert code(((b"authorization", BEARER), (b"authorization", BEARER)), peer=("10.0.0.1", 5)) == "invalid_token"


def test_guesses_are_looked_up_ten_times_a_second_at_most_and_the_valid_token_always() -> None:
    now, looked = 0.0, list[str]()
    valid = {ADMIN}

    def admin_of(secret: str) -> str | None:
        looked.append(secret)
        return "ann" if secret in valid else None

    some = MetricsAccess(admin_of, lambda: now)

    def is_refused(secret: str) -> bool:
        headers = ((b"authorization", f"Bearer {secret}".encode()),)
        return some.refusal(Inbound(b"GET", b"/metrics", headers, peer=("10.0.0.1", 5))) is not None

    assert not is_refused(ADMIN)
    for step in range(100):
        now = step / 100
        assert is_refused(f"sk-mta-guess-{step}")
        assert not is_refused(ADMIN)
    assert len([secret for secret in looked if secret != ADMIN]) <= 11
    valid.clear()
    assert is_refused(ADMIN)
