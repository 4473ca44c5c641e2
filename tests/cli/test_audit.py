from __future__ import annotations

import csv
import io
import json

from tests.cli.console import Console


def test_what_was_changed_is_listed_the_latest_first(metrion: Console) -> None:
    secret = metrion.ok("token", "create", "ci").strip()
    metrion.ok("token", "set", "ci", "--rate", "5", "--tag", "team=x")
    metrion.ok("account", "create", "team")
    found = json.loads(metrion.ok("audit", "--format", "json"))
    assert [(each["what"], each["subject"]) for each in found] == [
        ("account.create", "team"),
        ("token.set", "ci"),
        ("token.create", "ci"),
    ]
    assert found[1]["details"]["requests_per_minute"] == {"was": None, "is": 5}
    shown = metrion.ok("audit")
    assert "requests_per_minute none → 5" in shown
    assert secret not in shown
    rows = list(csv.DictReader(io.StringIO(metrion.ok("audit", "--format", "csv"))))
    assert [row["way"] for row in rows] == ["command line"] * 3


def test_it_is_filtered(metrion: Console) -> None:
    metrion.ok("token", "create", "ci")
    metrion.ok("account", "create", "team")
    assert [each["subject"] for each in json.loads(metrion.ok("audit", "--what", "token", "--format", "json"))] == [
        "ci"
    ]
    assert len(json.loads(metrion.ok("audit", "--limit", "1", "--format", "json"))) == 1
    assert json.loads(metrion.ok("audit", "--who", "nobody", "--format", "json")) == []
    assert json.loads(metrion.ok("audit", "--until", "1d", "--format", "json")) == []
    assert "No change is recorded" in metrion("audit", "--since", "2999-01-01").err
    assert metrion("audit", "--since", "yesterday-ish").status == 2


def test_rotating_the_master_key_says_how_much_was_sealed_anew(metrion: Console) -> None:
    key = "sk-proj-0123456789abcdefghijklmnop"
    metrion.ok("key", "set", "openai", stdin=f"{key}\n")
    result = metrion("key", "rotate-master")
    assert (result.status, result.err) == (0, "1 secret is sealed under the new master key.\n")
    assert '"in use"' in metrion.ok("key", "list", "--format", "json")
    assert "key.rotate-master" in metrion.ok("audit")
