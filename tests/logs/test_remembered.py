"""What workers remember together: across processes, however many keys there are."""

from __future__ import annotations

import os

from metrion.logs.remembered import LINES_PER_MINUTE, Remembered


def in_a_child(work: object) -> int:
    pid = os.fork()
    if pid == 0:
        assert callable(work)
        os._exit(int(work()))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_remembers_for_its_parent() -> None:
    remembered = Remembered(["openai"])

    def work() -> bool:
        remembered.add(("token", "default", "laptop"))
        remembered.fail("openai")
        for _ in range(LINES_PER_MINUTE):
            remembered.has_room(everyday=False)
        return True

    assert in_a_child(work) == 1
    assert remembered.knows(("token", "default", "laptop"))
    assert not remembered.knows(("token", "default", "desktop"))
    assert remembered.is_out("openai")
    assert not remembered.has_room(everyday=False)


def test_any_number_of_keys_is_taken() -> None:
    remembered = Remembered()
    for number in range(10_000):
        remembered.add((number,))
        assert remembered.knows((number,))


def test_a_provider_that_is_not_known_is_never_out() -> None:
    remembered = Remembered(["openai"])
    assert remembered.fail("gone") == 0.0
    assert not remembered.is_out("gone")
    assert not remembered.is_out(None)
