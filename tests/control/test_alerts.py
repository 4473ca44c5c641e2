from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from metrion.control import ControlStore
from metrion.control.alert_records import NewChannel
from metrion.control.alerts import MOST_RULES, AlertStore, has_rules
from metrion.errors import ControlError, VaultError
from metrion.settings import Settings
from tests.alerts.rules import NOW, terms
from tests.credentials import PROVIDER_KEY

HOOK = NewChannel("webhook", "https://example.com/…", "secret-target")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_a_rule_comes_back_as_it_was_stored(settings: Settings) -> None:
    store = AlertStore.open(settings)
    wanted = terms("errors", "12.50", "6h", user="ann", token="ci")
    made = store.create("r", wanted, [HOOK, replace(HOOK, kind="slack")], NOW)
    assert store.rules() == (made,)
    assert made.terms == wanted
    assert [each.kind for each in made.channels] == ["slack", "webhook"]
    assert [store.target(each.id) for each in made.channels] == ["secret-target"] * 2


def test_whether_there_are_rules(settings: Settings) -> None:
    assert not has_rules(settings)
    assert not settings.home.exists()
    store = AlertStore.open(settings)
    assert not has_rules(settings)
    store.create("r", terms(), [HOOK], NOW)
    assert has_rules(settings)
    store.remove("r", NOW)
    assert not has_rules(settings)
    settings.control_db.write_bytes(b"no database" * 100)
    assert not has_rules(settings)


def test_channels_go_with_their_rule(settings: Settings) -> None:
    store = AlertStore.open(settings)
    (channel,) = store.create("r", terms(), [HOOK], NOW).channels
    store.remove("r", NOW)
    with pytest.raises(ControlError, match="was removed"):
        store.target(channel.id)


@pytest.mark.parametrize("count", [0, 11])
def test_a_rule_has_some_channels_and_not_too_many(settings: Settings, count: int) -> None:
    store = AlertStore.open(settings)
    with pytest.raises(ControlError, match="1 to 10 channels"):
        store.create("r", terms(), [HOOK] * count, NOW)
    assert store.rules() == ()


def test_rules_are_bounded(settings: Settings) -> None:
    store = AlertStore.open(settings)
    for number in range(MOST_RULES):
        store.create(f"r{number}", terms(), [HOOK], NOW)
    with pytest.raises(ControlError, match="which is the most"):
        store.create("one-more", terms(), [HOOK], NOW)


def test_a_lost_master_key_is_never_made_anew_while_something_is_sealed(settings: Settings) -> None:
    """Whichever was sealed first: targets of alerts, or provider keys."""
    store = AlertStore.open(settings)
    (channel,) = store.create("r", terms(), [HOOK], NOW).channels
    settings.master_key_path.unlink()
    with closing(ControlStore.open(settings)) as control:
        with pytest.raises(VaultError, match="missing"):
            control.set_key("openai", PROVIDER_KEY)
        assert not settings.master_key_path.exists()
        with pytest.raises(VaultError, match="missing"):
            AlertStore(settings).target(channel.id)
        store.remove("r", NOW)
        control.set_key("openai", PROVIDER_KEY)
        settings.master_key_path.unlink()
        with pytest.raises(VaultError, match="missing"):
            AlertStore(settings).create("r", terms(), [HOOK], NOW)
