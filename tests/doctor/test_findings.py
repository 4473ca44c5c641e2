from __future__ import annotations

from metrion.doctor.findings import duration, size


def test_what_a_size_and_a_length_of_time_look_like() -> None:
    assert [size(count) for count in (0, 999, 1500, 2e6, 3.21e9)] == [
        "0 bytes",
        "999 bytes",
        "2 kB",
        "2 MB",
        "3.2 GB",
    ]
    assert [duration(seconds) for seconds in (5, 119, 300, 7200, 200_000)] == [
        "5 s",
        "119 s",
        "5 min",
        "2 h",
        "2 d",
    ]
