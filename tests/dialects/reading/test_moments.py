from datetime import datetime

import pytest

from metrion.dialects.reading.moments import moment

NOON = datetime(2026, 11, 1, 12)  # noqa: DTZ001 -- naive UTC, as events have it


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1793534400,), NOON),
        (("2026-11-01T12:00:00Z",), NOON),
        (("2026-11-01T14:00:00+02:00",), NOON),
        (("2026-11-01T12:00:00.000000999Z",), NOON),
        ((None, "2026-11-01T12:00:00Z", 5), NOON),
        (("2026-11-01T12:00:00",), None),
        (("soon",), None),
        ((True, -1, 1 << 60, 1.5, "9999-12-31T23:59:59-12:00"), None),
        ((), None),
    ],
)
def test_moment(values: tuple[object, ...], expected: datetime | None) -> None:
    assert moment(*values) == expected
