"""Tokens on the page Integrate: all that `metrion token set` can do, and what is wrong told beside its field."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from metrion.cli import commands
from metrion.control import ControlStore, TokenRecord
from metrion.control.terms import MEMBERS
from metrion.settings import Settings
from metrion.web import token_forms
from tests.web.conftest import admin, csrf_of

FULL = {
    "account": "team",
    "expires_at": "2998-01-31T12:00:00Z",
    "requests_per_minute": "20",
    "requests_per_month": "0",
    "monthly_budget_usd": "49.990000000001",
    "timeout": "0.5",
    "allowed_providers": "anthropic\nopenai",
    "allowed_models": "claude-*\ngpt-5",
    "allowed_operations": "chat\nmessages",
    "allowed_networks": "10.0.0.0/8\n2001:db8::/32",
    "user_label": "ann",
    "allowed_labels": "team-*\nann, of search",
    "tags": "team=search\nempty=",
    "key": "batch",
    "label_fixed": "yes",
    "takes_unpriced": "yes",
}
AS_OPTIONS = [
    "--account", "team", "--expires", "2998-01-31T12:00", "--rate", "20", "--monthly-requests", "0", "--monthly-budget",
    "49.990000000001", "--timeout", "0.5", "--allow-provider", "anthropic", "--allow-provider", "openai",
    "--allow-model", "claude-*", "--allow-model", "gpt-5", "--allow-operation", "chat", "--allow-operation", "messages",
    "--from", "10.0.0.0/8", "--from", "2001:db8::/32", "--user", "ann", "--allow-user", "team-*", "--allow-user",
    "ann, of search", "--tag", "team=search", "--tag", "empty=", "--key", "batch", "--label-fixed",
    "--unpriced", "allow",
]  # fmt: skip


@pytest.fixture
def home(empty_home: Settings) -> Settings:
    control = ControlStore.open(empty_home)
    control.create_account("team", "pro")
    control.set_key("openai", "sk-proj-0123456789abcdefghijklmnop", "team", name="batch")
    return empty_home


def post(client: TestClient, **fields: str) -> tuple[int, str]:
    answer = client.post("/integrate", data={"csrf": csrf_of(client.get("/integrate").text), **fields})
    return answer.status_code, unescape(answer.text)


def token(settings: Settings, name: str) -> TokenRecord:
    return next(each for each in ControlStore.open(settings).tokens() if each.name == name)


def wrong(page: str) -> dict[str, str]:
    return dict(re.findall(r'<span class="wrong" id="e-([a-z_]+)">(.*?)</span>', page))


def fields_of(page: str) -> dict[str, str]:
    """What the form of a token has in it, as a browser would send it again."""
    form = page[page.index('id="token"') : page.index('id="h-keys"')]
    found = dict(re.findall(r'<input (?:type="hidden" )?name="([a-z_]+)" value="([^"]*)"', form))
    found |= dict(re.findall(r'<textarea name="([a-z_]+)"[^>]*>\n(.*?)</textarea>', form, re.DOTALL))
    found |= dict.fromkeys(re.findall(r'name="([a-z_]+)" value="yes" checked', form), "yes")
    account = re.search(r"<option selected>([^<]*)", form)
    return {name: unescape(text) for name, text in found.items()} | {"account": account[1] if account else ""}


def test_every_term_has_a_field() -> None:
    assert token_forms.FIELDS.keys() == MEMBERS.keys() == FULL.keys()


def test_a_token_is_made_as_the_command_makes_it(home: Settings) -> None:
    status, page = post(admin(home), action="token", name="web", **FULL)
    assert (status, wrong(page)) == (200, {})
    assert re.search(r"sk-metrion-[A-Za-z0-9_-]{43}", page)
    environment = {"METRION_HOME": str(home.home)}
    made = CliRunner().invoke(commands, ["token", "create", "typed", *AS_OPTIONS], env=environment)
    assert made.exit_code == 0, made.output
    ours, theirs = token(home, "web"), token(home, "typed")
    assert token_forms.terms_of(ours) == token_forms.terms_of(theirs)
    assert ours.limits.monthly_budget_usd == Decimal("49.990000000001")
    budgets = [(each.scope, each.name, each.per, each.limit) for each in ControlStore.open(home).budgets()]
    assert sorted(budgets) == [("token", name, "month", 49_990_000_000_001) for name in ("typed", "web")]
    (entry,) = (
        each for each in ControlStore.open(home).audit() if (each.what, each.subject) == ("token.create", "web")
    )
    assert (entry.who, entry.way) == ("admin-1", "dashboard")


def test_a_change_is_of_what_was_typed_anew(home: Settings) -> None:
    client = admin(home)
    post(client, action="token", name="ci", **FULL)
    shown = fields_of(client.get("/integrate?token=ci").text)
    assert {name: shown.get(name) for name in FULL} == FULL
    before = token_forms.terms_of(token(home, "ci"))
    assert post(client, **{**shown, "action": "change"})[0] == 200
    assert token_forms.terms_of(token(home, "ci")) == before
    for name in FULL:
        empty = "default" if name == "account" else ""
        if name == "account":
            continue  # its key is the team's
        changed = {**shown, "action": "change", name: empty}
        if name in ("label_fixed", "takes_unpriced"):
            del changed[name]
        status, page = post(client, **changed)
        assert (status, wrong(page)) == (200, {}), name
        expected = {**FULL, name: ""}
        assert token_forms.filled(token_forms.terms_of(token(home, "ci"))) == expected
        assert post(client, **{**shown, "action": "change"})[0] == 200
    assert post(client, **{**shown, "action": "change", "account": "default", "key": ""})[0] == 200
    assert token(home, "ci").account == "default"
    entries = [each for each in ControlStore.open(home).audit(limit=100) if each.what == "token.set"]
    assert {(each.who, each.way, each.subject) for each in entries} == {("admin-1", "dashboard", "ci")}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("name", "sk-metrion-" + "x" * 43, "looks like a token"),
        ("name", "two words", "cannot be used"),
        ("name", "taken", "exists"),
        ("account", "nobody", "no account"),
        ("expires_at", "3m", "is no time"),
        ("expires_at", "2001-01-01", "in the past"),
        ("requests_per_minute", "1.5", "a whole number"),
        ("requests_per_minute", "-1", "a whole number"),
        ("requests_per_month", "9" * 17, "a whole number"),
        ("requests_per_month", "٣", "a whole number"),
        ("monthly_budget_usd", "1e3", "an amount in US dollars"),
        ("monthly_budget_usd", "$5", "an amount in US dollars"),
        ("timeout", "soon", "a number of seconds"),
        ("allowed_providers", "acme", "no provider is called"),
        ("allowed_models", "a\u202eb", "control characters"),
        ("allowed_operations", "everything", "There are: "),
        ("allowed_networks", "10.0.0.1/8", "is no network"),
        ("user_label", "sk-proj-0123456789abcdefghij", "looks like a token or a key"),
        ("allowed_labels", "x" * 2000, "characters"),
        ("tags", "team", "NAME=VALUE"),
        ("tags", "te am=x", "the name of a tag"),
        ("tags", "\n".join(f"t{n}=x" for n in range(999)), "more than the"),
        ("key", "nightly", "has no key of this name"),
        ("key", "two words", "cannot be used"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(home: Settings, name: str, text: str, words: str) -> None:
    control = ControlStore.open(home)
    control.create_token("taken")
    client = admin(home)
    for action in ("token", "change") if name != "name" else ("token",):
        fields = {"requests_per_minute": "7", "name": "taken" if action == "change" else "new", name: text}
        status, page = post(client, action=action, **fields)
        assert (status, set(wrong(page))) == (422, {name})
        assert words in wrong(page)[name]
        assert f'aria-invalid="true" aria-describedby="e-{name}' in page
        assert "sk-metrion-x" not in wrong(page)[name]
        assert '<details class="more" open>' in page
        if name != "requests_per_minute":
            assert fields_of(page)["requests_per_minute"] == "7"
    assert [each.name for each in control.tokens()] == ["taken"]
    assert token_forms.filled(token_forms.terms_of(token(home, "taken"))) == token_forms.filled()


def test_a_name_alone_makes_a_token_and_none_makes_the_next(home: Settings) -> None:
    client = admin(home)
    assert post(client, action="token", name="laptop")[0] == 200
    assert post(client, action="token")[0] == 200
    assert [each.name for each in ControlStore.open(home).tokens()] == ["laptop", "token-1"]
    assert post(client, action="change", name="nobody", requests_per_minute="5")[0] == 422
    assert post(client, action="revoke", name="laptop")[0] == 200
    assert post(client, action="change", name="laptop", requests_per_minute="5")[0] == 422


def test_what_a_token_may_use_is_said_in_the_list(home: Settings) -> None:
    client = admin(home)
    post(client, action="token", name="ci", **FULL)
    page = unescape(client.get("/integrate").text)
    assert "20 requests a minute; any number of requests a month; $49.99 a month; until 2998-01-31" in page
    for form in re.findall(r"<form [^>]*>", page):
        assert 'method="post"' in form


def test_an_expired_token_can_be_given_more_time(home: Settings) -> None:
    control = ControlStore.open(home)
    control.create_token("old", expires_at=datetime.now(UTC) - timedelta(days=1))
    client = admin(home)
    assert "expired" in client.get("/integrate").text
    shown = fields_of(client.get("/integrate?token=old").text)
    assert post(client, **{**shown, "action": "change", "user_label": "ann"})[0] == 200
    assert token(home, "old").labels.user == "ann"
    assert post(client, **{**shown, "action": "change", "expires_at": "30d"})[0] == 200
    assert token(home, "old").state == "active"


def test_who_may_only_read_changes_no_token(home: Settings) -> None:
    control = ControlStore.open(home)
    control.create_token("ci")
    client = admin(home, "read")
    status, page = post(client, action="change", name="ci", requests_per_minute="1")
    assert (status, "may only read" in page) == (403, True)
    assert token(home, "ci").limits.requests_per_minute is None
