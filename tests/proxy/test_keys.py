"""Keys by name, and keys that are replaced, while the proxy runs: which one goes out, and when it last did."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from tests.processes import Proxy, Road, eventually, running_serve, upstreams
from tests.proxy.test_tokens import ask, new_token
from tests.simulated import Simulator


@pytest.fixture(scope="module")
def proxy(road: Road, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_serve(tmp_path_factory.mktemp("keys") / "home", upstreams(simulator), environment=road) as running:
        yield running


def sent(simulator: Simulator, proxy: Proxy, token: str) -> str:
    """The key with which a request went out."""
    simulator.received()
    status, code, _ = ask(proxy, token)
    if code is not None:
        return code
    assert status == 200
    (received,) = simulator.received(1)
    (value,) = received.header("authorization")
    return value.decode().removeprefix("Bearer ")


def listed(proxy: Proxy) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(proxy.metrion("key", "list", "--format", "json"))
    return [key for key in found if key["provider"] == "openai"]


def test_a_token_that_is_tied_to_a_name_uses_no_other_key(proxy: Proxy, simulator: Simulator) -> None:
    _, plain = new_token(proxy)
    own = sent(simulator, proxy, plain)
    key, name = f"sk-proj-{uuid.uuid4().hex}", f"k-{uuid.uuid4().hex[:8]}"
    proxy.metrion("key", "set", "openai", "--name", name, stdin=key)
    tied_name, tied = new_token(proxy, "--key", name)
    assert sent(simulator, proxy, tied) == key
    assert sent(simulator, proxy, plain) == own
    used = eventually(lambda: [each["last_used_at"] for each in listed(proxy) if each["name"] == name])
    assert used[0] is not None
    proxy.metrion("key", "remove", "openai", "--name", name)
    assert sent(simulator, proxy, tied) == "no_provider_key"
    assert f"`metrion key set openai --name {name}`" in ask(proxy, tied)[2]
    proxy.metrion("token", "set", tied_name, "--no-key")
    assert sent(simulator, proxy, tied) == own


def test_a_key_that_is_rotated_is_used_at_once_and_the_old_one_can_come_back(
    proxy: Proxy, simulator: Simulator
) -> None:
    name = f"k-{uuid.uuid4().hex[:8]}"
    old, new = f"sk-proj-{uuid.uuid4().hex}", f"sk-proj-{uuid.uuid4().hex}"
    proxy.metrion("key", "set", "openai", "--name", name, stdin=old)
    _, tied = new_token(proxy, "--key", name)
    assert sent(simulator, proxy, tied) == old
    proxy.metrion("key", "rotate", "openai", "--name", name, stdin=new)
    assert sent(simulator, proxy, tied) == new
    states = {each["state"]: each["last_used_at"] for each in listed(proxy) if each["name"] == name}
    assert states.keys() == {"in use", "former"}
    assert None not in states.values()
    proxy.metrion("key", "rotate", "openai", "--name", name, "--back")
    assert sent(simulator, proxy, tied) == old
