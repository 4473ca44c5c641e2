from __future__ import annotations

import json
import re

from tests.cli.console import Console

TOKEN = re.compile(r"sk-mta-[A-Za-z0-9_-]{43}\n")


def test_create_prints_the_token_alone_on_standard_output(metrion: Console) -> None:
    result = metrion.inside("admin", "create")
    assert result.status == 0
    assert TOKEN.fullmatch(result.out)
    assert result.err.startswith("Admin token admin-1, to write. It cannot be shown again")


def test_nothing_else_ever_shows_or_keeps_the_token(metrion: Console) -> None:
    secret = metrion.ok("admin", "create", "ann").strip()
    outputs = [
        metrion.inside(*arguments)
        for arguments in (
            ("admin", "list"),
            ("admin", "list", "--format", "json"),
            ("admin", "create", secret),
            ("admin", "revoke", secret),
            ("token", "list"),
            ("admin", "revoke", "ann"),
        )
    ]
    assert not [result for result in outputs if secret in result.out + result.err]
    assert secret.encode() not in metrion.state()


def test_list_says_which_hold(metrion: Console) -> None:
    secret = metrion.ok("admin", "create", "ann").strip()
    metrion.inside("admin", "create", "bob")
    metrion.inside("admin", "revoke", "bob")
    found = json.loads(metrion.ok("admin", "list", "--format", "json"))
    assert [(each["name"], each["state"]) for each in found] == [("ann", "active"), ("bob", "revoked")]
    assert found[0]["token"] == f"sk-mta-…{secret[-4:]}"
    assert "revoked" in metrion.ok("admin", "list")


def test_an_empty_list_says_how_to_make_one(metrion: Console) -> None:
    result = metrion.inside("admin", "list")
    assert "metrion admin create" in result.err
