"""Which segments may be taken in, by who still writes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from metrion.store import locks, segments


@pytest.mark.parametrize(
    ("there", "written", "sealed"),
    [
        pytest.param([], [], [], id="no segment"),
        pytest.param(["0-sentinel"], [], [], id="the sentinel is none"),
        pytest.param(["a-1", "b-1"], [], ["a-1", "b-1"], id="all sealed"),
        pytest.param(["a-1", "a-2", "a-3", "b-1"], ["a-2"], ["a-1", "b-1"], id="in order within a writer"),
        pytest.param(["a-1"], ["a-1"], [], id="a writer is at work"),
        pytest.param(["a-1", "b-1", "c-1"], ["b-1"], ["a-1", "c-1"], id="a writer stops nobody else's"),
    ],
)
def test_what_may_be_taken_in(there: list[str], written: list[str], sealed: list[str], tmp_path: Path) -> None:
    for name in there:
        (tmp_path / f"{name}.ndjson").write_bytes(b"{}\n")
    with ExitStack() as writers:
        for name in written:
            assert writers.enter_context(locks.alone(tmp_path / f"{name}.ndjson"))
        assert segments.any_sealed(tmp_path) == bool(sealed)
        with ExitStack() as held:
            assert [path.stem for path in segments.sealed(tmp_path, held)] == sealed
            assert not segments.any_sealed(tmp_path)  # they are held now
        assert segments.any_sealed(tmp_path) == bool(sealed)


@pytest.mark.parametrize(("limit", "at_most"), [("_BATCH_SEGMENTS", 2), ("_BATCH_BYTES", 5)])
def test_a_batch_is_no_larger_than_that(
    limit: str, at_most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, limit, at_most)
    for number in range(4):
        (tmp_path / f"a-{number}.ndjson").write_bytes(b"{}\n")
    with ExitStack() as held:
        assert len(segments.sealed(tmp_path, held)) == 2
