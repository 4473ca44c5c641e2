"""The guard's limits over the API: they are those of the command line."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from metrion.settings import Settings
from tests.api.test_operations import items, said


def test_limits_are_those_of_the_command_line(api: TestClient, home: Settings) -> None:
    api.post("/tokens", json={"name": "ci"})
    for given in (
        {"scope": "token", "name": "ci", "usd_per_minute": "2.50", "then": "warn"},
        {"scope": "account", "name": "default", "tokens_per_minute": 500_000, "identical_requests": 20},
    ):
        made = api.put("/guards", json=given)
        assert made.status_code == 200, made.text
        assert made.json() in items(api, "/guards")
    assert items(api, "/guards") == said(home, "guard", "list")
    again = api.put("/guards", json={"scope": "token", "name": "ci", "tokens_per_minute": 1}).json()
    assert (again["usd_per_minute"], again["then"]) == ("0", "refuse")
    assert api.delete("/guards?scope=token&name=ci").status_code == 204
    assert api.delete("/guards?scope=token&name=ci").status_code == 404
    assert [each["name"] for each in items(api, "/guards")] == ["default"]
    assert [each["what"] for each in items(api, "/audit?what=guard")] == ["guard.remove", *["guard.set"] * 3]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"name": "nobody"}, 404),
        ({"scope": "user"}, 422),
        ({"usd_per_minute": "-1"}, 422),
        ({"usd_per_minute": "9000001"}, 409),
        ({"tokens_per_minute": -1}, 422),
        ({"tokens_per_minute": True}, 422),
        ({"identical_requests": 10**7}, 422),
        ({"then": "shrug"}, 422),
    ],
)
def test_what_is_no_limit_is_not_set(api: TestClient, changed: dict[str, Any], status: int) -> None:
    api.post("/tokens", json={"name": "ci"})
    given: dict[str, Any] = {"scope": "token", "name": "ci", "usd_per_minute": "5"}
    answer = api.put("/guards", json=given | changed)
    assert answer.status_code == status, answer.text
    assert items(api, "/guards") == []
