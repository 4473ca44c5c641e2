"""The OpenAPI document is what is answered: Schemathesis makes requests of it, with values that fit and that do not."""

from __future__ import annotations

import runpy
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from metrion.api import PATH, create_app, document
from metrion.api.operations import OPERATIONS
from metrion.control import ControlStore
from metrion.model import Budget, picodollars
from metrion.web.security import LoginLimit
from tests.credentials import PROVIDER_KEY
from tests.pages import ROOT
from tests.web.homes import filled

ADMIN = "the-admin-of-this-test"


class Served:
    """The API of a home that has one of everything. The home is made when the first test runs."""

    app: ASGIApp
    secrets: Sequence[str] = ()
    """The admin token of the test, and what no answer may hold."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


SERVED = Served()
described = schemathesis.openapi.from_dict(document())
described.app = SERVED
described.config.update(base_url=f"http://testserver{PATH}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Make the home; failed log-ins slow nobody down."""
    home = filled(tmp_path_factory.mktemp("schema") / "home", events=40)
    control = ControlStore.open(home)
    control.create_account("team", "free")
    control.create_token("ci")
    control.set_budget(Budget(0, "token", "ci", picodollars(Decimal(5)), "day"))
    control.set_key("openai", PROVIDER_KEY)
    SERVED.app = create_app(home, hosts=["testserver"])
    SERVED.secrets = (control.create_admin(ADMIN).secret, PROVIDER_KEY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoginLimit, "wait_seconds", lambda *_: 0.0)
        yield SERVED


# A test of a rule sends messages: it has tests of its own.
@described.exclude(operation_id="testAlert").parametrize()
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_document_names(case: schemathesis.Case[Any], served: Served) -> None:
    answer = case.call_and_validate(headers={"Authorization": f"Bearer {served.secrets[0]}"})
    assert answer.headers["cache-control"] == ["no-store"]
    assert not [secret for secret in served.secrets if secret in answer.text]


def test_the_document_is_served_to_whoever_is_let_in_by_name(api: TestClient) -> None:
    answer = api.get("/openapi.json")
    assert (answer.status_code, answer.json()) == (200, document())
    assert answer.json()["openapi"].startswith("3.1.")


def test_the_page_is_made_from_the_document() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "api-docs"))["page"]()
    assert (ROOT / "docs" / "api.md").read_text("utf-8") == made, "run scripts/api-docs"


def test_every_operation_is_in_the_document_with_what_it_takes_and_answers() -> None:
    made = document()
    found = {(method.upper(), path) for path, methods in made["paths"].items() for method in methods}
    assert found == {(each.method, each.path) for each in OPERATIONS}
    for operation in OPERATIONS:
        said = made["paths"][operation.path][operation.method.lower()]
        assert {"401", "422", "503", str(int(operation.status))} <= said["responses"].keys()
        assert ("requestBody" in said) == (operation.body is not None)
    objects = [each for each in made["components"]["schemas"].values() if each.get("type") == "object"]
    assert len(objects) > 20
