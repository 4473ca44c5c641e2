from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from metrion.api import PATH, create_app
from metrion.control import AdminScope, ControlStore
from metrion.settings import Settings
from tests.web.homes import filled

BASE = f"http://127.0.0.1:8091{PATH}"


def client(settings: Settings, scope: AdminScope | None = "write") -> TestClient:
    """A client with an admin token of its own; ``None``: without one."""
    made = TestClient(create_app(settings), base_url=BASE)
    if scope is not None:
        secret = ControlStore.open(settings).create_admin(scope=scope).secret
        made.headers["authorization"] = f"Bearer {secret}"
    return made


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def api(home: Settings) -> TestClient:
    return client(home)


@pytest.fixture(scope="session")
def metered_home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return filled(tmp_path_factory.mktemp("api") / "home", events=300)


@pytest.fixture
def metered(metered_home: Settings) -> TestClient:
    return client(metered_home)
