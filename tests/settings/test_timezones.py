from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from metrion.settings import timezones


def test_zones() -> None:
    assert timezones.zone("UTC") is UTC
    summer = datetime(2026, 7, 1, tzinfo=timezones.zone("Europe/Berlin"))
    assert summer.utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize("name", ["", "Berlin", "Europe", "../etc/passwd", "/etc/passwd", "CEST", "utc+1", "x\x00"])
def test_what_is_not_a_zone_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(ValueError, match="Europe/Berlin"):
        timezones.zone(name)


def test_utc_needs_no_list_of_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ZoneInfo:
        raise LookupError(name)

    monkeypatch.setattr(timezones, "ZoneInfo", missing)
    assert timezones.zone("UTC") is UTC
