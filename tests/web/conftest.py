from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from metrion.control import AdminScope, ControlStore
from metrion.settings import Settings
from metrion.web import create_app
from tests.web.homes import filled

BASE = "http://127.0.0.1:8090"


def answer_sql(query: str, _format: str) -> Iterator[bytes]:
    yield f"query\r\n{query}\r\n".encode()


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return filled(tmp_path_factory.mktemp("web") / "home", events=600)


@pytest.fixture
def empty_home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def visitor(settings: Settings) -> TestClient:
    return TestClient(create_app(settings, answer_sql), base_url=BASE, follow_redirects=False)


def csrf_of(html: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', html)
    assert found
    return found[1]


def log_in(client: TestClient, token: str) -> int:
    csrf = csrf_of(client.get("/login").text)
    return client.post("/login", data={"csrf": csrf, "token": token}).status_code


def admin(settings: Settings, scope: AdminScope = "write") -> TestClient:
    """A client that is logged in."""
    client = visitor(settings)
    assert log_in(client, ControlStore.open(settings).create_admin(scope=scope).secret) == 303
    return client


@pytest.fixture
def client(shared_home: Settings) -> TestClient:
    return admin(shared_home)
