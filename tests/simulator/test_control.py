"""The control endpoint: wrong requests, and waiting in vain."""

from __future__ import annotations

import http.client

import pytest

from tests.simulated import Simulator


def test_release_and_received_say_when_nothing_came(simulator: Simulator) -> None:
    with pytest.raises(AssertionError, match="0 of 1 requests arrived"):
        simulator.received(1, timeout=0.01)
    with pytest.raises(AssertionError, match="0 of 1 answers were held"):
        simulator.release(timeout=0.01)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "answers/x", 400), ("GET", "requests?count=many", 400), ("GET", "nothing", 404)],
)
def test_a_wrong_control_request_is_answered(
    client: http.client.HTTPConnection, method: str, path: str, status: int
) -> None:
    client.request(method, f"/__simulator__/{path}", "{}")
    response = client.getresponse()
    assert (response.status, b"error" in response.read()) == (status, True)
