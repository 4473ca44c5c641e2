from __future__ import annotations

import threading
from pathlib import Path

import pytest

from metrion.store import locks


def test_readers_share_and_a_writer_waits_for_them_in_vain(tmp_path: Path) -> None:
    store = tmp_path / "s"
    with locks.reading(store, 0), locks.reading(store, 0), pytest.raises(locks.Busy), locks.writing(store, 0.01):
        pass
    with locks.writing(store, 0), pytest.raises(locks.Busy), locks.reading(store, 0.01):
        pass


def test_a_waiting_writer_goes_before_a_new_reader(tmp_path: Path) -> None:
    store = tmp_path / "s"
    order: list[str] = []

    def write() -> None:
        with locks.writing(store, 30):
            order.append("writer")

    def read() -> None:
        with locks.reading(store, 30):
            order.append("reader")

    with locks.reading(store, 0):
        writer = threading.Thread(target=write)
        writer.start()
        while True:  # until the writer holds the turnstile
            try:
                with locks.reading(store, 0):
                    pass
            except locks.Busy:
                break
        reader = threading.Thread(target=read)
        reader.start()
    writer.join()
    reader.join()
    assert order == ["writer", "reader"]


def test_a_writer_that_gave_up_lets_readers_pass(tmp_path: Path) -> None:
    store = tmp_path / "s"
    with locks.reading(store, 0):
        with pytest.raises(locks.Busy), locks.writing(store, 0.01):
            pass
        with locks.reading(store, 0):
            pass


def test_one_at_a_time_is_alone(tmp_path: Path) -> None:
    with locks.alone(tmp_path / "l") as first, locks.alone(tmp_path / "l") as second:
        assert (first, second) == (True, False)
    with locks.alone(tmp_path / "l") as third:
        assert third
